"""The one way in which a run is trained: its teachers first, each a run of its own, then itself."""

from pathlib import Path

import pytest
from fake_engine import FakeEngines, Faults, interrupt_after
from fake_runs import TEXT, engine_of, repeatable_files, ticking
from fake_runs import begin as begin_a_run

from charlm.errors import CharlmError
from charlm.network.model_file import read_model
from charlm.runs.run import Run, open_run
from charlm.runs.summary import summarize
from charlm.storage import only_writer
from charlm.training.loop import Outcome
from charlm.training.signals import Session, Stopped, stop_on_signal
from charlm.training.trainer import train_run

RECIPE = """
model: {units: 4}
training: {batch_size: 4, sequence_length: 4, steps: 12, log_every: 5, evaluations: 2, parts: 2}
sampling: {length: 0}
"""


def begin(folder: Path, *overrides: str) -> Run:
    """Begin a run of 50 steps with two teachers of its own, of 4 units and 12 steps."""
    folder.mkdir()
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    (folder.parent / "teacher.yaml").write_text(RECIPE, encoding="utf-8")
    teachers = f"training.teachers={{recipe: {folder.parent / 'teacher.yaml'}, seeds: [2, 3]}}"
    return begin_a_run(folder / "run", teachers, *overrides, text=folder / "text.txt")


def train(run: Run, faults: Faults | None = None, *, resume: bool = False) -> tuple[Outcome, list[str]]:
    """Train a run; return how it ended, and what was said of its teachers."""
    said: list[str] = []
    engines = FakeEngines(faults or Faults())
    with stop_on_signal(Session(said.append)) as session:
        outcome = train_run(run, engine_of(run, engines), engines, resume=resume, session=session)
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


def test_each_teacher_is_a_run_of_its_own_with_its_recipe_and_its_seed(tmp_path: Path) -> None:
    run, states = begin(tmp_path / "a", "training.clip_norm=0.5"), list[str]()
    outcome, said = train(run, Faults(after_call=lambda _step: states.append(summarize(run.folder).state)))
    assert ({*states}, summarize(run.folder).state) == ({"training"}, "done")
    assert (said, outcome.folder, outcome.progress.step) == (lines(run), run.folder, 50)
    for seed in (2, 3):
        teacher = open_run(run.folder / "teachers" / str(seed))
        assert (teacher.config.recipe, teacher.config.seed, teacher.config.training.steps) == ("teacher", seed, 12)
        assert (teacher.config.training.teachers, teacher.config.training.clip_norm) == (None, 1.0)
        assert teacher.config.corpus == run.config.corpus
        assert read_model(teacher.folder / "last.safetensors").architecture.units == 4
    assert len(set(weights(run).values())) == 2


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
    stopped.folder.parent.rename(tmp_path / "moved")
    stopped = open_run(tmp_path / "moved/run")
    assert train(stopped, resume=True)[1] == lines(stopped)
    assert weights(stopped) == weights(whole)
    assert repeatable_files(stopped.folder) == repeatable_files(whole.folder)


def test_the_settings_that_a_resume_changes_do_not_reach_the_teachers(stopped: Run) -> None:
    rates = [open_run(stopped.folder / "teachers/2").config.training.optimizer.learning_rate]
    train(open_run(stopped.folder, overrides="training.optimizer.learning_rate=1e-4"), resume=True)
    rates += [open_run(stopped.folder / "teachers" / seed).config.training.optimizer.learning_rate for seed in "23"]
    assert len(set(rates)) == 1
    assert rates[0] != 1e-4


def test_a_teacher_whose_beginning_was_killed_begins_anew(tmp_path: Path) -> None:
    run = begin(tmp_path / "a")
    (run.folder / "teachers/2").mkdir(parents=True)
    (run.folder / "teachers/2/metrics.jsonl").touch()
    assert train(run)[1] == lines(run)
    assert len(weights(run)) == 2


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("shakespeare-15m", r"^training\.teachers\.recipe: shakespeare-15m has teachers itself; name"),
        ("shakespare", r"^shakespare: no such recipe or YAML file; did you mean shakespeare\?"),
    ],
)
def test_the_recipe_of_the_teachers_must_be_one_without(recipe: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match=message):
        begin(tmp_path / "a", f"training.teachers={{recipe: {recipe}, seeds: [1]}}")


def test_a_run_that_another_process_trains_is_refused(tmp_path: Path) -> None:
    run = begin(tmp_path / "a", "training.teachers=null")
    with only_writer(run.folder), pytest.raises(CharlmError, match="is training here"):
        train_run(run, engine_of(run), FakeEngines(), session=Session(clock=ticking(1.0)))
