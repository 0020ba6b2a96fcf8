"""Training of a run: first its teachers, each in a run inside it, then the run itself."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.events import TeacherStarted
from charlm.runs.folder import ENDED_FILE, TEACHERS, is_run
from charlm.runs.ownership import RunFolder, own_folder
from charlm.runs.run import Run
from charlm.text.corpus import Corpus
from charlm.training import loop
from charlm.training.evaluating import DivergenceError, EvaluatedText
from charlm.training.interface import Engine, EngineFactory
from charlm.training.outcome import Outcome
from charlm.training.preparation import new_engine, reopen, resolve_teacher
from charlm.training.schedule import make_schedule
from charlm.training.session import Session
from charlm.training.signals import Stopped
from charlm.training.soft_targets import keeps_soft_targets
from charlm.training.timing import Deadline, measure


@contextlib.contextmanager
def own_run(
    path: Path | None, *, session: Session, text_name: str = "", may_continue: bool = False
) -> Iterator[RunFolder]:
    """Own the folder of a run in a block, see `own_folder`.

    If the block raises Stopped and the folder keeps a run, the exception names the run.
    """
    folder: RunFolder | None = None
    try:
        with own_folder(
            path,
            text_name=text_name,
            may_continue=may_continue,
            clock=session.clock,
            on_event=session.on_event,
        ) as folder:
            yield folder
    except Stopped as stopped:
        if folder is not None and is_run(folder.path):
            stopped.run = folder.path
        raise


def train_run(
    run: Run,
    engine: Engine,
    engines: EngineFactory,
    *,
    session: Session,
    deadline: Deadline | None = None,
    text: EvaluatedText | None = None,
) -> Outcome:
    """Train a run that has begun, from its newest checkpoint to its end or a signal.

    The engine is in its first state; `engines` makes the engines of teachers. The other arguments
    are as for `loop.train`.

    Raises:
        CharlmError: A teacher cannot be trained, or `loop.train` raises it.
        Stopped: A signal arrived before the first step, or while a teacher was trained and saved.

    """
    _train_teachers(run, engines, session=session)
    return loop.train(run, engine, session=session, deadline=deadline, text=text)


def _train_teachers(run: Run, engines: EngineFactory, *, session: Session) -> None:
    """Train the teachers that have not ended, unless the run has their soft targets."""
    settings = run.config.training
    seeds = settings.used_teachers.seeds
    if settings.is_untrained or not seeds or keeps_soft_targets(run):
        return
    for number, seed in enumerate(seeds, start=1):
        folder = run.folder / TEACHERS / str(seed)
        if (folder / ENDED_FILE).is_file():
            continue
        session.on_event(TeacherStarted(number, len(seeds), folder))
        _train_teacher(folder, engines, session=session.of_teacher(number))


def _train_teacher(folder: Path, engines: EngineFactory, *, session: Session) -> None:
    with own_folder(folder, may_continue=True, clock=session.clock):
        teacher, engine = reopen(folder, engines=engines, session=session)
        try:
            outcome = loop.train(teacher, engine, session=session)
        except DivergenceError as error:
            problem = str(error).partition(": ")[0]
            raise CharlmError(
                f"{folder}: {problem}: the teacher has diverged; choose another recipe or seed"
            ) from None
        if outcome.signal is not None:
            stopped = Stopped(outcome.signal)
            stopped.is_saved = True
            raise stopped


def time_teachers(
    config: Config, corpus: Corpus, engines: EngineFactory, *, session: Session
) -> float:
    """Return how many seconds the teachers of a run train, from a few timed steps; 0 = no teachers.

    See `measure` and `prepare` for arguments and errors; `engines` makes a teacher's engine.
    """
    settings = config.training
    seeds = settings.used_teachers.seeds
    if settings.is_untrained or not seeds:
        return 0.0
    silent = session.silent()
    teacher = resolve_teacher(config, corpus, seeds[0], engines=engines)
    engine = new_engine(teacher, corpus, engines, session=silent)
    costs = measure(teacher, corpus, engine, session=silent)
    steps = make_schedule(teacher.training, engine.batches).total
    return len(seeds) * (costs.start_seconds + costs.run_seconds(teacher.training, steps))
