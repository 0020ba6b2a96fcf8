"""What `charlm runs` tells of a run, from its files, which may be growing or come from a stranger."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_runs import TEXT, train
from run_folders import make_run, make_scored_run

from charlm.errors import CharlmError
from charlm.network.model_file import TrainedModel, write_model
from charlm.runs.summary import (
    RunSummary,
    RunText,
    differing_settings,
    group_by_seed,
    group_by_text,
    known_score,
    list_runs,
    summarize,
)
from charlm.storage import only_writer


@pytest.fixture
def scored(tmp_path: Path, trained: TrainedModel) -> Path:
    """Make a run with a score."""
    return make_scored_run(tmp_path / "run", trained, 1.5)


def test_a_run_has_the_score_of_best_and_the_step_and_speed_of_its_log(scored: Path, trained: TrainedModel) -> None:
    os.utime(scored / "metrics.jsonl", (1_000_000, 1_000_000))
    found = summarize(scored, clock=lambda: 1_000_030.0)
    assert (found.split, found.nats_per_char, found.best_step, found.step) == ("validation", 1.5, 7, 9)
    assert (found.seconds, found.characters_per_second) == (2.0, 500.0)
    assert found.age_seconds == 30
    assert found.weights == trained.parameters.size


def test_a_run_is_training_done_or_stopped_at_the_step_of_its_log_or_its_checkpoint(scored: Path) -> None:
    for name, step in (("step-000000008", 9), ("step-000000012", 12)):
        (scored / "checkpoints" / name).mkdir(parents=True)
        assert (summarize(scored).step, summarize(scored).state) == (step, "stopped")
    with only_writer(scored):
        assert summarize(scored).state == "training"
    (scored / "ended.json").touch()
    assert summarize(scored).state == "done"
    blank = summarize(make_run(scored.with_name("blank")))
    assert (blank.step, blank.nats_per_char, blank.weights, blank.seconds, blank.text) == (None,) * 5


def test_the_text_and_the_recipe_are_those_of_the_run(trained_run: Path) -> None:
    found = summarize(trained_run)
    assert found.text is not None
    assert (found.text.name, found.recipe, found.state) == ("text", "tiny", "done")
    assert found.settings["corpus.test_fraction"] == 0.1


@pytest.mark.parametrize(
    ("name", "contents"), [("config.yaml", "- units"), ("metrics.jsonl", "[]\n"), ("best.safetensors", "{}")]
)
def test_a_damaged_file_is_named(name: str, contents: str, scored: Path) -> None:
    (scored / name).write_text(contents, encoding="utf-8")
    with pytest.raises(CharlmError, match=name):
        summarize(scored)


@pytest.mark.parametrize("means", [None, 3, "1.5", ["1.5"], [1.5, None], {"1.5": 1}])
def test_what_is_no_mean_of_a_block_and_no_name_of_a_recipe_is_left_out(
    means: Any, tmp_path: Path, trained: TrainedModel
) -> None:
    facts = {"step": 7, "score": {"split": "validation", "nats_per_char": 1.5, "block_means": means}}
    run = make_run(tmp_path / "run", metrics="{}\n")
    write_model(run / "best.safetensors", TrainedModel(**{**vars(trained), "facts": facts}))
    (run / "config.yaml").write_text("recipe: 5\nseed: 2", encoding="utf-8")
    found = summarize(run)
    assert (found.block_means, found.recipe, found.settings) == ((), None, {"seed": 2})


def test_runs_are_listed_from_the_newest_and_those_that_cannot_be_read_reported(trained: TrainedModel) -> None:
    for name, age in (("a", 3), ("b", 1), ("c", 2)):
        made = make_scored_run(Path("runs") / name, trained, 1.5)
        os.utime(made / "metrics.jsonl", (1000 - age, 1000 - age))
    assert [found.folder.name for found in list_runs()] == ["b", "c", "a"]
    assert [found.folder.name for found in list_runs(["a", "runs/b"])] == ["b", "a"]
    Path("runs/c/config.yaml").write_text("- units", encoding="utf-8")
    reported: list[Any] = []
    assert [found.folder.name for found in list_runs(report=lambda *found: reported.append(found))] == ["b", "a"]
    assert [(folder, "config.yaml" in str(error)) for folder, error in reported] == [(Path("runs/c"), True)]
    with pytest.raises(CharlmError, match=r"config\.yaml"):
        list_runs()


def run(folder: str, text: RunText | None, **settings: object) -> RunSummary:
    blank = dict.fromkeys(RunSummary.__dataclass_fields__)
    return RunSummary(**{**blank, "folder": Path(folder), "text": text, "settings": settings})  # type: ignore[arg-type]


def test_runs_are_grouped_by_text_and_compared_by_their_settings() -> None:
    one, other = RunText("a", "x", (8, 10)), RunText("b", "y", (8, 10))
    runs = [run("1", one, units=3, seed=1), run("2", other, units=5), run("3", replace(one, name="c"), units=4, seed=1)]
    groups = group_by_text(runs)
    assert [[str(found.folder) for found in group] for group in groups] == [["1", "3"], ["2"]]
    assert [differing_settings(group) for group in groups] == [["units"], []]
    of_recipes = [
        replace(run(str(index), None, units=units, epochs=epochs), recipe=recipe)
        for index, (recipe, units, epochs) in enumerate([("a", 3, 1), ("a", 3, 2), ("b", 4, 1)])
    ]
    assert differing_settings(of_recipes) == ["epochs", "units"]  # those within one recipe come first
    seeds = [run(str(number), one, **{"units": 3 + number // 2, "seed": number}) for number in range(3)]
    seeds += [replace(seeds[0], settings={**seeds[0].settings, "training.data_seed": 9}), replace(seeds[0], recipe="b")]
    assert [len(group) for group in group_by_seed(seeds)] == [3, 1, 1]


def test_the_text_of_a_run_is_the_same_whatever_ids_a_parent_gives_its_characters(tmp_path: Path) -> None:
    anew = train(tmp_path / "anew").folder
    parent = train(tmp_path / "parent", text=TEXT.replace("a", "z")).folder
    child = train(tmp_path / "child", parent=parent).folder
    rare = train(tmp_path / "rare", "corpus.min_count=2").folder
    texts = [summarize(run).text for run in (anew, parent, child, rare)]
    assert texts[0] == texts[2]
    assert len({*texts}) == 3


@pytest.mark.parametrize(
    "score",
    [
        *(None, 3, [], {}, {"split": "<b>", "nats_per_char": 1.5}, {"split": "train", "nats_per_char": 1}),
        *({"split": "validation", "nats_per_char": nats} for nats in (None, "1.5", True, float("nan"), 10**400)),
    ],
)
def test_what_is_not_a_score_is_none(score: Any) -> None:
    assert known_score({"score": score}) is None
