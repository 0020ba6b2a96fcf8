"""Tokenize a text, plan a training run, train a model, and resume a run."""

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from charlm.checks import check_flag, check_number, check_path, check_whole
from charlm.config.file import Overrides, load_config, parse_overrides
from charlm.config.recipes import find_recipe
from charlm.config.schema import merge
from charlm.engine.factory import KerasEngines, connected_engines
from charlm.engine.runtime import check_tensorflow
from charlm.errors import Advice, CharlmError
from charlm.events import OnEvent, ignore
from charlm.hardware import fastest_precision, peak_memory_bytes
from charlm.network.architecture import Architecture, architecture
from charlm.runs.folder import check_is_run, find_run, is_run, newest_unfinished_run
from charlm.runs.initial_weights import InitialModel, read_initial_model
from charlm.runs.ownership import RunFolder, is_leftover
from charlm.runs.run import open_run
from charlm.storage import temporary_folder, writing
from charlm.text.corpus import Corpus
from charlm.text.findings import find_problems
from charlm.text.tokenization import tokenize as write_corpus
from charlm.training.continuing import check_same_run, new_settings
from charlm.training.costs import Costs
from charlm.training.decision import Decision, UserSettings
from charlm.training.outcome import Outcome
from charlm.training.preparation import (
    Preparation,
    Text,
    as_sources,
    lengthen,
    prepare,
    reopen,
    text_name,
)
from charlm.training.schedule import Schedule, make_schedule
from charlm.training.session import Session
from charlm.training.signals import stop_on_signal
from charlm.training.timing import measure, time_ngrams
from charlm.training.trainer import own_run, time_teachers, train_run


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
        on_event: Called with TextProgress.

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


