"""The one place that trains a run: the teachers that it asks for first, each a run of its own, then the loop."""

from pathlib import Path

from charlm.config.file import check_resume
from charlm.errors import CharlmError
from charlm.runs.folder import CORPUS, ENDED_FILE, TEACHERS, is_run, results
from charlm.runs.run import Run, begin_run, open_run, read_initial, run_folder
from charlm.storage.files import remove
from charlm.training import loop
from charlm.training.interface import Engine, EngineFactory
from charlm.training.outcome import Outcome
from charlm.training.preparation import new_engine, settle
from charlm.training.signals import Session, Stopped
from charlm.training.soft_targets import keeps_soft_targets


def train_run(
    run: Run, engines: EngineFactory, *, engine: Engine | None = None, resume: bool = False, session: Session
) -> Outcome:
    """Train a run that has begun, to its end or a signal.

    Args:
        run: Its folder, settled config and corpus.
        engines: Makes its engine and those of its teachers.
        engine: The engine of the run in its first state, if it was made before, for instance to time steps.
        resume: Whether to continue from the newest checkpoint.
        session: Its user, from a `stop_on_signal` block.

    Raises:
        CharlmError: the engine cannot be made, a teacher cannot be trained or is another run, or `loop.train` raises
            it.
        Stopped: a signal came before the first step, or while a teacher was trained, which has been saved; `run` of the
            error is the folder of this run.

    """
    try:
        if engine is None:
            engine = new_engine(run.config, run.corpus, engines, first_weights=read_initial(run), session=session)
        _train_teachers(run, engines, session=session)
        return loop.train(run, engine, resume=resume, session=session)
    except Stopped as stopped:
        stopped.run = run.folder
        raise


def _train_teachers(run: Run, engines: EngineFactory, *, session: Session) -> None:
    """Train the teachers of `training.teacher_seeds`, one after the other, unless the run has their soft targets.

    A teacher that has ended is left as it is, one that was interrupted goes on.
    """
    seeds = run.config.training.own_teachers
    if not seeds or keeps_soft_targets(run):  # which refuses links
        return
    for number, seed in enumerate(seeds, start=1):
        teacher = _open_teacher(run, seed, engines, session=session)
        if (teacher.folder / ENDED_FILE).is_file():
            continue
        session.say(f"teacher {number} of {len(seeds)}: {teacher.folder}")
        outcome = train_run(teacher, engines, resume=True, session=session)
        if outcome.signal is not None:
            raise Stopped(outcome.signal)


def _open_teacher(run: Run, seed: int, engines: EngineFactory, *, session: Session) -> Run:
    """Return a teacher of a run, begun if it is not there, with the settings that a resume of the run has changed."""
    folder, config = run.folder / TEACHERS / str(seed), run.config.of_teacher(seed)
    if not is_run(folder):
        config = settle(config, run.corpus, engines=engines, is_recorded=True, say=session.say)
        if not results(folder):
            remove(folder)  # a process was killed when it began
        with run_folder(folder):
            (folder / CORPUS).symlink_to(Path("..", "..", CORPUS), target_is_directory=True)
            return begin_run(folder, config, run.corpus)
    begun = open_run(folder)
    if begun.corpus.manifest.ids_sha256 != run.corpus.manifest.ids_sha256:
        raise CharlmError(f"{folder}: has another text than {run.folder}; start a new run")
    settled = {name: getattr(begun.config.training, name) for name in ("kernel", "precision", "parts")}
    config = config.model_copy(update={"training": config.training.model_copy(update=settled)})
    check_resume(begun.config, config, origin=f"{folder}: ")
    return Run(folder, config, begun.corpus)
