"""The summaries of runs, including runs that have not come far yet, and the settings in which runs differ."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from bundles import change_model
from run_folders import make_run, make_scored_run, metrics_line

from charlm.config.schema import Config, CorpusConfig
from charlm.errors import CharlmError
from charlm.network.bundle import Bundle
from charlm.runs.comparison import CORPUS_SHA256, Order, RunSummary, differing_settings, sort_summaries, summarize
from charlm.text.tokenization import tokenize


def names(summaries: list[RunSummary]) -> str:
    return "".join(summary.folder.name for summary in summaries)


# The summary of a run


def test_summary_has_the_score_of_the_best_bundle_and_the_speed_of_the_last_line(
    bundle: Bundle, tmp_path: Path
) -> None:
    run = make_scored_run(tmp_path / "run", bundle, 1.5)
    summary = summarize(run)
    assert summary == RunSummary(
        run,
        summary.settings,
        split="validation",
        nats_per_char=1.5,
        step=7,
        seconds=2.0,
        characters_per_second=500.0,
        weights=(5 * 4 + 4 * 4 + 4) + (4 * 4 + 4 * 4 + 4) + (4 * 5 + 5),
        bundle_bytes=sum(path.stat().st_size for path in (run / "best").iterdir()),
    )


def test_settings_of_a_summary_have_dotted_keys(tmp_path: Path) -> None:
    settings = summarize(make_run(tmp_path / "run", units=8)).settings
    assert (settings["model.units"], settings["training.optimizer.name"]) == (8, Config().training.optimizer.name)


def test_run_that_has_just_begun_has_only_settings(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    summary = summarize(run)
    assert summary == RunSummary(run, summary.settings)


def test_folder_that_is_not_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match=r"not a run: there is no config\.yaml and metrics\.jsonl in it"):
        summarize(tmp_path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        *[(text, "damaged") for text in ("", "[]", '{"format": 1}', "[" * 9999)],
        *[(text, "format None;") for text in ("{}", '{"shapes": {"x": 3}}', '{"shapes": {}, "score": [1]}')],
    ],
)
def test_file_that_does_not_describe_a_bundle_is_named(text: str, problem: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "best").mkdir()
    (run / "best/model.json").write_text(text)
    with pytest.raises(CharlmError, match=rf"best/model\.json: {problem}"):
        summarize(run)


@pytest.mark.parametrize("facts", [{"score": [1]}, {"shapes": {"x": 3}}])
def test_bundle_with_something_else_in_place_of_a_number_is_refused(
    facts: dict[str, Any], bundle: Bundle, tmp_path: Path
) -> None:
    run = make_scored_run(tmp_path / "run", bundle, 1.5)
    change_model(run / "best", lambda model: model.update(facts))
    with pytest.raises(CharlmError, match=r"best/model\.json: damaged: it does not describe a bundle"):
        summarize(run)


def test_score_that_was_changed_by_hand_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    path = make_scored_run(tmp_path / "run", bundle, 1.5) / "best/model.json"
    path.write_text(path.read_text().replace('"nats_per_char": 1.5', '"nats_per_char": 1.4'))
    with pytest.raises(CharlmError, match=r"best/model\.json: damaged: its own SHA-256, `seal`, is wrong"):
        summarize(path.parents[1])


def test_missing_file_of_the_best_bundle_is_named(bundle: Bundle, tmp_path: Path) -> None:
    run = make_scored_run(tmp_path / "run", bundle, 1.5)
    (run / "best/weights.safetensors").unlink()
    with pytest.raises(CharlmError, match=r"best/weights\.safetensors: cannot be read: No such file"):
        summarize(run)


# Differences


def test_only_settings_with_different_values_differ(bundle: Bundle, tmp_path: Path) -> None:
    runs = [make_scored_run(tmp_path / f"{units}", bundle, 1.0, units=units, layers=2) for units in (8, 16)]
    assert differing_settings([summarize(run) for run in runs]) == ["model.units"]


def test_setting_that_a_run_does_not_have_differs(tmp_path: Path) -> None:
    initializer = {"class_name": "RandomNormal", "config": {"stddev": 2.0}}
    runs = [make_run(tmp_path / "a", input_initializer=initializer), make_run(tmp_path / "b")]
    keys = [f"model.input_initializer{part}" for part in (".class_name", ".config.stddev", "")]
    assert differing_settings([summarize(run) for run in runs]) == keys


def test_runs_on_different_texts_differ_in_the_checksum_of_the_corpus(trained_run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (tmp_path / "text.txt").write_text("abba " * 100)
    shutil.copytree(trained_run, other)
    shutil.rmtree(other / "corpus")
    tokenize([str(tmp_path / "text.txt")], other / "corpus", CorpusConfig())
    assert differing_settings([summarize(trained_run), summarize(other)]) == [CORPUS_SHA256]


# Order


@pytest.mark.parametrize(("order", "expected"), [("score", "bac"), ("name", "abc"), ("time", "abc")])
def test_summaries_are_sorted_and_those_without_a_value_are_last(
    order: Order, expected: str, bundle: Bundle, tmp_path: Path
) -> None:
    make_scored_run(tmp_path / "a", bundle, 2.0, seconds=1)
    make_scored_run(tmp_path / "b", bundle, 1.0, seconds=2)
    make_run(tmp_path / "c", metrics=metrics_line(event="start"))
    assert names(sort_summaries([summarize(tmp_path / name) for name in "cab"], order)) == expected


def test_scores_on_training_text_come_after_those_on_validation_text(bundle: Bundle, tmp_path: Path) -> None:
    make_scored_run(tmp_path / "a", bundle, 1.0, split="train")
    make_scored_run(tmp_path / "b", bundle, 2.0)
    summaries = sort_summaries([summarize(tmp_path / name) for name in "ab"], "score")
    assert [summary.split for summary in summaries] == ["validation", "train"]
