"""Checkpoints: the state of a run on the disk, restored exactly, or from the one before."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_engine
import pytest
from corpora import make_corpus
from fake_engine import FIRST_IS_BEST, FakeEngine, Faults, crash_after, interrupt_after
from fake_runs import TEXT, Trained, check_same_end, resume, train
from models import change_model
from run_folders import contents, cut, flip_bit, names, read_metrics, replace_by_folder

from charlm.core.checkpoints import LoopState, saved_steps
from charlm.core.model_file import read_model
from charlm.errors import CharlmError
from charlm.storage import UnreadableError

KEEP = "training.keep_checkpoints=true"
NEWEST = "checkpoints/step-45.safetensors"


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stop a run at step 45, after its best evaluation at step 10, which tests only read."""
    faults = interrupt_after(45)
    faults.weights = FIRST_IS_BEST.weights
    return train(tmp_path_factory.mktemp("stopped") / "run", faults=faults).folder


@pytest.fixture
def run(stopped: Path, tmp_path: Path) -> Path:
    """Copy the run."""
    return Path(shutil.copytree(stopped, tmp_path / "run"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train the same run without an interruption."""
    return train(tmp_path_factory.mktemp("whole") / "run", faults=FIRST_IS_BEST)


def resume_stopped(run: Path) -> Trained:
    return resume(run, faults=FIRST_IS_BEST)


# What is saved


def test_an_unfinished_run_keeps_its_newest_two_checkpoints(stopped: Path) -> None:
    assert saved_steps(stopped) == [45, 40]


def test_a_finished_run_keeps_no_checkpoints(whole: Trained) -> None:
    assert not (whole.folder / "checkpoints").exists()


def test_all_checkpoints_can_be_kept(tmp_path: Path) -> None:
    assert saved_steps(train(tmp_path / "run", KEEP).folder) == [50, 40, 30, 20, 10, 0]


# Damage


def replace_value(key: str, value: Any) -> Callable[[Path], None]:
    """Return a function that replaces a value in a checkpoint, by its dotted key."""

    def change(fields: dict[str, Any]) -> None:
        *sections, name = ("training", *key.split("."))
        for section in sections:
            fields = fields[section]
        fields[name] = value

    return lambda path: change_model(path, change)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        pytest.param(cut, "damaged", id="cut"),
        pytest.param(lambda path: flip_bit(path, -1), "damaged", id="wrong bit"),
        pytest.param(replace_value("loop", None), "training.loop: found null", id="no state"),
        pytest.param(replace_value("loop.seconds", -1), "training.loop.seconds", id="negative"),
        pytest.param(replace_value("loop.best_nats", math.nan), "found nan", id="nan"),
        pytest.param(replace_value("loop.step", 1234), "belongs to step 1,234", id="another step"),
    ],
)
def test_a_damaged_checkpoint_is_skipped(
    damage: Callable[[Path], object], problem: str, run: Path, whole: Trained
) -> None:
    damage(run / NEWEST)
    resumed = resume_stopped(run)
    note = resumed.notes[0].removeprefix(str(run))
    assert note.startswith("/checkpoints/step-45.safetensors: ")
    assert note.endswith("; trying the checkpoint before it")
    assert problem in note
    assert len(note) < 400
    check_same_end(resumed, whole)


NEW_RUN = "go on from its weights in a new run: charlm train TEXT --init "


def check_refused(
    run: Path,
    message: str,
    kind: type[CharlmError] = CharlmError,
) -> None:
    """Check that resuming a run is refused, and that its files stay as they were."""
    before = contents(run)
    with pytest.raises(kind, match=message):
        resume_stopped(run)
    assert contents(run) == before


def test_a_checkpoint_that_cannot_be_read_is_not_skipped(run: Path) -> None:
    replace_by_folder(run / NEWEST)
    check_refused(run, f"{NEWEST}: cannot be read: Is a directory$", UnreadableError)


def test_a_run_without_a_sound_checkpoint_is_refused(run: Path) -> None:
    for path in (run / "checkpoints").iterdir():
        cut(path)
    check_refused(run, f"checkpoints: no undamaged checkpoint to continue from; {NEW_RUN}")


@pytest.mark.parametrize("lost", ["best.safetensors", "last.safetensors"])
def test_a_run_without_its_checkpoints_is_refused(lost: str, run: Path) -> None:
    (run / lost).unlink()
    shutil.rmtree(run / "checkpoints")
    check_refused(run, f"run/checkpoints: no checkpoint to continue from; {NEW_RUN}")


@pytest.mark.parametrize(
    ("before", "now", "key"),
    [
        ("units: 8", "units: 9", "model.units"),
        ("steps: 50", "steps: 30", "training.steps"),
    ],
)
def test_a_run_whose_config_was_changed_is_refused(
    before: str, now: str, key: str, run: Path
) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text().replace(before, now))
    check_refused(
        run,
        f"the checkpoint of step 45 does not fit the settings and the text of this run: {key}; "
        f"put back the file that has changed, or {NEW_RUN}",
    )


def test_another_name_of_the_encoding_is_no_change(run: Path) -> None:
    for path in (run / "checkpoints").iterdir():
        change_model(path, lambda fields: fields["config"]["corpus"].update(encoding="utf8"))
    assert resume_stopped(run).outcome.step == 50


def test_a_checkpoint_with_other_tensors_is_refused(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_engine, "STATE", fake_engine.STATE[:-1])
    check_refused(run, "does not fit .* run: the shapes of its tensors; put back")


def reverse_vocabulary(corpus: Path) -> None:
    """Give other characters to the same ids."""
    manifest = corpus / "corpus.json"
    fields = json.loads(manifest.read_text())
    fields["vocabulary"]["characters"].reverse()
    manifest.write_text(json.dumps(fields))


def replace_corpus(corpus: Path) -> None:
    """Replace the text by another text."""
    shutil.rmtree(corpus)
    make_corpus(corpus.parent.parent, TEXT[::-1]).folder.rename(corpus)


@pytest.mark.parametrize("change", [reverse_vocabulary, replace_corpus])
def test_a_run_whose_text_was_changed_is_refused(
    change: Callable[[Path], object], run: Path
) -> None:
    change(run / "corpus")
    check_refused(run, "run: the checkpoint of step 45 does not fit .* run: the text; put back")


# What a resume restores or removes


def test_everything_later_than_the_checkpoint_is_removed(run: Path) -> None:
    (run / NEWEST).unlink()
    (run / ".00000001.best.safetensors.tmp").touch()
    (run / "checkpoints/.0000000f.step-60.safetensors.tmp").touch()
    with pytest.raises(ZeroDivisionError):
        resume(run, faults=crash_after(41))
    assert names(run / "checkpoints") == ["step-40.safetensors"]
    assert read_model(run / "last.safetensors").facts["step"] == 40
    assert max(line["step"] for line in read_metrics(run)) == 40
    assert not [*run.glob("**/.*.tmp")]


def replace_best(path: Path) -> None:
    """Replace the best model by one of another step."""
    change_model(path, lambda fields: fields.update(step=20))


@pytest.mark.parametrize("change", [Path.unlink, cut, replace_best])
def test_a_lost_best_model_is_replaced_at_the_next_evaluation(
    change: Callable[[Path], object], run: Path
) -> None:
    change(run / "best.safetensors")
    resumed = resume_stopped(run)
    lost = f"{run}/best.safetensors: missing or damaged; the next evaluation replaces it"
    assert resumed.notes[0] == lost
    assert resumed.model("best.safetensors").facts["step"] == 50


def test_the_models_are_restored_from_the_checkpoint_of_their_step(tmp_path: Path) -> None:
    """A kill between two writes may leave the models of another step."""
    improving = Faults(weights=lambda step: step / 50)
    run = train(tmp_path / "run", KEEP, faults=improving).folder
    models = contents(run)
    (run / "ended.json").unlink()
    for name in ("best.safetensors", "last.safetensors"):
        shutil.copyfile(run / "checkpoints/step-40.safetensors", run / name)
    assert resume(run, faults=improving).outcome.best_step == 50
    for name in ("best.safetensors", "last.safetensors"):
        assert (run / name).read_bytes() == models[name]


@pytest.mark.parametrize(
    ("before", "now", "is_noted"),
    [
        ("a", "b", True),
        ("a", "a", False),
        (None, "b", False),
        ("a", None, False),
    ],
    ids=["another library", "the same library", "no library before", "no library now"],
)
def test_a_resume_reports_another_kernel(
    before: str | None,
    now: str | None,
    is_noted: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FakeEngine, "kernel_sha256", before)
    stopped = train(tmp_path / "run", faults=interrupt_after(5))
    monkeypatch.setattr(FakeEngine, "kernel_sha256", now)
    note = "kernel: recompiled since this run was saved; its last bits will differ"
    assert (note in resume(stopped.folder).notes) == is_noted


# The best loss


@pytest.mark.parametrize(
    ("before", "nats", "is_best"),
    [
        (2.0, 1.9, True),
        (None, 1.9, True),
        (2.0, 2.0, False),
        (2.0, math.nan, False),
        (None, math.inf, False),
    ],
)
def test_only_a_lower_finite_loss_is_the_best(
    before: float | None, nats: float, is_best: bool
) -> None:
    state = LoopState(step=9, best_nats=before, best_step=5, evaluations_without_best=1)
    assert state.record_evaluation(nats) == is_best
    best, step, number = (nats, 9, 0) if is_best else (before, 5, 2)
    expected = LoopState(step=9, best_nats=best, best_step=step, lowest_nats=best, evaluated_step=9)
    assert state == expected.model_copy(update={"evaluations_without_best": number})


def test_a_later_model_is_the_best_within_a_tolerance_of_the_lowest_loss() -> None:
    """The tolerance is added to the lowest loss, not to that of the best model."""
    state = LoopState(best_nats=2.0, lowest_nats=2.0)
    losses = (1.9, 1.94, 1.97, 1.93, math.nan)
    assert [state.record_evaluation(nats, tolerance=0.05) for nats in losses] == [
        True,
        True,
        False,
        True,
        False,
    ]
    assert (state.best_nats, state.lowest_nats) == (1.93, 1.9)


def test_a_lowest_loss_of_0_stays_the_lowest() -> None:
    state = LoopState()
    losses = (0.0, 0.04, 0.06)
    found = [state.record_evaluation(nats, tolerance=0.05) for nats in losses]
    assert found == [True, True, False]
    assert (state.best_nats, state.lowest_nats) == (0.04, 0.0)


def test_a_checkpoint_without_the_lowest_loss_has_that_of_its_best_model() -> None:
    state = LoopState(best_nats=1.0)
    assert not state.record_evaluation(1.06, tolerance=0.05)
    assert state.record_evaluation(1.04, tolerance=0.05)
    assert (state.best_nats, state.lowest_nats) == (1.04, 1.0)
