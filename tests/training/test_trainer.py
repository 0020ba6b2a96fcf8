"""Runs with teachers, which are trained first, each in a run inside the run."""

import contextlib
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import fake_runs
import pytest
from fake_engine import Faults, interrupt_after
from fake_runs import TEXT, Trained, repeatable_files, resume, ticking, train_begun

from charlm.errors import CharlmError
from charlm.events import Evaluated, TeacherEvent, TeacherStarted
from charlm.network.model_file import read_model
from charlm.runs.run import Run, open_run
from charlm.runs.summary import summarize
from charlm.storage import is_held, only_writer
from charlm.training.session import Session
from charlm.training.signals import Stopped
from charlm.training.trainer import own_run

RECIPE = """
model: {units: 4}
training: {batch_size: 4, sequence_length: 4, steps: 12, log_every: 5, evaluations: 2, parts: 2}
sampling: {length: 0}
"""
SEEDS = ("2", "3")


def begin(folder: Path, *overrides: str, recipe: str = RECIPE) -> Run:
    """Begin a run of 50 steps with two teachers of 4 units and 12 steps."""
    folder.mkdir()
    (folder / "teacher.yaml").write_text(recipe, encoding="utf-8")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    teachers = "training.teachers={recipe: teacher.yaml, seeds: [2, 3]}"
    settings = (teachers, "training.clip_norm=0.5", *overrides)
    with contextlib.chdir(folder):
        return fake_runs.begin(folder / "run", *settings, text=folder / "text.txt")


@dataclass
class Watched:
    """A run with two teachers that was watched after each call of an engine."""

    trained: Trained
    states: set[str]
    """States of the run."""
    owned: list[str]
    """Seeds of the teachers whose folders were owned, in order."""


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """Train a run with two teachers."""
    run = begin(tmp_path_factory.mktemp("taught") / "run")
    states: set[str] = set()
    owned: dict[str, None] = {}

    def watch(_step: int) -> None:
        states.add(summarize(run.folder).state)
        for seed in SEEDS:
            if is_held(run.folder / "teachers" / seed):
                owned[seed] = None

    return Watched(train_begun(run, faults=Faults(after_call=watch)), states, [*owned])


@pytest.fixture(scope="module")
def taught(watched: Watched) -> Trained:
    """Return a run with two teachers, which tests only read."""
    return watched.trained


def teacher_models(run: Path) -> list[bytes]:
    """Return the best models of the teachers of a run."""
    return [(run / "teachers" / seed / "best.safetensors").read_bytes() for seed in SEEDS]


def teacher_events(run: Path) -> list[TeacherStarted]:
    """Return the events of a run whose two teachers are trained."""
    folders = [run / "teachers" / seed for seed in SEEDS]
    return [TeacherStarted(number, 2, folder) for number, folder in enumerate(folders, start=1)]


def test_the_teachers_are_trained_in_order(taught: Trained) -> None:
    assert taught.of_type(TeacherStarted) == teacher_events(taught.folder)
    assert taught.outcome.progress.step == 50


def test_the_events_of_a_teacher_have_its_number(taught: Trained) -> None:
    evaluations = [
        (report.number, report.event.step)
        for report in taught.of_type(TeacherEvent)
        if isinstance(report.event, Evaluated)
    ]
    assert evaluations == [(1, 6), (1, 12), (2, 6), (2, 12)]


@pytest.mark.parametrize("seed", SEEDS)
def test_each_teacher_has_the_settings_of_its_recipe(seed: str, taught: Trained) -> None:
    teacher = open_run(taught.folder / "teachers" / seed)
    training = teacher.config.training
    assert (teacher.config.recipe, teacher.config.seed) == ("teacher", int(seed))
    assert (training.steps, training.teachers, training.clip_norm) == (12, None, 1.0)
    assert teacher.config.corpus == taught.config.corpus
    assert read_model(teacher.folder / "last.safetensors").architecture.units == 4


def test_the_teachers_differ(taught: Trained) -> None:
    first, second = teacher_models(taught.folder)
    assert first != second


def test_the_settings_of_teachers_are_decided_when_the_run_begins(tmp_path: Path) -> None:
    """Without a number of parts, the number of cores decides."""
    run = begin(tmp_path / "a", recipe=RECIPE.replace(", parts: 2", ""))
    for seed in SEEDS:
        assert open_run(run.folder / "teachers" / seed).config.training.parts is not None


