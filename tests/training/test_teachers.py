"""The teachers that a run trains before it begins."""

from pathlib import Path

import pytest
from fake_engine import FakeEngines, Faults, interrupt_after
from fake_runs import TEXT
from fake_runs import begin as begin_a_run

from charlm.errors import CharlmError
from charlm.network.bundle import read_bundle
from charlm.runs.run import Run, open_run
from charlm.training.signals import Stopped, stop_on_signal
from charlm.training.soft_targets import open_soft_targets
from charlm.training.teachers import teacher_seconds, train_teachers

SETTINGS = "training.teacher_settings={model: {units: 4}, training: {steps: 12}}"


def begin(folder: Path, *overrides: str) -> Run:
    """Begin a run with two teachers of its own, of 4 units and 12 steps."""
    folder.mkdir()
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    settings = ("training.teacher_seeds=[2, 3]", SETTINGS, *overrides)
    return begin_a_run(folder / "run", *settings, text=folder / "text.txt")


def teach(run: Run, faults: Faults | None = None) -> list[str]:
    """Train the teachers of a run; return what was said of each."""
    said: list[str] = []
    with stop_on_signal(said.append) as session:
        train_teachers(run, FakeEngines(faults or Faults()), session=session)
    return [line for line in said if line.startswith("teacher ")]


def weights(run: Run) -> dict[str, bytes]:
    """Return the best weights of each teacher."""
    return {path.parts[-3]: path.read_bytes() for path in run.folder.glob("teachers/*/best/weights.safetensors")}


def test_each_is_a_run_of_its_own_with_its_seed_and_the_settings_for_teachers(tmp_path: Path) -> None:
    run = begin(tmp_path / "a")
    assert teach(run) == [f"teacher {n} of 2: {run.folder / 'teachers' / seed}" for n, seed in ((1, "2"), (2, "3"))]
    for seed in (2, 3):
        teacher = open_run(run.folder / "teachers" / str(seed))
        assert (teacher.config.seed, teacher.config.training.steps) == (seed, 12)
        assert teacher.config.training.teacher_seeds == ()
        assert read_bundle(teacher.folder / "last").architecture.units == 4
    assert len(set(weights(run).values())) == 2


def test_teachers_that_are_there_are_not_trained_again(tmp_path: Path) -> None:
    run = begin(tmp_path / "a")
    teach(run)
    before = weights(run)
    assert teach(run) == []
    assert weights(run) == before


def test_they_are_not_needed_any_more_once_the_run_has_its_soft_targets(tmp_path: Path) -> None:
    run = begin(tmp_path / "a")
    teach(run)
    said: list[str] = []
    open_soft_targets(run, available_bytes=None, say=said.append)
    assert said == ["teachers: 2, reading the training text"]
    (run.folder / "teachers").rename(tmp_path / "elsewhere")
    assert teach(run) == []
    assert open_soft_targets(run, available_bytes=None) is not None


def test_without_a_weight_none_are_trained(tmp_path: Path) -> None:
    assert teach(begin(tmp_path / "a", "training.teacher_weight=0")) == []


def test_an_interrupted_teacher_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    whole, stopped = begin(tmp_path / "a"), begin(tmp_path / "b")
    teach(whole)
    with pytest.raises(Stopped):
        teach(stopped, interrupt_after(10))
    assert teach(stopped) == [
        f"teacher {n} of 2: {stopped.folder / 'teachers' / seed}" for n, seed in ((1, "2"), (2, "3"))
    ]
    assert weights(stopped) == weights(whole)


def test_another_run_in_the_place_of_a_teacher_is_refused(tmp_path: Path) -> None:
    run, other = begin(tmp_path / "a"), begin(tmp_path / "b", "training.clip_norm=0.1")
    teach(other)
    (other.folder / "teachers").rename(run.folder / "teachers")
    with pytest.raises(CharlmError, match=r"teachers/2: has other settings or another text than the teachers of"):
        teach(run)


def test_their_time_is_that_of_each_of_them(tmp_path: Path) -> None:
    run, none = begin(tmp_path / "a"), begin(tmp_path / "b", "training.teacher_seeds=[]")
    with stop_on_signal() as session:
        assert teacher_seconds(run.config, run.corpus, FakeEngines(), session=session, step_seconds=0) > 0
        assert teacher_seconds(none.config, none.corpus, FakeEngines(), session=session, step_seconds=0) == 0


def test_a_run_can_be_moved_while_a_teacher_trains(tmp_path: Path) -> None:
    run = begin(tmp_path / "a")
    with pytest.raises(Stopped):
        teach(run, interrupt_after(10))
    moved = run.folder.rename(tmp_path / "elsewhere")
    assert len(teach(open_run(moved))) == 2
