"""The teachers that a run trains before it begins: runs of their own, in its folder teachers/."""

from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.runs.folder import ENDED_FILE, TEACHERS, is_run
from charlm.runs.run import Run, begin_run, folder_aside, open_run
from charlm.text.corpus import Corpus
from charlm.training import loop
from charlm.training.engine import EngineFactory
from charlm.training.loop import new_engine
from charlm.training.schedule import make_schedule
from charlm.training.signals import Session, Stopped
from charlm.training.soft_targets import keeps_soft_targets
from charlm.training.timing import measure


def train_teachers(run: Run, make_engine: EngineFactory, *, session: Session) -> None:
    """Train the teachers that a run asks for with `training.teacher_seeds`, one after the other.

    Teachers that are there are left as they are, and one that was interrupted goes on. Nothing is trained once the run
    has the soft targets.

    Args:
        run: A run that has begun.
        make_engine: Makes the engine of each.
        session: Its user, from a `stop_on_signal` block.

    Raises:
        CharlmError: a teacher cannot be trained, or a folder of teachers/ is another run.
        Stopped: a signal came; the teacher in training has been saved.

    """
    seeds = run.config.training.own_teachers
    if not seeds or keeps_soft_targets(run):  # which refuses links
        return
    for number, seed in enumerate(seeds, start=1):
        folder = run.folder / TEACHERS / str(seed)
        config = run.config.of_teacher(seed)
        is_begun = is_run(folder)
        if is_begun:
            teacher = open_run(folder)
        else:
            with folder_aside(folder) as aside:
                teacher = begin_run(folder, config, run.corpus, aside=aside)
        _check_is_teacher(teacher, config, run)
        if (folder / ENDED_FILE).is_file():
            continue
        session.say(f"teacher {number} of {len(seeds)}: {folder}")
        engine = new_engine(config, run.corpus, make_engine, say=session.say)
        outcome = loop.train(teacher, engine, resume=is_begun, session=session)
        if outcome.signal is not None:
            raise Stopped(outcome.signal)


def teacher_seconds(
    config: Config, corpus: Corpus, make_engine: EngineFactory, *, session: Session, step_seconds: float
) -> float:
    """Return how long the teachers take that a run would train, and their reading of the text; 0 = there are none.

    A few steps of one are timed. Reading the training text takes as long as evaluating so many characters.

    Args:
        config: Every setting of the run.
        corpus: Its text.
        make_engine: Makes the engine.
        session: Of a `stop_on_signal` block; nothing is said.
        step_seconds: How long to time steps, at least.

    Raises:
        CharlmError: what `new_engine` and `measure` raise.
        Stopped: a signal came.

    """
    seeds = config.training.own_teachers
    if not seeds:
        return 0.0
    teacher = config.of_teacher(seeds[0])
    engine = new_engine(teacher, corpus, make_engine, say=lambda _: None)
    costs = measure(teacher, corpus, engine, session=session, step_seconds=step_seconds)
    steps = make_schedule(teacher.training, engine.batches).total
    sizes = {name: len(corpus.split(name)) for name in ("train", "validation")}
    evaluated = min(sizes["validation"], config.training.evaluate_characters)
    reading = costs.evaluation_seconds * sizes["train"] / evaluated if evaluated else 0.0
    return len(seeds) * (costs.start_seconds + costs.run_seconds(teacher.training, steps) + reading)


def _check_is_teacher(teacher: Run, config: Config, run: Run) -> None:
    """Refuse a run in teachers/ with other settings or another text than the run whose teacher it would be."""
    if teacher.config != config or teacher.corpus.manifest.ids_sha256 != run.corpus.manifest.ids_sha256:
        raise CharlmError(
            f"{teacher.folder}: has other settings or another text than the teachers of {run.folder}; remove it, or "
            f"start a new run"
        )
