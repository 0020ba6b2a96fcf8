"""The summaries of runs, also of young and of damaged ones, their texts, and the settings in which runs differ."""

import contextlib
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from bundles import change_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from run_folders import make_run, make_scored_run, metrics_line

from charlm.config.schema import Config, CorpusConfig
from charlm.errors import CharlmError
from charlm.network.bundle import Bundle
from charlm.runs.comparison import (
    CORPUS_SHA256,
    Order,
    RunSummary,
    RunText,
    differing_settings,
    group_by_text,
    sort_summaries,
    summarize,
    summarize_all,
)
from charlm.text.tokenization import tokenize


@pytest.fixture
def scored_run(bundle: Bundle, tmp_path: Path) -> Path:
    return make_scored_run(tmp_path / "run", bundle, 1.5)


def change_manifest(run: Path, **fields: Any) -> None:
    """Change fields of corpus/manifest.json."""
    path = run / "corpus/manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


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
        text=None,
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


@pytest.mark.parametrize("name", ["best", "best/model.json"])
def test_bundle_that_is_not_there_as_a_bundle_is_not_taken_for_a_run_without_one(name: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "best").mkdir()
    (run / name).rmdir() if name == "best" else None
    (run / name).symlink_to("nowhere")
    with pytest.raises(CharlmError, match=r"best: not a bundle: there is no model\.json in it"):
        summarize(run)


@pytest.mark.parametrize("score", [[1], "x", 3, {"split": "best"}, {"split": ["train"]}, {"split": "x" * 1000}])
def test_score_that_is_not_one_of_a_split_is_refused(score: Any, bundle: Bundle, tmp_path: Path) -> None:
    run = make_scored_run(tmp_path / "run", bundle, 1.5)
    change_model(run / "best", lambda model: model.update(score=score))
    with pytest.raises(CharlmError, match=r"best/model\.json: damaged: `score` is not that of the split train or val"):
        summarize(run)


@pytest.mark.parametrize("number", [-1.5, math.nan, math.inf, 1e18, 10**400, "1.5", [1.5], True, None])
def test_score_and_step_that_are_no_possible_number_are_none(number: Any, bundle: Bundle, tmp_path: Path) -> None:
    run = make_scored_run(tmp_path / "run", bundle, 1.5)
    score = {"split": "validation", "nats_per_char": number}
    change_model(run / "best", lambda model: model.update(score=score, step=number))
    summary = summarize(run)
    assert (summary.nats_per_char, summary.step) == (None, None)


def test_shapes_that_multiply_to_more_than_the_memory_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    run = make_scored_run(tmp_path / "run", bundle, 1.5)
    change_model(run / "best", lambda model: model["shapes"].update({"rnn.0.kernel": [[1], 10**12]}))
    with pytest.raises(CharlmError, match=r"best/model\.json: damaged: `shapes`"):
        summarize(run)


@pytest.mark.parametrize("name", ["config.yaml", "metrics.jsonl"])
def test_file_that_is_a_link_is_refused(name: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / name).rename(tmp_path / name)
    (run / name).symlink_to(tmp_path / name)
    with pytest.raises(CharlmError, match=rf"{name}: is a link; must be the file itself"):
        summarize(run)


@pytest.mark.parametrize("name", ["config.yaml", "metrics.jsonl"])
def test_run_with_a_device_in_place_of_a_file_is_refused(name: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / name).unlink()
    (run / name).symlink_to("/dev/zero")
    with pytest.raises(CharlmError, match="run: not a run"):
        summarize(run)


def test_bundle_whose_path_cannot_be_looked_up_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "best").symlink_to("x" * 300)
    with pytest.raises(CharlmError, match=r"best/model\.json: cannot be read: File name too long"):
        summarize(run)


