"""The log files of a run: their contents, and how they are cut to the sizes in a checkpoint."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from fake_engine import FakeEngine, Faults, crash_after
from fake_runs import TEXT, Trained, resume, train
from run_folders import change_checkpoint, names, read_events, read_metrics

from charlm.config.schema import CorpusConfig
from charlm.errors import CharlmError
from charlm.evaluation.scoring import mean_score, score_stream
from charlm.network.bundle import read_bundle
from charlm.runs.run import open_run
from charlm.text.tokenization import tokenize
from charlm.training.checkpoints import restore
from charlm.training.outputs import rewind

SIZES = {"metrics.jsonl": 5, "events.out.tfevents.1": 7}


def test_rewinding_cuts_log_files_and_removes_later_event_files(tmp_path: Path) -> None:
    for name in ("metrics.jsonl", "events.out.tfevents.1", "events.out.tfevents.2"):
        (tmp_path / name).write_text("0123456789")
    (tmp_path / "notes.txt").write_text("mine")
    rewind(tmp_path, SIZES)
    assert (tmp_path / "metrics.jsonl").read_text() == "01234"
    assert (tmp_path / "events.out.tfevents.1").read_text() == "0123456"
    assert names(tmp_path) == ["events.out.tfevents.1", "metrics.jsonl", "notes.txt"]


@pytest.mark.parametrize(("before", "now", "lines"), [("a", "b", 1), ("a", "a", 0), (None, "b", 0), ("a", None, 0)])
def test_a_resume_says_if_the_kernel_is_another_library(
    before: str | None, now: str | None, lines: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeEngine, "library", before)
    run = train(tmp_path / "run", "training.steps=10").folder
    monkeypatch.setattr(FakeEngine, "library", now)
    said = resume(run, "training.steps=20").said
    assert sum(line.startswith("kernel: compiled anew, not as it was in this run") for line in said) == lines


def test_what_a_checkpoint_counts_of_the_logs_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = set[tuple[int, int]]()
    monkeypatch.setattr(os, "fsync", lambda file: synced.add((os.fstat(file).st_ino, os.fstat(file).st_size)))
    run = train(tmp_path / "run", "training.steps=10").folder
    sizes = restore(run / "checkpoints", warn=pytest.fail).facts.file_sizes
    assert len(sizes) == 2
    assert {((run / name).stat().st_ino, size) for name, size in sizes.items()} <= synced


def test_windows_that_are_longer_than_the_text_are_refused_on_a_resume(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", "training.steps=10")
    phases = {"phases": [[0, 82]]}  # 327 characters in four streams
    change_checkpoint(trained.folder / "checkpoints/step-000000010", lambda facts: facts["progress"].update(phases))
    with pytest.raises(CharlmError, match="damaged: windows of 82 are longer than the text"):
        resume(trained.folder, "training.steps=20")


def steps_of(run: Path, tag: str) -> list[int]:
    return [event.step for event in read_events(run).Tensors(tag)]


def test_an_end_before_the_step_that_a_run_has_reached_is_refused(reference: Trained, tmp_path: Path) -> None:
    shutil.copytree(reference.folder, tmp_path / "run")
    before = (tmp_path / "run/config.yaml").read_bytes()
    with pytest.raises(CharlmError, match=r"run: is at step 50, beyond its end \(40\)"):
        resume(tmp_path / "run", "training.steps=40")
    assert (tmp_path / "run/config.yaml").read_bytes() == before


def test_a_resumed_run_logs_every_step_once(tmp_path: Path) -> None:
    alone = train(tmp_path / "run", "sampling.length=8")
    metrics = read_metrics(alone.folder)
    shutil.rmtree(alone.folder / "checkpoints/step-000000050")  # as if it had crashed before
    resume(alone.folder)
    assert steps_of(alone.folder, "nats_per_char/train") == [*range(5, 51, 5)]
    assert steps_of(alone.folder, "nats_per_char/validation") == [*range(10, 51, 10)]
    assert steps_of(alone.folder, "sample") == [*range(10, 51, 10)]
    assert [line["step"] for line in read_metrics(alone.folder)] == [line["step"] for line in metrics]


# Best and last


def test_best_holds_the_weights_of_the_lowest_validation_loss(tmp_path: Path) -> None:
    overconfident = Faults(weights=lambda step: 1.0 if step <= 30 else 5.0)
    trained = train(tmp_path / "run", faults=overconfident)
    progress, validation = trained.outcome.progress, trained.validation()
    assert progress.best_step == min(validation, key=validation.__getitem__) < 40

    best = read_bundle(trained.folder / "best")
    ids = open_run(trained.folder).corpus.split("validation")
    assert mean_score(score_stream(best.parameters, ids)).nats_per_char == pytest.approx(validation[progress.best_step])
    assert best.facts["step"] == progress.best_step
    assert best.facts["score"] == {"split": "validation", "nats_per_char": progress.best_nats}


def test_last_holds_the_weights_of_the_last_step(reference: Trained) -> None:
    last = read_bundle(reference.folder / "last")
    newest = reference.folder / "checkpoints/step-000000050/state.safetensors"
    assert last.facts["step"] == 50
    bias = safetensors.numpy.load_file(newest)["bias"]
    np.testing.assert_array_equal(last.parameters.logits_bias, bias)


# Checkpoints


KEY = r"model\.rnn\.activation"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("activation: tanh", "activation: relu", rf"run/config\.yaml: {KEY}: found 'relu'; must be 'tanh'"),
        ("units: 8", "units: 9", "another network, optimizer or batch"),
    ],
)
def test_a_setting_that_must_stay_and_was_changed_in_the_file_is_refused(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    trained = train(tmp_path / "run", "training.steps=10")
    path = trained.folder / "config.yaml"
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(CharlmError, match=message):
        resume(trained.folder)


def changes(trained: Trained) -> list[dict[str, Any]]:
    return [line for line in trained.metrics if line.get("event") == "settings"]


def test_settings_that_a_resume_changes_are_logged_and_said(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", "training.steps=10")
    resumed = resume(trained.folder, "training.steps=20", "training.log_every=7")
    assert "training.steps: was 10, is now 20" in resumed.said
    assert "training.log_every: was 5, is now 7" in resumed.said
    (event,) = changes(resumed)
    assert steps_of(trained.folder, "settings") == [event["step"]] == [10]
    assert event["changes"] == {
        "training.steps": {"from": 10, "to": 20},
        "training.log_every": {"from": 5, "to": 7},
    }


def test_changed_settings_are_logged_once_also_if_the_resumed_run_crashes(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", "training.steps=10")
    with pytest.raises(ZeroDivisionError):
        resume(trained.folder, "training.steps=30", faults=crash_after(11))
    assert len(changes(resume(trained.folder))) == 1
    assert len(changes(resume(trained.folder))) == 1


def test_another_text_with_the_same_characters_is_refused(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", "training.steps=10")
    shutil.rmtree(trained.folder / "corpus")
    (tmp_path / "other.txt").write_text(TEXT[::-1], encoding="utf-8")
    tokenize([str(tmp_path / "other.txt")], trained.folder / "corpus", CorpusConfig())
    with pytest.raises(CharlmError, match="run/corpus: not the corpus that the run was trained on"):
        resume(trained.folder, "training.steps=20")


# A missing best/


def test_a_missing_best_of_other_weights_is_told_and_written_by_the_next_evaluation(tmp_path: Path) -> None:
    worse = Faults(weights=lambda step: 1.0 if step <= 10 else 50.0)
    trained = train(tmp_path / "run", "training.steps=20", faults=worse)
    assert trained.outcome.progress.best_step == 10
    shutil.rmtree(trained.folder / "best")
    resumed = resume(trained.folder, "training.steps=30", faults=worse)
    assert any("best: missing; if training goes on, the next evaluation writes it" in line for line in resumed.said)
    assert read_bundle(trained.folder / "best").facts["step"] == 30
