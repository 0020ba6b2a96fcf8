"""Summaries of runs, made from files that may still grow or be untrusted."""

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_runs import TEXT, train
from run_folders import make_scored_run

from charlm.core.model_file import TrainedModel
from charlm.core.scoring import Score
from charlm.errors import CharlmError
from charlm.measures.estimates import Measured
from charlm.runs.summary import (
    RunSummary,
    differing_settings,
    group_by_seed,
    list_runs,
    summarize,
)
from charlm.storage import only_writer


@pytest.fixture
def scored(tmp_path: Path, trained: TrainedModel) -> Path:
    """Make a run with a score, whose log ends at step 9."""
    return make_scored_run(tmp_path / "run", trained, 1.5)


@pytest.mark.parametrize(
    ("checkpoint", "step"),
    [("step-000000008", 9), ("step-000000012", 12)],
    ids=["log", "saved"],
)
def test_the_step_is_the_later_one_of_log_or_checkpoint(
    checkpoint: str,
    step: int,
    scored: Path,
) -> None:
    (scored / "checkpoints" / checkpoint).mkdir(parents=True)
    assert summarize(scored).step == step


def test_a_run_that_a_process_writes_is_training(scored: Path) -> None:
    with only_writer(scored):
        assert summarize(scored).state == "training"


def test_the_age_of_a_run_is_that_of_its_log(scored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1060.0)
    os.utime(scored / "metrics.jsonl", (1000, 1000))
    assert summarize(scored).age_seconds == 60


def test_a_run_keeps_the_name_of_its_recipe(trained_run: Path) -> None:
    assert summarize(trained_run).recipe == "tiny"


@pytest.mark.parametrize("means", [None, 3, ["1.5"], [1.5, None]])
def test_block_means_that_are_no_numbers_are_left_out(means: Any) -> None:
    score = {"split": "validation", "nats_per_char": 1.5, "block_means": means}
    assert Score.from_fields(score) == Score(1.5, 0, (), "validation")


@pytest.mark.parametrize(
    "score",
    [
        None,
        {},
        *({"split": "validation", "nats_per_char": nats} for nats in (None, "1.5", True, math.nan)),
    ],
)
def test_a_score_that_is_no_number_is_none(score: Any) -> None:
    assert Score.from_fields(score) is None


def test_the_text_of_a_run_does_not_depend_on_the_ids_of_its_characters(tmp_path: Path) -> None:
    """A run has the ids of the model with its initial weights."""
    run = train(tmp_path / "run").folder
    parent = train(tmp_path / "parent", text=TEXT.replace("a", "z")).folder
    child = train(tmp_path / "child", init=parent).folder
    rare = train(tmp_path / "rare", "corpus.min_count=2").folder
    assert summarize(child).measured == summarize(run).measured
    assert len({summarize(folder).measured for folder in (run, parent, rare)}) == 3


# Several runs


@pytest.fixture
def three_runs(trained: TrainedModel) -> None:
    """Make the runs b, c and a under runs/, from the newest."""
    for age, name in enumerate("bca"):
        run = make_scored_run(Path("runs") / name, trained, 1.5)
        os.utime(run / "metrics.jsonl", (1000 - age, 1000 - age))


def names_of(summaries: list[RunSummary]) -> str:
    return " ".join(summary.folder.name for summary in summaries)


@pytest.mark.usefixtures("three_runs")
def test_a_folder_of_runs_means_all_of_them_from_the_newest() -> None:
    assert names_of(list_runs(["./runs"])) == "b c a"


@pytest.mark.usefixtures("three_runs")
@pytest.mark.parametrize("config", ["- units", "seed: 2026-01-01", "sampling: {temperature: .inf}"])
def test_a_run_with_a_wrong_config_is_refused(config: str) -> None:
    Path("runs/c/config.yaml").write_text(config, encoding="utf-8")
    with pytest.raises(CharlmError, match=r"config\.yaml"):
        list_runs()


PLAYS = Measured("plays", "x", (8, 10))
LETTERS = Measured("letters", "y", (8, 10))


def summary_of(
    folder: str = "run",
    *,
    measured: Measured | None = PLAYS,
    **settings: Any,
) -> RunSummary:
    """Return a summary with some settings."""
    values = dict.fromkeys(RunSummary.__dataclass_fields__)
    known = {"folder": Path(folder), "measured": measured, "settings": settings}
    return RunSummary(**{**values, **known})  # type: ignore[arg-type]


def test_runs_on_one_known_text_that_differ_only_in_their_seeds_are_grouped() -> None:
    parts = summary_of("5", units=3, seed=3)
    runs = [
        summary_of("1", units=3, seed=0),
        summary_of("2", units=3, seed=1),
        summary_of("3", units=4, seed=2),
        summary_of("4", units=3, seed=0, recipe="b"),
        replace(parts, settings={**parts.settings, "training.parts": 1}),
        summary_of("6", units=3, seed=4, measured=LETTERS),
        summary_of("7", units=3, seed=5, measured=None),
        summary_of("8", units=3, seed=6, measured=None),
    ]
    groups = [names_of([*group.runs]) for group in group_by_seed(runs)]
    assert groups == ["6", "1 2 5", "3", "4", "7", "8"]


def test_settings_that_differ_only_between_recipes_are_not_listed() -> None:
    runs = [
        summary_of(recipe="a", units=3, epochs=1),
        summary_of(recipe="a", units=3, epochs=2),
        summary_of(recipe="b", units=4, epochs=1),
    ]
    assert differing_settings(runs) == ["recipe", "epochs"]
