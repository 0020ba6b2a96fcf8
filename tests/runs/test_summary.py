"""What `charlm runs` tells of a run, from its files, which may still grow or be untrusted; metrics.jsonl."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_runs import TEXT, train
from limits import memory_limit
from run_folders import make_run, make_scored_run, metrics_line

from charlm.errors import CharlmError
from charlm.network.model_file import TrainedModel, write_model
from charlm.runs import summary
from charlm.runs.metrics import read_position, to_line, to_number
from charlm.runs.summary import RunSummary, RunText, list_runs, summarize
from charlm.storage import only_writer


@pytest.fixture
def scored(tmp_path: Path, trained: TrainedModel) -> Path:
    """Make a run with a score."""
    return make_scored_run(tmp_path / "run", trained, 1.5)


def test_a_run_is_training_done_or_stopped_at_the_step_of_its_log_or_its_checkpoint(
    scored: Path,
) -> None:
    for name, step in (("step-000000008", 9), ("step-000000012", 12)):
        (scored / "checkpoints" / name).mkdir(parents=True)
        assert (summarize(scored).step, summarize(scored).state) == (step, "stopped")
    with only_writer(scored):
        assert summarize(scored).state == "training"
    (scored / "ended.json").touch()
    assert summarize(scored).state == "done"
    blank = summarize(make_run(scored.with_name("blank")))
    assert (blank.step, blank.nats_per_char, blank.weights, blank.seconds, blank.text) == (
        None,
    ) * 5


def test_the_text_and_the_recipe_are_those_of_the_run(trained_run: Path) -> None:
    found = summarize(trained_run)
    assert found.text is not None
    assert (found.text.name, found.recipe, found.state) == ("text", "tiny", "done")
    assert found.settings["corpus.test_fraction"] == 0.1


@pytest.mark.parametrize("means", [None, 3, "1.5", ["1.5"], [1.5, None], {"1.5": 1}])
def test_what_is_no_mean_or_no_name_is_left_out(
    means: Any, tmp_path: Path, trained: TrainedModel
) -> None:
    facts = {
        "step": 7,
        "score": {"split": "validation", "nats_per_char": 1.5, "block_means": means},
    }
    run = make_run(tmp_path / "run", metrics="{}\n")
    write_model(run / "best.safetensors", TrainedModel(**{**vars(trained), "facts": facts}))
    (run / "config.yaml").write_text("recipe: 5\nseed: 2", encoding="utf-8")
    found = summarize(run)
    assert (found.block_means, found.recipe, found.settings) == ((), None, {"seed": 2})


@pytest.mark.parametrize("wrong", [None, "1.5", -1.0, [1.5]])
def test_what_is_no_score_of_a_5_gram_is_left_out(
    wrong: Any, tmp_path: Path, trained: TrainedModel
) -> None:
    names = ("characters", "ngram_nats_per_char", "ngram_standard_error")
    right = summarize(
        make_scored_run(
            tmp_path / "right", trained, 1.5, more=dict(zip(names, (99, 2.5, 0), strict=True))
        )
    )
    found = summarize(
        make_scored_run(tmp_path / "wrong", trained, 1.5, more=dict.fromkeys(names, wrong))
    )
    assert (right.scored_characters, right.ngram_nats_per_char, right.ngram_standard_error) == (
        99,
        2.5,
        0,
    )
    assert (found.scored_characters, found.ngram_nats_per_char, found.ngram_standard_error) == (
        None,
        None,
        None,
    )


def test_runs_are_listed_from_the_newest_and_those_that_cannot_be_read_reported(
    trained: TrainedModel,
) -> None:
    for name, age in (("a", 3), ("b", 1), ("c", 2)):
        made = make_scored_run(Path("runs") / name, trained, 1.5)
        os.utime(made / "metrics.jsonl", (1000 - age, 1000 - age))
    assert [found.folder.name for found in list_runs()] == ["b", "c", "a"]
    assert [found.folder.name for found in list_runs(["a", "runs/b"])] == ["b", "a"]
    Path("runs/c/config.yaml").write_text("- units", encoding="utf-8")
    reported: list[Any] = []
    assert [
        found.folder.name for found in list_runs(report=lambda *found: reported.append(found))
    ] == ["b", "a"]
    assert [(folder, "config.yaml" in str(error)) for folder, error in reported] == [
        (Path("runs/c"), True)
    ]
    with pytest.raises(CharlmError, match=r"config\.yaml"):
        list_runs()


def run(folder: str, text: RunText | None, **settings: object) -> RunSummary:
    blank = dict.fromkeys(RunSummary.__dataclass_fields__)
    return RunSummary(**{**blank, "folder": Path(folder), "text": text, "settings": settings})  # type: ignore[arg-type]


def test_runs_are_grouped_by_text_and_compared_by_their_settings() -> None:
    one, other = RunText("a", "x", (8, 10)), RunText("b", "y", (8, 10))
    runs = [
        run("1", one, units=3, seed=1),
        run("2", other, units=5),
        run("3", replace(one, name="c"), units=4, seed=1),
    ]
    groups = summary.group_by_text(runs)
    assert [[str(found.folder) for found in group] for group in groups] == [["1", "3"], ["2"]]
    assert [summary.differing_settings(group) for group in groups] == [["units"], []]
    of_recipes = [
        replace(run(str(index), None, units=units, epochs=epochs), recipe=recipe)
        for index, (recipe, units, epochs) in enumerate([("a", 3, 1), ("a", 3, 2), ("b", 4, 1)])
    ]
    assert summary.differing_settings(of_recipes) == [
        "epochs",
        "units",
    ]  # those within one recipe come first
    seeds = [
        run(str(number), one, **{"units": 3 + number // 2, "seed": number}) for number in range(3)
    ]
    seeds += [
        replace(seeds[0], settings={**seeds[0].settings, "training.data_seed": 9}),
        replace(seeds[0], recipe="b"),
    ]
    assert [len(group) for group in summary.group_by_seed(seeds)] == [3, 1, 1]


def test_the_text_of_a_run_is_the_same_whatever_ids_a_parent_gives_its_characters(
    tmp_path: Path,
) -> None:
    anew = train(tmp_path / "anew").folder
    parent = train(tmp_path / "parent", text=TEXT.replace("a", "z")).folder
    child = train(tmp_path / "child", init=parent).folder
    rare = train(tmp_path / "rare", "corpus.min_count=2").folder
    texts = [summarize(run).text for run in (anew, parent, child, rare)]
    assert texts[0] == texts[2]
    assert len({*texts}) == 3


def test_what_is_not_a_score_is_none() -> None:
    wrong: list[Any] = [
        None,
        3,
        [],
        {},
        {"split": "<b>", "nats_per_char": 1.5},
        {"split": "train", "nats_per_char": 1},
    ]
    wrong += [
        {"split": "validation", "nats_per_char": nats}
        for nats in (None, "1.5", True, math.nan, 10**400)
    ]
    for score in wrong:
        assert summary.known_score({"score": score}) is None, score


# metrics.jsonl


def read(tmp_path: Path, *lines: str) -> tuple[float | None, float | None, float | None]:
    """Return how far a run is according to these contents of metrics.jsonl."""
    (tmp_path / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    return read_position(tmp_path / "metrics.jsonl")


def test_a_number_that_is_not_finite_is_null() -> None:
    metrics = {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 1.5}
    assert json.loads(to_line(metrics)) == {"a": None, "b": None, "c": None, "d": 1.5}
    assert to_line(metrics).endswith(b"}\n")


def test_speed_is_that_of_the_last_line_with_a_time_and_the_step_that_of_the_last_whole_line(
    tmp_path: Path,
) -> None:
    lines = [
        metrics_line(characters=10, seconds=1.0),
        metrics_line(characters=30, seconds=2.0),
        '{"step": 5}\n',
    ]
    half = '{"characters": 90, "seconds": 9'
    assert read(tmp_path, *lines, half) == (5, 2.0, 15.0)
    assert read(tmp_path, metrics_line(step=3)) == (3, None, None)


def test_only_the_end_of_a_file_of_ten_gigabytes_is_read(tmp_path: Path) -> None:
    with (tmp_path / "metrics.jsonl").open("wb") as file:
        file.seek(10 << 30)  # takes no room on the disk
        file.write(b"\n" + metrics_line(characters=30, seconds=2.0).encode())
    with memory_limit(20_000_000):
        assert read_position(tmp_path / "metrics.jsonl") == (None, 2.0, 15.0)


def test_value_that_is_not_a_number_from_0_to_below_1e18_is_none() -> None:
    assert [to_number(value) for value in (0, 0.5, 10**18 - 1)] == [0, 0.5, 10**18 - 1]
    wrong: list[Any] = [None, "1", True, [1], math.nan, -math.inf, -3, 1e30, 10**18]
    assert [to_number(value) for value in wrong] == [None] * len(wrong)
