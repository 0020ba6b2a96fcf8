"""The one place that trains a run: the teachers that it asks for first, each a run of its own, then the loop."""

from pathlib import Path

from charlm.config.file import nest
from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.runs.folder import ENDED_FILE, TEACHERS, is_run, results
from charlm.runs.run import Run, begin_run, run_folder
from charlm.storage import only_writer, remove, temporary_folder
from charlm.text.corpus import Corpus
from charlm.training import loop
from charlm.training.decision import Given
from charlm.training.evaluating import DivergenceError, EvaluatedText
from charlm.training.interface import Engine, EngineFactory
from charlm.training.loop import Outcome
from charlm.training.preparation import Preparation, prepare, reopen
from charlm.training.schedule import make_schedule
from charlm.training.signals import Session, Stopped
from charlm.training.soft_targets import keeps_soft_targets
from charlm.training.timing import TIMED_SECONDS, Deadline, measure


def train_run(
    run: Run,
    engine: Engine,
    engines: EngineFactory,
    *,
    resume: bool = False,
    session: Session,
    deadline: Deadline | None = None,
    text: EvaluatedText | None = None,
) -> Outcome:
    """Train a run that has begun, to its end or a signal.

    Args:
        run: Its folder, settled config and corpus.
        engine: What computes its steps, in its first state.
        engines: Makes those of its teachers.
        resume: Whether to continue from the newest checkpoint.
        session: Its user, from a `stop_on_signal` block.
        deadline: When the run has to end; None = it takes all its steps.
        text: What its evaluations read; None = it is opened now.

    Raises:
        CharlmError: another process trains the run, a teacher cannot be trained, or `loop.train` raises it.
        Stopped: a signal came before the first step, or while a teacher was trained, which has been saved; `run` of the
            error is the folder of this run.

    """
    try:
        with only_writer(run.folder, clock=session.clock):
            _train_teachers(run, engines, session=session)
            return loop.train(run, engine, resume=resume, session=session, deadline=deadline, text=text)
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
            try:
                outcome = train_run(teacher, engine, engines, resume=True, session=session)
            except DivergenceError as error:
                problem = str(error).partition(": ")[0]
                raise CharlmError(
                    f"{folder}: {problem}: the teacher has diverged; name another recipe or seed"
                ) from None
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


def prepare_teacher(
    config: Config, corpus: Corpus, seed: int, *, folder: Path, engines: EngineFactory, session: Session
) -> Preparation:
    """Prepare a teacher of a run: it has a recipe, a seed, and the text as the run has read it.

    Args:
        config: Every setting of the run, whose `training.teachers` name a recipe; no other reaches the teacher.
        corpus: The text of the run.
        seed: One of the seeds there.
        folder: That of the teacher.
        engines: Makes the engine.
        session: The user of the training.

    Raises:
        CharlmError: as `prepare`.

    """
    assert config.training.teachers is not None, "the run has teachers"
    settings = {"seed": seed, "corpus": config.corpus.model_dump(mode="json"), "sampling.length": 0}
    given = Given(recipe=config.training.teachers.recipe, overrides=nest(settings.items()))
    return prepare(corpus, given=given, folder=folder, engines=engines, session=session)


def time_teachers(
    config: Config, corpus: Corpus, engines: EngineFactory, *, session: Session, step_seconds: float = TIMED_SECONDS
) -> float:
    """Return how many seconds the teachers of a run train, from a few timed steps; 0 = the run trains none.

    The arguments and errors are those of `measure` and `prepare`; `engines` makes the engine of a teacher.
    """
    seeds = config.training.used_teachers.seeds
    if not seeds:
        return 0.0
    with session.silent(), temporary_folder() as folder:
        teacher = prepare_teacher(config, corpus, seeds[0], folder=folder, engines=engines, session=session)
        one = measure(teacher.config, corpus, teacher.engine, session=session, step_seconds=step_seconds)
    settings = teacher.config.training
    steps = make_schedule(settings, teacher.engine.batches).total
    return len(seeds) * (one.start_seconds + one.run_seconds(settings, steps))
