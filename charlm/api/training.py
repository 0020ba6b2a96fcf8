"""From text to a trained model: tokenize, train, resume."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from charlm.api.preparation import Overrides, Preparation, Text, as_several, check_minutes, prepare
from charlm.config.file import load_config
from charlm.config.recipes import find_recipe
from charlm.config.schema import Config
from charlm.engine.kernel import settle_kernel
from charlm.engine.runtime import check_tensorflow
from charlm.errors import CharlmError, counted
from charlm.runs.folder import RUNS, find_run, is_run, new_folder, newest_unfinished_run
from charlm.runs.initial import read_initial, read_parent
from charlm.runs.run import Run, begin_run, discarded_if_refused, folder_aside, open_run
from charlm.text.corpus import Corpus
from charlm.text.tokenization import tokenize as write_corpus
from charlm.training import loop
from charlm.training.engine import Engine, EngineFactory
from charlm.training.loop import Outcome, new_engine
from charlm.training.schedule import make_schedule
from charlm.training.signals import Session, Stopped, stop_on_signal
from charlm.training.teachers import teacher_seconds, train_teachers
from charlm.training.timing import STEP_SECONDS, measure

TIMED_SHARE = 0.05
"""The share of the minutes in which steps are timed, at most."""
FEW_STEPS = 200
"""With fewer steps, a network learns little more than how often each character occurs."""


def tokenize(
    sources: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    recipe: str | Path = "default",
    overrides: Overrides = (),
    show_progress: bool = False,
) -> Corpus:
    """Turn text into a corpus on disk.

    Args:
        sources: Files, folders, glob patterns, .gz files, or - for standard input; one of them or several.
        out: The folder to write; it must be missing or empty.
        recipe: A name in configs/, or a YAML file; its `corpus` section decides how text becomes ids.
        overrides: Values that replace those of the recipe.
        show_progress: Whether to show a bar on standard error.

    Raises:
        CharlmError: a key or a value is not right, a source cannot be read, or `out` cannot be written.

    """
    several = [sources] if isinstance(sources, str | Path) else sources
    config = load_config(find_recipe(str(recipe)), overrides=as_several(overrides))
    return write_corpus([str(source) for source in several], Path(out), config.corpus, progress=show_progress)


def train(
    text: Text = None,
    *,
    recipe: str | Path | None = None,
    overrides: Overrides = (),
    minutes: float | None = None,
    init: str | Path | None = None,
    run: str | Path | None = None,
    say: Callable[[str], None] = lambda _: None,
    show_progress: bool = False,
) -> Outcome:
    """Train a model in a new run.

    TensorFlow's threads are set for the whole process. In the main thread, Ctrl-C, SIGTERM and SIGHUP write a
    checkpoint and end the training; in another thread, signals are left to the program.

    Args:
        text: What `tokenize` takes: files, folders, glob patterns, .gz files, or - for standard input; one of them or
            several, each file a document. Or a corpus that it made, or the folder of one. None = the plays that come
            with charlm.
        recipe: A name in configs/, or a YAML file. None = the one that suits a text of this size, see
            `charlm.config.recipes.suited_recipe`; for the plays `default`.
        overrides: Values that replace those of the recipe.
        minutes: How long the call should take. Some steps are timed, and the number of steps that fit replaces the
            `training.epochs` and `training.steps` of the recipe; it is in the config of the run, which can so be
            repeated. None = as long as the recipe says.
        init: The model whose weights training begins with: a run, whose best one counts, or a bundle. Characters are
            matched by what they are, and the shape of the network is that of the model. None = the first weights are
            drawn at random.
        run: The folder of the run, missing or empty; None = a new one under runs/.
        say: Takes a line for the user, for instance `print`.
        show_progress: Whether to show bars on standard error.

    Raises:
        CharlmError: TensorFlow is not installed, a key, a value or the text is not right, `minutes` is given together
            with an override of the length or is too short, `init` is no model or does not fit the overrides or the
            text, a file cannot be written, or training has diverged; before the first checkpoint, nothing is left
            behind.
        Stopped: a signal came before the first step; it is a KeyboardInterrupt. Nothing is left behind, or a run that
            can be resumed.

    """
    check_tensorflow()
    started = time.perf_counter()
    with stop_on_signal(say, show_progress=show_progress) as session:
        given = as_several(overrides)
        if minutes is not None:
            check_minutes(minutes, given)
        with folder_aside(RUNS / "new" if run is None else Path(run)) as aside:
            prepared = prepare(
                text,
                recipe=recipe,
                overrides=given,
                aside=aside,
                parent=None if init is None else read_parent(Path(init)),
                minutes=minutes,
                session=session,
            )
            for line in prepared.describe_advice():
                session.say(line)
            config, make_engine = prepared.config, start_engine(session)
            engine = prepared.new_engine(make_engine, session=session)
            if prepared.minutes is not None:
                config = _fit_to_minutes(prepared, engine, make_engine, started=started, session=session)
            folder = new_folder(str(config.recipe)) if run is None else Path(run)
            begun = begin_run(folder, config, prepared.corpus, aside=aside, first=prepared.first)
        with discarded_if_refused(begun):
            return _train(begun, make_engine, engine, session=session)


def resume(
    run: str | Path | None = None,
    *,
    overrides: Overrides = (),
    say: Callable[[str], None] = lambda _: None,
    show_progress: bool = False,
) -> Outcome:
    """Continue a run from its newest checkpoint, exactly as if it had not been interrupted.

    Args:
        run: The folder of the run, or a part of its name under runs/; None = the newest that has not ended, or the
            newest if all have.
        overrides: Values that replace those of the run's config.
        say: Takes a line for the user, for instance `print`.
        show_progress: Whether to show bars on standard error.

    Raises:
        CharlmError: the folder is not a run, a key or a value is not right or may not change in a run, the text is not
            that of the run, no checkpoint is whole, a file cannot be written, or training has diverged.
        Stopped: a signal came before the first step; it is a KeyboardInterrupt.

    """
    with stop_on_signal(say, show_progress=show_progress) as session:
        folder = newest_unfinished_run() if run is None else find_run(Path(run))
        begun = open_run(folder, overrides=as_several(overrides))
        make_engine = start_engine(session)
        with session.at_once():
            first = read_initial(begun.folder, begun.config)
            config = settle_kernel(begun.config, say=session.say, is_recorded=True)
            engine = new_engine(config, begun.corpus, make_engine, first_weights=first, say=session.say)
        return _train(begun, make_engine, engine, resume=True, session=session)


def start_engine(session: Session) -> EngineFactory:
    """Import TensorFlow, and return what makes the engine of a run; raises Stopped if a signal comes."""
    with session.at_once():
        from charlm.engine import runtime

        if not runtime.start():
            session.say("TensorFlow was used before in this program and keeps its threads: training is slower")
        from charlm.engine.keras_engine import KerasEngine
    return KerasEngine


def _fit_to_minutes(
    prepared: Preparation,
    engine: Engine,
    make_engine: EngineFactory,
    *,
    started: float,
    session: Session,
) -> Config:
    """Return the config with the number of steps that fits into the minutes, in place of the length that it gave.

    The minutes began at `started`, in seconds of `time.perf_counter`.
    """
    assert prepared.minutes is not None
    config, corpus, minutes = prepared.config, prepared.corpus, prepared.minutes
    settings, timed = config.training, min(STEP_SECONDS, 60 * minutes * TIMED_SHARE)
    costs = measure(config, corpus, engine, session=session, step_seconds=timed)
    teachers = teacher_seconds(config, corpus, make_engine, session=session, step_seconds=timed)
    spent = time.perf_counter() - started + teachers
    steps = costs.steps_within(settings, 60 * minutes - spent)
    if steps == 0:
        needed = spent + costs.run_seconds(settings, 1)
        raise CharlmError(f"--minutes {minutes:g}: the start and one step take {needed / 60:.2g} min; give more")
    shortened = settings.with_steps(steps)
    epochs = make_schedule(shortened, engine.batches).epochs(steps)
    session.say(
        f"{minutes:g} min: {counted(steps, 'step')} of {1000 * costs.step_seconds:.3g} ms, "
        f"{epochs:.3g} epochs, in place of the length in the config"
    )
    if steps < FEW_STEPS:
        enough = (spent + costs.run_seconds(settings, FEW_STEPS)) / 60
        longer = f"--minutes {math.ceil(10 * enough) / 10:g}"
        session.say(f"{counted(steps, 'step')} will teach the network little; {longer} would allow {FEW_STEPS}")
    return config.model_copy(update={"training": shortened})


def _train(
    run: Run,
    make_engine: EngineFactory,
    engine: Engine,
    *,
    resume: bool = False,
    session: Session,
) -> Outcome:
    """Train the teachers of a run, then the run; a Stopped that comes of it names the run, which can be resumed."""
    try:
        if run.config.training.own_teachers:
            train_teachers(run, make_engine, session=session)
        return loop.train(run, engine, resume=resume, session=session)
    except Stopped as stopped:
        stopped.run = run.folder if is_run(run.folder) else None
        raise
