"""The one place that trains a run: the teachers that it asks for first, each a run of its own, then the loop."""

from pathlib import Path

from charlm.runs.folder import ENDED_FILE, TEACHERS, is_run, results
from charlm.runs.run import Run, begin_run, run_folder
from charlm.storage import only_writer, remove
from charlm.training import loop
from charlm.training.interface import Engine, EngineFactory
from charlm.training.loop import Outcome
from charlm.training.preparation import prepare_teacher, reopen
from charlm.training.signals import Session, Stopped
from charlm.training.soft_targets import keeps_soft_targets


def train_run(run: Run, engine: Engine, engines: EngineFactory, *, resume: bool = False, session: Session) -> Outcome:
    """Train a run that has begun, to its end or a signal.

    Args:
        run: Its folder, settled config and corpus.
        engine: What computes its steps, in its first state.
        engines: Makes those of its teachers.
        resume: Whether to continue from the newest checkpoint.
        session: Its user, from a `stop_on_signal` block.

    Raises:
        CharlmError: another process trains the run, a teacher cannot be trained, or `loop.train` raises it.
        Stopped: a signal came before the first step, or while a teacher was trained, which has been saved; `run` of the
            error is the folder of this run.

    """
    try:
        with only_writer(run.folder, clock=session.clock):
            _train_teachers(run, engines, session=session)
            return loop.train(run, engine, resume=resume, session=session)
    except Stopped as stopped:
        stopped.run = run.folder
        raise


def _train_teachers(run: Run, engines: EngineFactory, *, session: Session) -> None:
    """Train the teachers of a run, one after the other, unless the run has their soft targets.

    A teacher that has ended is left as it is, one that was interrupted goes on.
    """
    seeds = run.config.training.used_teachers.seeds
    if not seeds or keeps_soft_targets(run):
        return
    for number, seed in enumerate(seeds, start=1):
        folder = run.folder / TEACHERS / str(seed)
        if (folder / ENDED_FILE).is_file():
            continue
        session.say(f"teacher {number} of {len(seeds)}: {folder}")
        with session.silent(but="step "):
            teacher, engine = _open_teacher(run, folder, seed, engines, session=session)
            outcome = train_run(teacher, engine, engines, resume=True, session=session)
        if outcome.signal is not None:
            raise Stopped(outcome.signal)


def _open_teacher(run: Run, folder: Path, seed: int, engines: EngineFactory, *, session: Session) -> tuple[Run, Engine]:
    """Return the run of a teacher, which goes on or begins, and its engine."""
    if is_run(folder):
        return reopen(folder, engines=engines, session=session)
    if not results(folder):
        remove(folder)  # a process was killed when it began
    with run_folder(folder):
        prepared = prepare_teacher(run.config, run.corpus, seed, folder=folder, engines=engines, session=session)
        return begin_run(folder, prepared.config, prepared.corpus), prepared.engine
