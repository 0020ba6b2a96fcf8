"""The log files of a run: their contents, and how they are cut to the sizes in a checkpoint."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora import make_corpus
from fake_engine import FakeEngine, Faults, crash_after, interrupt_after
from fake_runs import TEXT, resume, train
from run_folders import contents, metrics_line, read_events, read_metrics
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from charlm.errors import CharlmError
from charlm.evaluation.scoring import mean_score, score_stream
from charlm.network.model_file import read_model
from charlm.runs.metrics import cut_metrics
from charlm.runs.run import open_run
from charlm.training.events import RunLog, cut_events


def test_a_resume_says_if_the_kernel_is_another_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for before, now, lines in (("a", "b", 1), ("a", "a", 0), (None, "b", 0), ("a", None, 0)):
        monkeypatch.setattr(FakeEngine, "library", before)
        run = train(tmp_path / f"{before} {now}", "training.steps=10").folder
        monkeypatch.setattr(FakeEngine, "library", now)
        said = resume(run, "training.steps=20").said
        assert sum(line.startswith("kernel: compiled anew, not as it was in this run") for line in said) == lines


def test_the_logs_are_on_the_disk_before_a_checkpoint_counts_their_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append((os.fstat(file).st_ino, os.fstat(file).st_size)))
    run = train(tmp_path / "run", "training.steps=10").folder
    found = (run / "checkpoints/step-10.safetensors").stat()
    saved = max(index for index, one in enumerate(synced) if one == (found.st_ino, found.st_size))  # numbers come again
    for path in (run / "metrics.jsonl", next(run.glob("events.*"))):
        assert (path.stat().st_ino, path.stat().st_size) in synced[:saved]


def steps_of(run: Path, tag: str) -> list[int]:
    return [event.step for event in read_events(run).Tensors(tag)]


def test_a_resumed_run_logs_every_step_once(tmp_path: Path) -> None:
    alone = train(tmp_path / "run", "sampling.length=8")
    metrics = read_metrics(alone.folder)
    (alone.folder / "checkpoints/step-50.safetensors").unlink()  # as if it had crashed before
    resume(alone.folder)
    assert steps_of(alone.folder, "nats_per_char/train") == [*range(5, 51, 5)]
    assert steps_of(alone.folder, "nats_per_char/validation") == [*range(10, 51, 10)]
    assert steps_of(alone.folder, "sample") == [*range(10, 51, 10)]
    assert [line["step"] for line in read_metrics(alone.folder)] == [line["step"] for line in metrics]


# Best and last


def test_best_holds_the_weights_of_the_lowest_validation_loss_and_last_those_of_the_last_step(tmp_path: Path) -> None:
    overconfident = Faults(weights=lambda step: 1.0 if step <= 30 else 5.0)
    trained = train(tmp_path / "run", faults=overconfident)
    progress, validation = trained.outcome.progress, trained.validation()
    assert progress.best_step == min(validation, key=validation.__getitem__) < 40

    best, last = (read_model(trained.folder / name) for name in ("best.safetensors", "last.safetensors"))
    ids = open_run(trained.folder).corpus.split("validation")
    assert mean_score(score_stream(best.parameters, ids)).nats_per_char == pytest.approx(validation[progress.best_step])
    assert best.facts["step"] == progress.best_step
    assert (best.facts["score"]["split"], best.facts["score"]["nats_per_char"]) == ("validation", progress.best_nats)
    assert last.facts["step"] == 50
    np.testing.assert_array_equal(last.parameters.logits_bias, 5 * trained.engine.bias)


# Checkpoints


def edit_config(old: str, new: str) -> Callable[[Path], None]:
    """Return what changes a line in the config of a run."""

    def edit(run: Path) -> None:
        text = (run / "config.yaml").read_text(encoding="utf-8")
        assert text.count(old) == 1
        (run / "config.yaml").write_text(text.replace(old, new), encoding="utf-8")

    return edit


def other_text(run: Path) -> None:
    """Put another text with the same characters in the place of that of a run."""
    shutil.rmtree(run / "corpus")
    make_corpus(run.parent, TEXT[::-1]).folder.rename(run / "corpus")


@pytest.mark.parametrize(
    ("change", "override", "message"),
    [
        (
            edit_config("activation: tanh", "activation: relu"),
            "training.steps=20",
            r"run/config\.yaml: model\.rnn\.activation: found 'relu'; must be 'tanh'",
        ),
        (edit_config("units: 8", "units: 9"), "training.steps=20", "another network, optimizer or batch"),
        (other_text, "training.steps=20", "run/corpus: not the corpus that the run was trained on"),
        (lambda _: None, "training.steps=9", r"run: is at step 10, beyond its end \(9\)"),
    ],
)
def test_a_run_of_which_something_else_was_made_is_refused_and_left_as_it_is(
    change: Callable[[Path], None], override: str, message: str, tmp_path: Path
) -> None:
    run = train(tmp_path / "run", "training.steps=10").folder
    change(run)
    before = contents(run)
    with pytest.raises(CharlmError, match=message):
        resume(run, override)
    assert contents(run) == before


def test_settings_that_a_resume_changes_are_said_and_logged_once_also_if_it_crashes(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", "training.steps=10")
    resumed = resume(trained.folder, "training.steps=20", "training.log_every=7")
    assert "training.steps: was 10, is now 20" in resumed.said
    assert "training.log_every: was 5, is now 7" in resumed.said
    assert steps_of(trained.folder, "settings") == [10]
    with pytest.raises(ZeroDivisionError):
        resume(trained.folder, "training.steps=40", faults=crash_after(21))
    for _ in range(2):
        found = [line for line in resume(trained.folder).metrics if line.get("event") == "settings"]
        assert [(line["step"], line["changes"]) for line in found] == [
            (10, {"training.steps": {"from": 10, "to": 20}, "training.log_every": {"from": 5, "to": 7}}),
            (20, {"training.steps": {"from": 20, "to": 40}}),
        ]


# The best model of a run that leaves a path


def test_a_missing_best_of_other_weights_is_told_and_written_by_the_next_evaluation(tmp_path: Path) -> None:
    worse = Faults(weights=lambda step: 1.0 if step <= 10 else 50.0)
    trained = train(tmp_path / "run", "training.steps=30", "training.evaluations=3", faults=worse)
    assert trained.outcome.progress.best_step == 10
    (trained.folder / "best.safetensors").unlink()
    resumed = resume(trained.folder, "training.steps=40", faults=worse)
    assert any(
        "is not the model of step 10, the best so far; the next evaluation writes" in line for line in resumed.said
    )
    assert read_model(trained.folder / "best.safetensors").facts["step"] == 40


@pytest.mark.parametrize("keep", ["false", "true"])
def test_after_a_resume_from_an_older_checkpoint_nothing_of_the_abandoned_path_is_left(
    keep: str, tmp_path: Path
) -> None:
    """The best network is that of step 10, until that of the end; if all are kept, it is best again."""
    wavering = Faults(weights=lambda step: {10: 0.9, 50: 1.0}.get(step, 0.1))
    folder = train(tmp_path / "run", f"training.keep_checkpoints={keep}", faults=wavering).folder
    assert read_model(folder / "best.safetensors").facts["step"] == 50
    (folder / "checkpoints/step-50.safetensors").unlink()
    assert resume(folder, faults=interrupt_after(49)).outcome.progress.step == 49
    for path in (*folder.glob("*.safetensors"), *folder.glob("checkpoints/*")):
        assert read_model(path).facts["step"] <= 49, path
    assert all(line["step"] <= 49 for line in read_metrics(folder))
    assert max(steps_of(folder, "nats_per_char/train")) == 45
    assert max(event.step for path in folder.glob("events.*") for event in raw_events(path)) <= 49
    assert not (folder / "ended.json").exists()
    assert read_model(folder / "last.safetensors").facts["step"] == 49
    best = folder / "best.safetensors"
    assert read_model(best).facts["step"] == 10 if keep == "true" else not best.exists()


def raw_events(path: Path) -> list[Any]:
    """Return the events in a file, whatever TensorBoard makes of them."""
    return [*EventFileLoader(str(path)).Load()]


def test_an_event_file_is_cut_before_a_later_step_and_before_an_event_that_is_not_whole(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    for step in (5, 10, 15):
        log.show_text("sample", "x", step=step)
    log.close()
    (path,) = tmp_path.glob("events.*")
    whole = path.read_bytes()
    for step, size in ((12, len(whole)), (99, len(whole)), (99, len(whole) - 1), (-1, len(whole))):
        path.write_bytes(whole[:size])
        cut_events(path, step=step)
        expected = [0, 0, 5, 10, 15] if size == len(whole) else [0, 0, 5, 10]
        assert [event.step for event in raw_events(path)] == [found for found in expected if found <= step]


def test_a_cut_log_forgets_a_line_without_an_end_and_an_evaluation_that_is_repeated(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [metrics_line(step=1), metrics_line(step=2), metrics_line(step=2, split="validation")]
    for step, evaluated_step, kept in ((2, 2, 3), (2, 1, 2), (1, 1, 1), (-1, -1, 0), (9, 9, 3)):
        path.write_text("".join(lines) + '{"step": 2, "spl', encoding="utf-8")
        cut_metrics(path, step=step, evaluated_step=evaluated_step)
        assert path.read_text(encoding="utf-8") == "".join(lines[:kept])
