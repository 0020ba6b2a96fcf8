"""The one way in which a run is trained: its teachers first, each a run of its own, then itself."""

from pathlib import Path

import pytest
from fake_engine import FakeEngines, Faults, interrupt_after
from fake_runs import STEPS_PER_EPOCH, TEXT, repeatable_files
from fake_runs import begin as begin_a_run

from charlm.errors import CharlmError
from charlm.network.model_file import read_model
from charlm.runs.run import Run, open_run
from charlm.training.outcome import Outcome
from charlm.training.signals import Stopped, stop_on_signal
from charlm.training.timing import teacher_seconds
from charlm.training.trainer import train_run

SETTINGS = "training.teacher_settings={model: {units: 4}, training: {steps: 12}}"


def begin(folder: Path, *overrides: str) -> Run:
    """Begin a run of 50 steps with two teachers of its own, of 4 units and 12 steps."""
    folder.mkdir()
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    settings = ("training.teacher_seeds=[2, 3]", SETTINGS, *overrides)
    return begin_a_run(folder / "run", *settings, text=folder / "text.txt")


def train(run: Run, faults: Faults | None = None, *, resume: bool = False) -> tuple[Outcome, list[str]]:
    """Train a run; return how it ended, and what was said of its teachers."""
    said: list[str] = []
    with stop_on_signal(said.append) as session:
        outcome = train_run(run, FakeEngines(faults or Faults()), resume=resume, session=session)
    return outcome, [line for line in said if line.startswith("teacher ")]


@pytest.fixture
def stopped(tmp_path: Path) -> Run:
    """Begin a run that is interrupted in its first teacher."""
    run = begin(tmp_path / "stopped")
    with pytest.raises(Stopped) as caught:
        train(run, interrupt_after(10))
    assert caught.value.run == run.folder
    return run


def weights(run: Run) -> dict[str, bytes]:
    """Return the best weights of each teacher."""
    return {path.parent.name: path.read_bytes() for path in run.folder.glob("teachers/*/best.safetensors")}


def lines(run: Run) -> list[str]:
    """Return what is said of the two teachers when they are trained."""
    return [f"teacher {n} of 2: {run.folder / 'teachers' / seed}" for n, seed in ((1, "2"), (2, "3"))]


def test_each_teacher_is_a_run_of_its_own_with_its_seed_and_the_settings_for_teachers(tmp_path: Path) -> None:
    run = begin(tmp_path / "a")
    outcome, said = train(run)
    assert (said, outcome.folder, outcome.progress.step) == (lines(run), run.folder, 50)
    for seed in (2, 3):
        teacher = open_run(run.folder / "teachers" / str(seed))
        assert (teacher.config.seed, teacher.config.training.steps) == (seed, 12)
        assert teacher.config.training.teacher_seeds == ()
        assert read_model(teacher.folder / "last.safetensors").architecture.units == 4
    assert len(set(weights(run).values())) == 2


def test_the_length_of_a_run_does_not_reach_its_teachers(tmp_path: Path) -> None:
    run = begin(
        tmp_path / "a",
        "training.teacher_settings.training={steps: null, epochs: 1}",
        "training.steps=7",
        "training.evaluations=3",
        "training.early_stopping=9",
    )
    train(run)
    teacher = open_run(run.folder / "teachers/2").config.training
    assert (teacher.steps, teacher.epochs, teacher.evaluations) == (None, 1, 2)  # 2 is that of the recipe tiny
    assert teacher.early_stopping is None
    assert read_model(run.folder / "teachers/2/last.safetensors").facts["step"] == STEPS_PER_EPOCH


def test_the_run_learns_from_its_teachers_and_needs_them_no_more(tmp_path: Path) -> None:
    taught, alone = begin(tmp_path / "a"), begin(tmp_path / "b", "training.teacher_weight=0")
    assert train(taught, interrupt_after(20))[0].signal is not None
    assert train(alone)[1] == []
    (taught.folder / "teachers").rename(tmp_path / "elsewhere")
    assert train(taught, resume=True)[1] == []
    last = [(run.folder / "last.safetensors").read_bytes() for run in (taught, alone)]
    assert last[0] != last[1]


def test_a_run_that_was_interrupted_in_a_teacher_goes_on_to_the_same_bytes(stopped: Run, tmp_path: Path) -> None:
    train(whole := begin(tmp_path / "whole"))
    assert train(stopped, resume=True)[1] == lines(stopped)
    assert weights(stopped) == weights(whole)
    assert repeatable_files(stopped.folder) == repeatable_files(whole.folder)


def test_an_unfinished_teacher_takes_the_settings_that_a_resume_has_changed(stopped: Run) -> None:
    train(open_run(stopped.folder, overrides="training.optimizer.learning_rate=1e-4"), resume=True)
    configs = [open_run(stopped.folder / "teachers" / seed).config for seed in "23"]
    assert [config.training.optimizer.learning_rate for config in configs] == [1e-4, 1e-4]


def test_a_teacher_whose_beginning_was_killed_begins_anew(tmp_path: Path) -> None:
    run = begin(tmp_path / "a")
    (run.folder / "teachers/2").mkdir(parents=True)
    (run.folder / "teachers/2/metrics.jsonl").touch()
    assert train(run)[1] == lines(run)
    assert len(weights(run)) == 2


def test_another_run_in_the_place_of_a_teacher_is_refused(tmp_path: Path) -> None:
    run, other = begin(tmp_path / "a"), begin(tmp_path / "b", "training.clip_norm=0.1")
    train(other)
    (other.folder / "teachers").rename(run.folder / "teachers")
    with pytest.raises(CharlmError, match=r"teachers/2: training\.clip_norm: found 1\.0; must be 0\.1"):
        train(run)


def test_the_time_of_the_teachers_is_that_of_each_of_them(tmp_path: Path) -> None:
    run, none = begin(tmp_path / "a"), begin(tmp_path / "b", "training.teacher_seeds=[]")
    with stop_on_signal() as session:
        assert teacher_seconds(run.config, run.corpus, FakeEngines(), session=session, step_seconds=0) > 0
        assert teacher_seconds(none.config, none.corpus, FakeEngines(), session=session, step_seconds=0) == 0


def test_a_run_can_be_moved_while_a_teacher_trains(stopped: Run, tmp_path: Path) -> None:
    moved = stopped.folder.rename(tmp_path / "elsewhere")
    assert len(train(open_run(moved), resume=True)[1]) == 2
