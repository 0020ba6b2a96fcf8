"""Tokenize a text, plan a training run, train a model, and resume a run."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from charlm.checks import check_each, check_path, check_range, check_whole
from charlm.config.file import Overrides, load_config, parse_overrides
from charlm.config.recipes import find_recipe
from charlm.config.schema import merge
from charlm.core.architecture import architecture
from charlm.engines.factory import KerasEngines, check_tensorflow, connected_engines
from charlm.errors import CharlmError
from charlm.events import OnEvent, ignore
from charlm.hardware import peak_memory_bytes
from charlm.runs.choosing import MAX_MINUTES, Plan, Request, choose
from charlm.runs.folder import CORPUS, DEFAULT_CORPUS, check_is_run, find_run, newest_unfinished_run
from charlm.runs.initial_weights import read_initial_model
from charlm.runs.run import Outcome
from charlm.runs.session import Session, stop_on_signal
from charlm.runs.trainer import continue_run, read_corpus, start_run
from charlm.storage import is_run, temporary_folder
from charlm.text.corpus import Corpus, read_manifest
from charlm.text.findings import find_problems
from charlm.text.tokenization import check_same_text
from charlm.text.tokenization import tokenize as write_corpus

Text = str | Path | Corpus | Sequence[str | Path] | None
"""A text to train on: files, folders, .gz files, or - for standard input, each file a document; or
a corpus that `tokenize` made, or the folder of a corpus. None = the plays that come with charlm."""
NO_MODEL = "none"
"""Value of `init` for random weights."""


def as_sources(text: Text, *, argument: str = "text") -> list[str]:
    """Return the files, or the corpus, of a text; raises CharlmError if it is not a Text."""
    if isinstance(text, Corpus):
        return [str(text.folder)]
    if text is None:
        return [str(DEFAULT_CORPUS)]
    sources = check_each(argument, text)
    if not sources:
        raise CharlmError(f"{argument}: found an empty list; must be one or more paths")
    return sources


def tokenize(
    sources: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    recipe: str | Path | None = None,
    overrides: Overrides = (),
    on_event: OnEvent = ignore,
) -> Corpus:
    """Turn text into a corpus on disk.

    Args:
        sources: One or several of: files, folders, .gz files, - for standard input.
        out: Folder for the corpus, new or empty.
        recipe: Name of a recipe, or a YAML file; only its section `corpus` is used. None = default.
        overrides: Settings that replace settings of the recipe.
        on_event: Called with the progress.

    Raises:
        CharlmError: A setting is invalid, a source cannot be read, or `out` cannot be written.

    """
    name = "default" if recipe is None else check_path("recipe", recipe)
    config = load_config(find_recipe(name), overrides=overrides)
    return write_corpus(
        as_sources(sources, argument="sources"),
        Path(check_path("out", out)),
        config.corpus,
        on_event=on_event,
    )


def plan(
    text: Text = None,
    *,
    recipe: str | Path | None = None,
    overrides: Overrides = (),
    epochs: int | None = None,
    minutes: float | None = None,
    init: str | Path | None = None,
    on_event: OnEvent = ignore,
) -> dict[str, Any]:
    """Return what `train` would decide with the same arguments, as plain data.

    All files are written to a temporary folder. Sets TensorFlow's threads for the whole process.
    Arguments and errors are those of `train`.
    """
    check_tensorflow()
    session = Session(on_event)
    request = _request(recipe, overrides, epochs, minutes, init)
    with stop_on_signal(session.interruption), temporary_folder() as folder:
        plan = choose(
            read_corpus(as_sources(text), request, folder, session),
            request,
            folder=folder,
            engines=KerasEngines(on_event),
            session=session,
        )
        return _describe(plan, start_seconds=session.clock() - session.started)


def _describe(plan: Plan, *, start_seconds: float) -> dict[str, Any]:
    corpus, schedule, timing = plan.corpus, plan.schedule, plan.timing
    batches = schedule.batches
    network = architecture(plan.config, len(corpus.vocabulary))
    speed = batches.characters_per_step / timing.step_seconds if timing.step_seconds else None
    return {
        "recipe": plan.config.recipe,
        "reason": plan.candidate.reason,
        "initial_model": plan.config.training.initial_model,
        "initial_reason": plan.beginning,
        "parameters": network.size,
        "layers": network.layers,
        "units": network.units,
        "batch_size": batches.batch_size,
        "sequence_length": batches.sequence_length,
        "precision": plan.config.training.precision,
        "steps": schedule.total,
        "steps_per_epoch": batches.steps_per_epoch,
        "epochs": schedule.epochs(schedule.total),
        "evaluations": plan.evaluations,
        "minutes": plan.minutes,
        "seconds": start_seconds + plan.seconds,
        "may_end_early": plan.may_end_early,
        "start_seconds": start_seconds,
        "step_seconds": timing.step_seconds,
        "evaluation_seconds": timing.evaluation_seconds,
        "characters_per_second": speed,
        "memory_bytes": peak_memory_bytes(),
        "text": {
            "summary": corpus.summary,
            "characters": corpus.manifest.characters,
            "documents": len(corpus.manifest.sources),
            "vocabulary": len(corpus.vocabulary),
            "splits": {name: end - start for name, (start, end) in corpus.manifest.splits.items()},
            "findings": find_problems(corpus),
        },
    }


def _request(
    recipe: str | Path | None,
    overrides: Overrides,
    epochs: int | None,
    minutes: float | None,
    init: str | Path | None,
) -> Request:
    """Return the checked arguments; raises CharlmError if epochs and overrides set the length."""
    if recipe is not None:
        recipe = check_path("recipe", recipe)
    if minutes is not None:
        check_range("minutes", minutes, 0, MAX_MINUTES, above=True)
    is_random = str(init) == NO_MODEL
    initial_model = None
    if init is not None and not is_random:
        initial_model = read_initial_model(Path(check_path("init", init)))
    settings = parse_overrides(overrides)
    request = Request(recipe, settings, initial_model, minutes, is_random=is_random)
    if epochs is None:
        return request
    check_whole("epochs", epochs, 1)
    if request.length_key:
        raise CharlmError(
            f"epochs {epochs}: {request.length_key} sets the length too; leave out one of the two"
        )
    return replace(request, overrides=merge(settings, {"training": {"epochs": epochs}}))


def train(
    text: Text = None,
    *,
    recipe: str | Path | None = None,
    overrides: Overrides = (),
    epochs: int | None = None,
    minutes: float | None = None,
    init: str | Path | None = None,
    run: str | Path | None = None,
    resume: bool = False,
    on_event: OnEvent = ignore,
) -> Outcome:
    """Train a model in a new run, or continue the run of an earlier call.

    Sets TensorFlow's threads for the whole process. In the main thread, Ctrl-C, SIGTERM and SIGHUP
    save a checkpoint and end the training; in other threads, signals are left to the program.

    With several workers in TF_CONFIG, worker 0 trains, and the same function on the others follows
    it, ignores its arguments, and ends the program with worker 0.

    Args:
        text: One or several of: files, folders, .gz files, - for standard input; every file is a
            document. Or a corpus, or the folder of a corpus. None = the plays that come with
            charlm.
        recipe: Name of a recipe, or a YAML file. None = the recipe with the lowest expected loss
            for the text and the time limit, see `charlm.runs.choosing.choose`.
        overrides: Settings that replace settings of the recipe.
        epochs: Passes over the training text; replaces the length in the recipe.
        minutes: Time limit of the call; replaces the length in the recipe with as many steps as
            fit. If the machine becomes slower, the run ends early. None = no limit.
        init: Run or model with the initial weights. Known characters keep their weights, the
            network gets the shape of the model. "none" = random weights. None = the model
            `english` that comes with charlm if it suits the text and `recipe` is None, otherwise
            random weights.
        run: Folder of the run, new or empty. None = a new folder under runs/, named by the time and
            the text.
        resume: Whether to continue the run in `run` if there is one. Its text must be the same; it
            keeps the settings that it began with, and `minutes` has no effect.
        on_event: Called with each event of `charlm.events`. An exception that it raises ends the
            training, which can be resumed from its newest checkpoint.

    Raises:
        CharlmError: An argument, a setting or the text is invalid or does not fit the others, a
            file cannot be written, training diverges, TensorFlow is missing, TF_CONFIG is invalid,
            or the connection to another worker is lost.
        Stopped: A signal came before the first step; a subclass of KeyboardInterrupt.

    """
    check_tensorflow()
    session = Session(on_event)
    with stop_on_signal(session.interruption), connected_engines(on_event) as engines:
        sources = as_sources(text)
        path = None if run is None else Path(check_path("run", run))
        if path is None or not resume or not is_run(path):
            request = _request(recipe, overrides, epochs, minutes, init)
            return start_run(sources, request, path, engines=engines, session=session)
        check_same_text(sources, read_manifest(path / CORPUS), owner=path)
        # Its recipe and initial weights may be gone, so they are not read.
        if any((recipe, overrides, epochs, minutes, init)):
            kept = "the settings that this run began with, and without a time limit"
            session.note(f"{path}: continuing with {kept}")
        return continue_run(path, engines=engines, session=session)


def resume(run: str | Path | None = None, *, on_event: OnEvent = ignore) -> Outcome:
    """Continue a run from its newest checkpoint, exactly as if it had not been interrupted.

    A finished run is left as it is. With several workers, see `train`. Their number may change; the
    result then differs in the last bits.

    Args:
        run: Folder of the run, or a part of its name under runs/; None = the
            newest unfinished run, or the newest run if all are finished.
        on_event: See `train`.

    Raises:
        CharlmError: The folder is not a run, the corpus has changed, there is no intact checkpoint,
            a file cannot be written, training diverges, TensorFlow is missing, or the connection to
            another worker is lost.
        Stopped: A signal came before the first step; a subclass of KeyboardInterrupt.

    """
    check_tensorflow()
    session = Session(on_event)
    with stop_on_signal(session.interruption), connected_engines(on_event) as engines:
        folder = newest_unfinished_run() if run is None else find_run(Path(check_path("run", run)))
        check_is_run(folder)
        return continue_run(folder, engines=engines, session=session)