def test_a_run_is_training_while_its_teachers_are_trained(watched: Watched) -> None:
    assert watched.states == {"training"}
    assert summarize(watched.trained.folder).state == "done"


def test_a_teacher_is_owned_while_it_is_trained(watched: Watched) -> None:
    assert watched.owned == ["2", "3"]


def test_a_teacher_that_has_ended_is_not_trained_again(tmp_path: Path, taught: Trained) -> None:
    run = begin(tmp_path / "a")
    for name in ("best.safetensors", "last.safetensors", "ended.json"):
        shutil.copy(taught.folder / "teachers/2" / name, run.folder / "teachers/2")
    trained = train_begun(run)
    assert trained.of_type(TeacherStarted) == [TeacherStarted(2, 2, run.folder / "teachers/3")]
    assert trained.files() == taught.files()


def test_teachers_without_weight_are_not_trained(tmp_path: Path, taught: Trained) -> None:
    alone = train_begun(begin(tmp_path / "a", "training.teacher_weight=0"))
    assert alone.of_type(TeacherStarted) == []
    assert alone.model("last.safetensors").parameters.logits_bias.tobytes() != (
        taught.model("last.safetensors").parameters.logits_bias.tobytes()
    )


def test_a_resumed_run_does_not_need_its_teachers(tmp_path: Path) -> None:
    stopped = train_begun(begin(tmp_path / "a"), faults=interrupt_after(20))
    assert stopped.outcome.signal is not None
    (stopped.folder / "teachers").rename(tmp_path / "elsewhere")
    assert resume(stopped.folder).of_type(TeacherStarted) == []


def interrupt_teacher(folder: Path) -> tuple[Run, Stopped]:
    """Begin a run that is interrupted in its first teacher, and return the exception."""
    run = begin(folder)
    with pytest.raises(Stopped) as caught:
        train_begun(run, faults=interrupt_after(10))
    return run, caught.value


@pytest.fixture
def stopped(tmp_path: Path) -> Run:
    """Begin a run that is interrupted in its first teacher."""
    run, _ = interrupt_teacher(tmp_path / "stopped")
    return run


def test_a_run_that_was_interrupted_in_a_teacher_ends_like_a_whole_one(
    stopped: Run,
    tmp_path: Path,
    taught: Trained,
) -> None:
    moved = stopped.folder.rename(tmp_path / "moved")
    resumed = resume(moved)
    assert resumed.of_type(TeacherStarted) == teacher_events(moved)
    assert teacher_models(moved) == teacher_models(taught.folder)
    assert repeatable_files(moved) == repeatable_files(taught.folder)


def test_the_exception_of_an_interrupted_teacher_names_the_run(tmp_path: Path) -> None:
    run, exception = interrupt_teacher(tmp_path / "stopped")
    assert exception.run == run.folder
    assert exception.is_saved


def test_settings_that_a_resume_changes_do_not_reach_the_teachers(stopped: Run) -> None:
    resume(stopped.folder, "training.optimizer.learning_rate=1e-4")
    for seed in SEEDS:
        teacher = open_run(stopped.folder / "teachers" / seed)
        assert teacher.config.training.optimizer.learning_rate == 0.002


def test_a_run_that_another_process_trains_is_refused(taught: Trained) -> None:
    session = Session(clock=ticking(1.0))
    with (
        only_writer(taught.folder),
        pytest.raises(CharlmError, match="is training here"),
        own_run(taught.folder, session=session, may_continue=True),
    ):
        pass


@pytest.mark.parametrize(
    "step",
    [pytest.param(3, id="without a checkpoint"), pytest.param(8, id="with a checkpoint")],
)
def test_a_teacher_that_diverges_is_named_by_its_folder(step: int, tmp_path: Path) -> None:
    run = begin(tmp_path / "a")
    faults = Faults(loss=lambda taken, _rate: math.nan if taken == step else None)
    message = (
        rf"^{run.folder}/teachers/2: the loss is nan and the gradient norm [^:]* at step {step}: "
        "the teacher has diverged; choose another recipe or seed$"
    )
    with pytest.raises(CharlmError, match=message):
        train_begun(run, faults=faults)