@dataclass(frozen=True)
class Plan:
    """Plan of a training run."""

    corpus: Corpus
    """Text to train on; its folder no longer exists."""
    problems: list[str]
    """Possible problems in the text, one line for each."""
    decision: Decision
    architecture: Architecture
    schedule: Schedule
    start_seconds: float
    """Time until the first step: tokenizing, TensorFlow, network and graph."""
    costs: Costs
    """Measured times of the other parts of the run."""
    memory_bytes: int
    """Peak memory of this process, including the timed steps."""

    @property
    def evaluations(self) -> int:
        """Number of evaluations: at most one per step, and one for a run of 0 steps."""
        return max(1, min(self.decision.evaluations, self.schedule.total))

    @property
    def seconds(self) -> float:
        """Expected time of the whole training run."""
        settings = self.decision.config.training
        return self.start_seconds + self.costs.run_seconds(settings, self.schedule.total)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain data."""
        batches = self.schedule.batches
        notes = [{"kind": type(note).__name__, **asdict(note)} for note in self.decision.notes]
        return {
            "parameters": self.architecture.size,
            "shapes": {name: list(shape) for name, shape in self.architecture.shapes().items()},
            "batch_size": batches.batch_size,
            "sequence_length": batches.sequence_length,
            "steps_per_epoch": batches.steps_per_epoch,
            "steps": self.schedule.total,
            "epochs": self.schedule.epochs(self.schedule.total),
            "precision": self.decision.precision.name,
            "precision_reason": self.decision.precision.reason,
            "memory_bytes": self.memory_bytes,
            "seconds": self.seconds,
            "minutes": self.decision.minutes,
            "teacher_seconds": self.costs.teacher_seconds,
            "ngram_seconds": self.costs.ngram_seconds,
            "start_seconds": self.start_seconds,
            "end_seconds": self.costs.end_seconds,
            "step_seconds": self.costs.step_seconds,
            "evaluations": self.evaluations,
            "evaluation_seconds": self.costs.evaluation_seconds,
            "characters_per_second": batches.characters_per_step / self.costs.step_seconds,
            "text": {
                "summary": self.corpus.summary,
                "characters": self.corpus.manifest.characters,
                "documents": len(self.corpus.manifest.sources),
                "vocabulary": len(self.corpus.vocabulary),
                "splits": {name: end - start for name, (start, end) in self.corpus.splits.items()},
                "findings": self.problems,
            },
            "recipe": self.decision.recipe,
            "reason": self.decision.reason,
            "better": self.decision.better,
            "notes": notes,
        }


def plan(
    text: Text = None,
    *,
    recipe: str | Path | None = None,
    overrides: Overrides = (),
    epochs: int | None = None,
    minutes: float | None = None,
    init: str | Path | None = None,
    on_event: OnEvent = ignore,
) -> Plan:
    """Return what `train` would do with the same arguments, from a few timed steps.

    All files are written to a temporary folder. Sets TensorFlow's threads for the whole process.
    Arguments and errors are those of `train`.
    """
    check_tensorflow()
    session = Session(on_event)
    started = session.clock()
    initial_model = _initial_model(init)
    user = _user_settings(recipe, overrides, epochs, minutes)
    with stop_on_signal(session.interruption), temporary_folder() as folder:
        engines = KerasEngines(session)
        prepared = prepare(
            text,
            user=user,
            folder=RunFolder(folder),
            engines=engines,
            session=session,
            init=initial_model,
            started=started,
            is_plan=True,
        )
        start_seconds = session.clock() - started
        costs = prepared.costs
        if costs is None:
            costs = _measure_all(prepared, engines, session)
            start_seconds += costs.start_seconds
        problems = find_problems(prepared.corpus)
    training = prepared.config.training
    decision = prepared.decision
    if training.precision != decision.precision.name:  # not available on this processor
        decision = replace(decision, precision=fastest_precision())
    return Plan(
        corpus=prepared.corpus,
        problems=problems,
        decision=decision,
        architecture=architecture(prepared.config, len(prepared.corpus.vocabulary)),
        schedule=make_schedule(training, prepared.engine.batches),
        start_seconds=start_seconds,
        costs=costs,
        memory_bytes=peak_memory_bytes(),
    )


def _measure_all(prepared: Preparation, engines: KerasEngines, session: Session) -> Costs:
    """Return the costs of a run without a time limit, including teachers and n-grams."""
    config = prepared.config
    corpus = prepared.corpus
    costs = measure(config, corpus, prepared.engine, session=session)
    teacher_seconds = time_teachers(config, corpus, engines, session=session)
    learns_from_ngrams = config.training.ngram_weight > 0 and not config.training.is_untrained
    ngram_seconds = time_ngrams(corpus, session=session) if learns_from_ngrams else 0.0
    return replace(costs, teacher_seconds=teacher_seconds, ngram_seconds=ngram_seconds)


def _initial_model(init: str | Path | None) -> InitialModel | None:
    return None if init is None else read_initial_model(Path(check_path("init", init)))


def _user_settings(
    recipe: str | Path | None,
    overrides: Overrides,
    epochs: int | None,
    minutes: float | None,
) -> UserSettings:
    """Return the checked arguments; raises CharlmError if epochs and overrides set the length."""
    if recipe is not None:
        recipe = check_path("recipe", recipe)
    if minutes is not None:
        minutes = check_number("minutes", minutes, least=0, above=True)
    settings = parse_overrides(overrides)
    user = UserSettings(recipe=recipe, overrides=settings, minutes=minutes)
    if epochs is None:
        return user
    check_whole("epochs", epochs, least=1)
    if user.length_key:
        raise CharlmError(
            f"epochs {epochs}: {user.length_key} sets the length too; leave out one of the two"
        )
    if not isinstance(settings.get("training", {}), Mapping):
        return user  # parsing the config refuses it
    return replace(user, overrides=merge(settings, {"training": {"epochs": epochs}}))


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

    With several workers in TF_CONFIG, every worker must make the same call on its own copies of
    the text and the models. Only worker 0 emits events and writes `run`.

    Args:
        text: One or several of: files, folders, .gz files, - for standard input; every file is a
            document. Or a corpus, or the folder of a corpus. None = the plays that come with
            charlm.
        recipe: Name of a recipe, or a YAML file. None = the recipe with the lowest expected loss
            for the text and the time limit, see `charlm.training.decision.decide`.
        overrides: Settings that replace settings of the recipe.
        epochs: Passes over the training text; replaces the length in the recipe.
        minutes: Time limit of the call; replaces the length in the recipe with as many steps as
            fit. If the machine becomes slower or faster, the number of steps changes at an
            evaluation. The config records such changes, so the run can be repeated. None = no
            limit.
        init: Run or model file with the initial weights. Known characters keep their weights, and
            the network gets the shape of the model. None = random weights.
        run: Folder of the run, new or empty; files of a training run that was killed before its
            first step are removed. None = a new folder under runs/, named by the time and the text.
        resume: Whether to continue the run in `run` if there is one. Text, settings and initial
            weights must be the same, except for settings that may change in a run, like `epochs`.
        on_event: Called with each event of `charlm.events`. An exception that it raises ends the
            training, which can be resumed from its newest checkpoint.

    Raises:
        CharlmError: An argument, a setting or the text is invalid or does not fit the others, a
            file cannot be written, training diverges, TensorFlow is missing, TF_CONFIG is invalid,
            or the connection to another worker is lost. Before the first checkpoint, nothing is
            left behind.
        Stopped: A signal came before the first step; a subclass of KeyboardInterrupt. Nothing is
            left behind, or a run that can be resumed.

    """
    check_tensorflow()
    session = Session(on_event)
    started = session.clock()
    initial_model = _initial_model(init)
    user = _user_settings(recipe, overrides, epochs, minutes)
    path = None if run is None else Path(check_path("run", run))
    check_flag("resume", resume)
    with (
        stop_on_signal(session.interruption),
        connected_engines(session) as engines,
        _path_of_worker(path, engines, may_continue=resume) as path,
        own_run(path, session=session, text_name=text_name(text), may_continue=resume) as folder,
    ):
        session = _session_of_worker(session, engines)
        if folder.was_run:
            earlier = open_run(folder.path, verify=False)  # `reopen` verifies the corpus
            check_same_run(earlier, as_sources(text), user, initial_model)
            changes = new_settings(earlier.config, user)
            return _continue(
                folder, changes, minutes, started=started, engines=engines, session=session
            )
        prepared = prepare(
            text,
            user=user,
            folder=folder,
            engines=engines,
            session=session,
            init=initial_model,
            started=started,
        )
        return train_run(
            prepared.begin(folder),
            prepared.engine,
            engines,
            session=session,
            deadline=prepared.deadline,
            text=prepared.text,
        )


