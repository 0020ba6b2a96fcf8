"""From text to a trained model: tokenize, train, resume."""

from collections.abc import Callable, Sequence
from pathlib import Path

from charlm.api.beginning import begin
from charlm.api.minutes import check_minutes, fit_to_minutes
from charlm.api.sources import Overrides, Text, as_several, start_engine
from charlm.api.teachers import train_teachers
from charlm.config.file import load_config
from charlm.config.recipes import RecipeAdvice, find_recipe
from charlm.engine.runtime import check_tensorflow
from charlm.runs.folder import find_run, is_run
from charlm.runs.initial import read_initial, read_parent
from charlm.runs.run import Run, discard_run, open_run
from charlm.text.corpus import Corpus
from charlm.text.tokenization import tokenize as write_corpus
from charlm.training import loop
from charlm.training.display import wrap
from charlm.training.engine import beginning_with
from charlm.training.loop import Outcome
from charlm.training.signals import Stopped, StopRequest, stop_on_signal
from charlm.training.stopwatch import Stopwatch


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
    names = [str(source) for source in several]
    return write_corpus(names, Path(out), config.corpus, progress=show_progress)


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
        CharlmError: TensorFlow is not installed, a key, a value or the text is not right, there is no graphics card for
            `training.device: gpu`, `minutes` is given together with an override of the length or is too short, `init`
            is no model or does not fit the overrides or the text, a file cannot be written, or training has diverged;
            before the first checkpoint, the run is removed again.
        Stopped: a signal came before the first step; it is a KeyboardInterrupt. The run can be resumed.

    """
    check_tensorflow()
    watch = Stopwatch()
    with stop_on_signal() as request:
        given = as_several(overrides)
        if minutes is not None:
            check_minutes(minutes, given)
        begun = begin(
            text,
            recipe=recipe,
            overrides=given,
            minutes=minutes,
            parent=None if init is None else read_parent(Path(init)),
            folder=None if run is None else Path(run),
            request=request,
            say=say,
            show_progress=show_progress,
        )
        if begun.is_advised:
            for line in _describe_advice(begun.advice):
                say(line)
        try:
            return _train(
                begun.run,
                resume=False,
                minutes=begun.minutes,
                request=request,
                say=say,
                show_progress=show_progress,
                watch=watch,
            )
        except Exception:
            discard_run(begun.run)
            raise


def _describe_advice(advice: RecipeAdvice) -> list[str]:
    """Return the lines that tell the user which recipe the text gets, why, and what is better."""
    lines = wrap(f"recipe: {advice.recipe}: {advice.reason}")
    if advice.better is not None:
        lines.append(f"better, in about {advice.better.times:g} times the time: -c {advice.better.recipe}")
    return lines


def resume(
    run: str | Path | None = None,
    *,
    overrides: Overrides = (),
    say: Callable[[str], None] = lambda _: None,
    show_progress: bool = False,
) -> Outcome:
    """Continue a run from its newest checkpoint, exactly as if it had not been interrupted.

    Args:
        run: The folder of the run, or a part of its name under runs/; None = the newest.
        overrides: Values that replace those of the run's config.
        say: Takes a line for the user, for instance `print`.
        show_progress: Whether to show bars on standard error.

    Raises:
        CharlmError: the folder is not a run, a key or a value is not right or may not change in a run, the text is not
            that of the run, no checkpoint is whole, a file cannot be written, or training has diverged.
        Stopped: a signal came before the first step; it is a KeyboardInterrupt.

    """
    watch = Stopwatch()
    with stop_on_signal() as request:
        begun = open_run(find_run(None if run is None else Path(run)), overrides=as_several(overrides))
        return _train(begun, resume=True, request=request, say=say, show_progress=show_progress, watch=watch)


def _train(
    run: Run,
    *,
    resume: bool,
    request: StopRequest,
    say: Callable[[str], None],
    show_progress: bool,
    watch: Stopwatch,
    minutes: float | None = None,
) -> Outcome:
    """Train with the Keras engine; a Stopped that comes of it names the run, if that can be resumed."""
    watch.lap("text")
    try:
        make_engine = start_engine(request, device=run.config.training.device)
        watch.lap("TensorFlow")
        if run.config.training.own_teachers:
            train_teachers(run, make_engine, request=request, say=say, show_progress=show_progress)
            watch.lap("teachers")
        make_engine = beginning_with(make_engine, read_initial(run.folder, run.config))
        if minutes is not None:
            run, make_engine = fit_to_minutes(run, make_engine, minutes=minutes, watch=watch, request=request, say=say)
        return loop.train(
            run, make_engine, resume=resume, request=request, say=say, show_progress=show_progress, watch=watch
        )
    except Stopped as stopped:
        stopped.run = run.folder if is_run(run.folder) else None
        raise
