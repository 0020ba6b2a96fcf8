"""From text to a trained model: tokenize, train, resume."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from charlm.config.file import Overrides, load_config, parse_overrides
from charlm.config.recipes import find_recipe
from charlm.engine.cluster import Cluster
from charlm.engine.factory import KerasEngines, start_engines
from charlm.engine.runtime import check_tensorflow
from charlm.network.model_file import read_model
from charlm.runs.folder import CONFIG_FILE, CORPUS, INIT, TEACHERS, check_is_run, find_run, newest_unfinished_run
from charlm.runs.parent import read_initial, read_parent
from charlm.runs.run import begin_run, open_run, run_folder
from charlm.storage.files import temporary_folder
from charlm.text.corpus import Corpus
from charlm.text.tokenization import tokenize as write_corpus
from charlm.training.loop import Outcome
from charlm.training.preparation import Text, as_sources, new_engine, prepare, read_text, text_name
from charlm.training.signals import OnEvaluation, OnStep, Session, ignore, stop_on_signal
from charlm.training.timing import check_minutes, fit_to_minutes
from charlm.training.trainer import train_run


def tokenize(
    sources: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    recipe: str | Path | None = None,
    overrides: Overrides = (),
    show_progress: bool = False,
) -> Corpus:
    """Turn text into a corpus on disk.

    Args:
        sources: Files, folders, .gz files, or - for standard input; one of them or several.
        out: The folder to write; it must be missing or empty.
        recipe: A name in configs/, or a YAML file; its `corpus` section decides how text becomes ids. None = default.
        overrides: Values that replace those of the recipe.
        show_progress: Whether to show a bar on standard error.

    Raises:
        CharlmError: a key or a value is not right, a source cannot be read, or `out` cannot be written.

    """
    config = load_config(find_recipe(str(recipe or "default")), overrides=overrides)
    return write_corpus(as_sources(sources), Path(out), config.corpus, progress=show_progress)


def train(
    text: Text = None,
    *,
    recipe: str | Path | None = None,
    overrides: Overrides = (),
    minutes: float | None = None,
    init: str | Path | None = None,
    run: str | Path | None = None,
    cluster: Cluster | None = None,
    say: Callable[[str], None] = lambda _: None,
    on_step: OnStep = ignore,
    on_evaluation: OnEvaluation = ignore,
    show_progress: bool = False,
) -> Outcome:
    """Train a model in a new run.

    TensorFlow's threads are set for the whole process. In the main thread, Ctrl-C, SIGTERM and SIGHUP write a
    checkpoint and end the training; in another thread, signals are left to the program.

    Args:
        text: What `tokenize` takes: files, folders, .gz files, or - for standard input; one of them or
            several, each file a document. Or a corpus that it made, or the folder of one. None = the plays that come
            with charlm.
        recipe: A name in configs/, or a YAML file. None = the one that suits a text of this size, see
            `charlm.config.recipes.suited_recipe`; for the plays `default`.
        overrides: Values that replace those of the recipe.
        minutes: How long the call should take. Some steps are timed, and the number of steps that fit replaces the
            `training.epochs` and `training.steps` of the recipe; it is in the config of the run, which can so be
            repeated. None = as long as the recipe says.
        init: The model whose weights training begins with: a run, whose best one counts, or a model file. Characters
            are matched by what they are, and the shape of the network is that of the model. None = the first weights
            are drawn at random.
        run: The folder of the run, missing or empty; None = a new one under runs/, named by the time and the text.
        cluster: Several machines that share the run, each of which calls this with the same arguments, on its own
            copies of the text and of models, but for `cluster.task`; only the chief writes `run`. None = this one
            alone.
        say: Takes a line for the user, for instance `print`.
        on_step: Called after each step with its number and its training loss in nats per character, of the teachers
            that a run trains too. What it raises ends the training, which can be resumed from its newest checkpoint.
        on_evaluation: Called after each evaluation with a `charlm.training.checkpoints.Progress` and the validation
            loss in nats per character, the training loss if there is no validation text.
        show_progress: Whether to show bars on standard error.

    Raises:
        CharlmError: TensorFlow is not installed, a key, a value or the text is not right, `minutes` is given together
            with an override of the length or is too short, `init` is no model or does not fit the overrides or the
            text, a file cannot be written, or training has diverged; before the first checkpoint, nothing is left
            behind. Or the machines do not agree, or another one has failed.
        WorkerLostError: another machine is lost or never came.
        Stopped: a signal came before the first step; it is a KeyboardInterrupt. Nothing is left behind, or a run that
            can be resumed.

    """
    check_tensorflow()
    started, given = time.perf_counter(), parse_overrides(overrides)
    if minutes is not None:
        check_minutes(minutes, given)
    if recipe is not None and cluster is not None:  # a mistake is found before other machines are waited for
        load_config(find_recipe(str(recipe)), overrides=given)
    with (
        stop_on_signal(say, show_progress=show_progress, on_step=on_step, on_evaluation=on_evaluation) as session,
        start_engines(session, cluster) as engines,
        _own_folder(None if run is None else Path(run), engines) as own,
        run_folder(own, text_name=text_name(text)) as folder,
    ):
        prepared = prepare(
            text,
            recipe=recipe,
            overrides=given,
            folder=folder,
            engines=engines,
            session=session,
            parent=None if init is None else read_parent(Path(init)),
        )
        for line in prepared.describe_advice():
            session.say(line)
        engine = prepared.new_engine(engines, session=session)
        config = fit_to_minutes(prepared, engine, engines, minutes=minutes, started=started, session=session)
        begun = begin_run(folder, config, prepared.corpus, first=prepared.first)
        with _quiet_followers(engines, session):
            return train_run(begun, engines, engine=engine, session=session)


def resume(
    run: str | Path | None = None,
    *,
    text: Text = None,
    overrides: Overrides = (),
    cluster: Cluster | None = None,
    say: Callable[[str], None] = lambda _: None,
    on_step: OnStep = ignore,
    on_evaluation: OnEvaluation = ignore,
    show_progress: bool = False,
) -> Outcome:
    """Continue a run from its newest checkpoint, exactly as if it had not been interrupted.

    Args:
        run: The folder of the run, or a part of its name under runs/; None = the newest that has not ended, or the
            newest if all have.
        text: Of several machines, where those that are not the chief find their copy of the text; None = in `run`.
        overrides: Values that replace those of the run's config.
        cluster: As for `train`; the number of machines may be another one than before.
        say: Takes a line for the user, for instance `print`.
        on_step: As for `train`.
        on_evaluation: As for `train`.
        show_progress: Whether to show bars on standard error.

    Raises:
        CharlmError: the folder is not a run, a key or a value is not right or may not change in a run, the text is not
            that of the run, no checkpoint is whole, a file cannot be written, or training has diverged. Or the machines
            do not agree, or another one has failed.
        WorkerLostError: another machine is lost or never came.
        Stopped: a signal came before the first step; it is a KeyboardInterrupt.

    """
    with (
        stop_on_signal(say, show_progress=show_progress, on_step=on_step, on_evaluation=on_evaluation) as session,
        start_engines(session, cluster) as engines,
        _own_folder(None if run is None else Path(run), engines) as own,
    ):
        folder = newest_unfinished_run() if own is None else find_run(own) if engines.is_chief else own
        if engines.is_chief:
            check_is_run(folder)
        engines.copy_run(folder)
        if not engines.is_chief:
            _add_text(folder, text, run)
        begun = open_run(folder, overrides=overrides)
        engines.agree(begun.config, begun.corpus)
        if engines.is_chief:
            session.say(f"resuming {folder}")
        engine = new_engine(
            begun.config,
            begun.corpus,
            engines,
            first_weights=read_initial(begun),
            session=session,
        )
        with _quiet_followers(engines, session):
            return train_run(begun, engines, engine=engine, resume=True, session=session)


@contextlib.contextmanager
def _own_folder(folder: Path | None, engines: KerasEngines) -> Iterator[Path | None]:
    """Return where the run of this machine goes: on the chief its folder, on the others one that is removed."""
    if engines.is_chief:
        yield folder
        return
    with temporary_folder() as scratch:
        yield scratch / "run"


def _quiet_followers(engines: KerasEngines, session: Session) -> contextlib.AbstractContextManager[None]:
    """Let only the chief tell the user of the training."""
    return contextlib.nullcontext() if engines.is_chief else session.silent()


def _add_text(folder: Path, text: Text, run: str | Path | None) -> None:
    """Give the copy of a run its text, which is on this machine: as the user names it, or in the folder of the run."""
    if text is None:
        text = find_run(None if run is None else Path(run)) / CORPUS
    config = load_config(folder / CONFIG_FILE)
    known = None if config.training.first_weights is None else read_model(folder / INIT).vocabulary
    read_text(text, folder / CORPUS, config.corpus, known=known)
    for teacher in (folder / TEACHERS).glob("*/"):
        (teacher / CORPUS).symlink_to(Path("..", "..", CORPUS), target_is_directory=True)