def _continue(
    folder: RunFolder,
    overrides: Overrides,
    minutes: float | None,
    *,
    started: float,
    engines: KerasEngines,
    session: Session,
) -> Outcome:
    """Continue a run to its end or for a given number of minutes; see `resume` for the errors."""
    run, engine = reopen(folder.path, overrides=overrides, engines=engines, session=session)
    deadline = None
    if minutes is not None:
        run, deadline = lengthen(run, engine, minutes=minutes, started=started, session=session)
    return train_run(run, engine, engines, session=session, deadline=deadline)


def resume(
    run: str | Path | None = None,
    *,
    overrides: Overrides = (),
    epochs: int | None = None,
    minutes: float | None = None,
    on_event: OnEvent = ignore,
) -> Outcome:
    """Continue a run from its newest checkpoint, exactly as if it had not been interrupted.

    With several workers, see `train`, each needs the run folder or a copy of it. The number of
    workers may change; the result then differs in the last bits.

    Args:
        run: Folder of the run, or a unique part of the name of a run under runs/; None = the
            newest unfinished run, or the newest run if all are finished.
        overrides: Settings that replace settings of the run.
        epochs: Length of the whole run in passes over the training text.
        minutes: Time limit of the call; as many more steps are taken as fit. None = until the end
            of the run.
        on_event: See `train`.

    Raises:
        CharlmError: The folder is not a run, a setting is invalid or may not change in a run, the
            corpus has changed, there is no intact checkpoint, a file cannot be written, training
            diverges, or the connection to another worker is lost.
        Stopped: A signal came before the first step; a subclass of KeyboardInterrupt.

    """
    session = Session(on_event)
    started = session.clock()
    user = _user_settings(None, overrides, epochs, minutes)
    user.check_minutes()
    with (
        stop_on_signal(session.interruption),
        connected_engines(session) as engines,
        _path_of_worker(_run_to_resume(run), engines, may_continue=True) as path,
        own_run(path, session=session, may_continue=True) as folder,
    ):
        session = _session_of_worker(session, engines)
        return _continue(
            folder, user.overrides, minutes, started=started, engines=engines, session=session
        )


def _run_to_resume(run: str | Path | None) -> Path:
    """Return the folder of the named run, or of the newest run that can be continued."""
    folder = newest_unfinished_run() if run is None else find_run(Path(check_path("run", run)))
    if folder.is_dir() and not is_run(folder) and is_leftover(folder):
        problem = f"{folder}: a run was killed here before its first step"
        raise CharlmError(problem, advice=Advice("begin", folder))
    check_is_run(folder)
    return folder


def _session_of_worker(session: Session, engines: KerasEngines) -> Session:
    """Return the session of this worker; only worker 0 emits events."""
    return session if engines.workers.index == 0 else session.silent()


@contextlib.contextmanager
def _path_of_worker(
    folder: Path | None, engines: KerasEngines, *, may_continue: bool
) -> Iterator[Path | None]:
    """Yield the folder that this worker writes: the run on worker 0, else a temporary folder.

    Args:
        folder: Folder of the run; None = a new folder.
        engines: Engines of this worker.
        may_continue: Whether the folder may hold a run to continue; workers other than 0 continue
            a copy.

    """
    if engines.workers.index == 0:
        yield folder
        return
    with temporary_folder() as scratch:
        copy = scratch / "run"
        if folder is not None and may_continue and is_run(folder):
            with writing(copy):
                shutil.copytree(folder, copy, symlinks=True)
        yield copy