@pytest.mark.parametrize(
    "fields", [{"sources": 3}, {"ids_sha256": None}, {"splits": {"validation": "all"}}, {"size": 0}]
)
def test_manifest_with_a_wrong_type_is_named(fields: dict[str, Any], trained_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    change_manifest(run, **fields)
    with pytest.raises(CharlmError, match=r"corpus/manifest\.json: not the manifest of a corpus: "):
        summarize(run)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(
    derandomize=True, deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    facts=st.dictionaries(st.sampled_from(["step", "score", "shapes", "architecture"]), JSON_VALUES),
    score=st.dictionaries(st.sampled_from(["split", "nats_per_char"]), JSON_VALUES),
    metrics=st.dictionaries(st.sampled_from(["seconds", "characters"]), JSON_VALUES | st.integers(0) | st.floats(0)),
)
def test_summary_of_any_values_has_only_finite_numbers(
    scored_run: Path, facts: dict[str, Any], score: dict[str, Any], metrics: dict[str, Any]
) -> None:
    model = (scored_run / "best/model.json").read_text()
    change_model(scored_run / "best", lambda model: model["score"].update(score))
    change_model(scored_run / "best", lambda model: model.update(facts))
    (scored_run / "metrics.jsonl").write_text(metrics_line(**metrics))
    with contextlib.suppress(CharlmError):
        summary = summarize(scored_run)
        json.dumps([value for key, value in vars(summary).items() if key != "folder"], allow_nan=False)
    (scored_run / "best/model.json").write_text(model)


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


def test_first_run_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match="missing: not a run"):
        summarize_all([make_run(tmp_path / "a"), tmp_path / "missing"])


def test_run_that_cannot_be_read_is_reported_and_left_out(tmp_path: Path) -> None:
    a, b = (make_run(tmp_path / name) for name in "ab")
    (a / "config.yaml").write_text("units: 3")
    reported: list[tuple[Path, str]] = []
    summaries = summarize_all([a, b], report=lambda folder, error: reported.append((folder, str(error))))
    assert names(summaries) == "b"
    ((folder, message),) = reported
    assert folder == a
    assert message.startswith(f"{a}/config.yaml: units: unknown key")


# Texts


def on_text(run: Path, *texts: Path, **corpus: Any) -> Path:
    """Make a run on some texts, with these settings under `corpus`."""
    tokenize([str(text) for text in texts], make_run(run) / "corpus", CorpusConfig(**corpus))
    return run


def text_of(run: Path) -> RunText:
    text = summarize(run).text
    assert text is not None
    return text


@pytest.fixture
def texts(tmp_path: Path) -> list[Path]:
    """Return the paths of three texts in two folders."""
    paths = [tmp_path / "plays" / name for name in ("one.txt", "two.txt")] + [tmp_path / "poems/one.txt"]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{path.parent.name} {path.name} " * 10)
    return paths


def test_text_has_the_name_of_its_only_document(texts: list[Path], tmp_path: Path) -> None:
    assert text_of(on_text(tmp_path / "run", texts[0])).name == "one.txt"


def test_text_of_several_documents_has_the_name_of_the_folder_they_are_in(texts: list[Path], tmp_path: Path) -> None:
    assert text_of(on_text(tmp_path / "run", tmp_path / "plays")).name == "plays, 2 documents"


def test_text_of_documents_without_a_common_folder_has_the_name_of_the_first(
    texts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = on_text(tmp_path / "run", Path("plays/one.txt"), Path("poems/one.txt"))
    assert text_of(run).name == "one.txt and 1 more"


@pytest.mark.parametrize(
    ("names", "expected"), [([], "without a name"), ([""], ""), (["/a", "b"], "a and 1 more"), (["a", "a"], "a, 2 doc")]
)
def test_text_has_a_name_whatever_its_manifest_says(
    names: list[str], expected: str, texts: list[Path], tmp_path: Path
) -> None:
    run = on_text(tmp_path / "run", texts[0])
    change_manifest(run, sources=[{"name": name, "bytes": 1, "characters": 1, "sha256": ""} for name in names])
    assert text_of(run).name.startswith(expected)


def test_runs_on_the_same_ids_and_split_are_in_one_group(texts: list[Path], tmp_path: Path) -> None:
    (tmp_path / "copy.txt").write_bytes(texts[0].read_bytes())
    runs = [on_text(tmp_path / "a", texts[0]), on_text(tmp_path / "b", tmp_path / "copy.txt")]
    assert [names(group) for group in group_by_text([summarize(run) for run in runs])] == ["ab"]


def test_runs_on_other_ids_or_another_split_or_without_a_text_are_in_groups_apart(
    texts: list[Path], tmp_path: Path
) -> None:
    runs = [
        on_text(tmp_path / "a", texts[0]),
        on_text(tmp_path / "b", texts[0], validation_fraction=0.3),
        make_run(tmp_path / "c"),
        on_text(tmp_path / "d", texts[1]),
        on_text(tmp_path / "e", texts[0]),
        make_run(tmp_path / "f"),
    ]
    groups = group_by_text([summarize(run) for run in runs])
    assert [names(group) for group in groups] == ["ae", "b", "cf", "d"]


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
