"""From text to a trained model: tokenize, plan, train, resume. `Plan.to_json` is what a program reads."""

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
from charlm.runs.initial_weights import read_initial_model
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
        sources: Files, folders, .gz files, or - for standard input; one of them or several.
        out: The folder to write; it must be missing or empty.
        recipe: A name in configs/, or a YAML file; its `corpus` section decides how text becomes ids. None = default.
        overrides: Values that replace those of the recipe.
        on_event: Called with TextProgress.

    Raises:
        CharlmError: a key or a value is not right, a source cannot be read, or `out` cannot be written.

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
    """What a training would do."""

    corpus: Corpus
    """The text that would be trained on; its folder is gone."""
    problems: list[str]
    """Possible problems in the text, each as a line for the user."""
    decision: Decision
    """How the run would be trained, and why."""
    architecture: Architecture
    schedule: Schedule
    """The steps of the whole run, and what they would read."""
    start_seconds: float
    """Time from the text to the first step: tokenizing it, TensorFlow, the network, its graph."""
    costs: Costs
    """How long a step, an evaluation and the rest of the run take on this machine."""
    memory_bytes: int
    """The most memory that this process has held, the timed steps included."""

    @property
    def evaluations(self) -> int:
        """How often the network would be evaluated: at most once per step, and once if there is no step."""
        return max(1, min(self.decision.evaluations, self.schedule.total))

    @property
    def seconds(self) -> float:
        """How long the whole training takes."""
        settings = self.decision.config.training
        return self.start_seconds + self.costs.run_seconds(settings, self.schedule.total)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain data."""
        batches = self.schedule.batches
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
            "notes": [
                {"kind": type(note).__name__, **asdict(note)} for note in self.decision.notes
            ],
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
    """Find out what `train` would do with the same arguments, from a few steps that are timed and undone.

    Everything is written to a temporary folder, which is removed. TensorFlow's threads are set for the whole process.

    Args:
        text: As for `train`.
        recipe: As for `train`.
        overrides: As for `train`.
        epochs: As for `train`.
        minutes: As for `train`.
        init: As for `train`.
        on_event: Called with the events before the first step.

    Raises:
        CharlmError: as `train` before its first step.
        Stopped: a signal came; it is a KeyboardInterrupt.

    """
    check_tensorflow()
    session = Session(on_event)
    started = session.clock()
    initial_model = None if init is None else read_initial_model(Path(check_path("init", init)))
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
    config, corpus, decision = prepared.config, prepared.corpus, prepared.decision
    if (
        config.training.precision != decision.precision.name
    ):  # this processor lacks what was asked for
        decision = replace(decision, precision=fastest_precision())
    return Plan(
        corpus=corpus,
        problems=problems,
        decision=decision,
        architecture=architecture(config, len(corpus.vocabulary)),
        schedule=make_schedule(config.training, prepared.engine.batches),
        start_seconds=start_seconds,
        costs=costs,
        memory_bytes=peak_memory_bytes(),
    )


def _measure_all(prepared: Preparation, engines: KerasEngines, session: Session) -> Costs:
    """Return the costs of a run without a time limit, its teachers and n-grams included."""
    config, corpus = prepared.config, prepared.corpus
    measured = measure(config, corpus, prepared.engine, session=session)
    teacher_seconds = time_teachers(config, corpus, engines, session=session)
    learns_from_ngrams = config.training.ngram_weight > 0 and not config.training.is_untrained
    ngram_seconds = time_ngrams(corpus, session=session) if learns_from_ngrams else 0.0
    return replace(measured, teacher_seconds=teacher_seconds, ngram_seconds=ngram_seconds)


def _user_settings(
    recipe: str | Path | None,
    overrides: Overrides,
    epochs: int | None,
    minutes: float | None,
) -> UserSettings:
    """Return what the user gave; raises CharlmError if `epochs` is given together with a length among the overrides."""
    settings = parse_overrides(overrides)
    user = UserSettings(
        recipe=None if recipe is None else check_path("recipe", recipe),
        overrides=settings,
        minutes=None if minutes is None else check_number("minutes", minutes, least=0, above=True),
    )
    if epochs is None:
        return user
    check_whole("epochs", epochs, least=1)
    if user.length_key:
        raise CharlmError(
            f"epochs {epochs}: sets the length, and so does {user.length_key}; leave one of them out"
        )
    if not isinstance(settings.get("training", {}), Mapping):
        return user  # which is refused
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
    """Train a model in a new run, or continue the run that the same call has begun.

    TensorFlow's threads are set for the whole process. In the main thread, Ctrl-C, SIGTERM and SIGHUP write a
    checkpoint and end the training; in another thread, signals are left to the program.

    If the variable TF_CONFIG names several workers, each of them must call this with the same arguments, on its own
    copies of the text and of models. Only the first one, worker 0, has events and writes `run`.

    Args:
        text: What `tokenize` takes: files, folders, .gz files, or - for standard input; one of them or
            several, each file a document. Or a corpus that it made, or the folder of one. None = the plays that come
            with charlm.
        recipe: A name in configs/, or a YAML file. None = the one with the lowest expected loss for a text of this size
            and the time limit, see `charlm.training.decision.decide`.
        overrides: Values that replace those of the recipe.
        epochs: Passes over the training text; replaces the length in the recipe.
        minutes: Time limit of the call. Some steps are timed, and the steps that fit replace the length in the recipe.
            If the machine becomes slower or faster, the length of the run changes at an evaluation; its config records
            that, so that the run can be repeated. None = as long as the recipe says.
        init: The model whose weights training begins with: a run, whose best one counts, or a model file. Characters
            are matched by what they are, and the shape of the network is that of the model. None = the initial weights
            are drawn at random.
        run: The folder of the run; None = a new one under runs/, named by the time and the text. It must be missing or
            empty; what a training has left there that was killed before it had begun is removed.
        resume: Whether to continue the run in `run`, if there is one. It must have the same text, settings and initial
            weights; settings that a resume may change, `epochs` among them, change it.
        on_event: Called with each event of `charlm.events`, for instance StepsTaken and Evaluated. An exception that
            it raises ends the training, which can be resumed from its newest checkpoint.

    Raises:
        CharlmError: TensorFlow is not installed, a key, a value or the text is not right, `minutes` is given together
            with an override of the length or is too short, `init` is no model or does not fit the overrides or the
            text, the run that would be continued has another text or other settings, a file cannot be written, or
            training has diverged; before the first checkpoint, nothing is left behind. Or TF_CONFIG is not valid, the
            workers would not train the same, or another one is lost.
        Stopped: a signal came before the first step; it is a KeyboardInterrupt. Nothing is left behind, or a run that
            can be resumed.

    """
    check_tensorflow()
    session = Session(on_event)
    started = session.clock()
    initial_model = None if init is None else read_initial_model(Path(check_path("init", init)))
    user = _user_settings(recipe, overrides, epochs, minutes)
    path = None if run is None else Path(check_path("run", run))
    check_flag("resume", resume)
    with (
        stop_on_signal(session.interruption),
        connected_engines(session) as engines,
        _own_path(path, engines, may_continue=resume) as own,
        own_run(own, session=session, text_name=text_name(text), may_continue=resume) as folder,
    ):
        session = _session_of_worker(session, engines)
        if folder.was_run:
            begun = open_run(
                folder.path, verify=False
            )  # the corpus is verified when the run is reopened
            check_same_run(begun, as_sources(text), user, initial_model)
            changes = new_settings(begun.config, user)
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
        begun = prepared.begin(folder)
        return train_run(
            begun,
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
    """Continue a run to its end, or for some minutes; the arguments and errors are those of `resume`."""
    begun, engine = reopen(folder.path, overrides=overrides, engines=engines, session=session)
    deadline = None
    if minutes is not None:
        begun, deadline = lengthen(begun, engine, minutes=minutes, started=started, session=session)
    return train_run(begun, engine, engines, session=session, deadline=deadline)


def resume(
    run: str | Path | None = None,
    *,
    overrides: Overrides = (),
    epochs: int | None = None,
    minutes: float | None = None,
    on_event: OnEvent = ignore,
) -> Outcome:
    """Continue a run from its newest checkpoint, exactly as if it had not been interrupted.

    Of several workers, see `train`, each needs the folder of the run or a copy of it; their number may be another one
    than before, and the result then differs in the last bits.

    Args:
        run: The folder of the run, or a part of its name under runs/; None = the newest that has not ended, or the
            newest if all have.
        overrides: Values that replace those of the run's config.
        epochs: Passes over the training text of the whole run; replaces the length of the run.
        minutes: Time limit of the call: as many more steps are taken as fit; None = to the end of the run.
        on_event: As for `train`.

    Raises:
        CharlmError: the folder is not a run, a key or a value is not right or may not change in a run, the text is not
            that of the run, no checkpoint is whole, a file cannot be written, or training has diverged. Or of several
            workers, what `train` says.
        Stopped: a signal came before the first step; it is a KeyboardInterrupt.

    """
    session = Session(on_event)
    started = session.clock()
    user = _user_settings(None, overrides, epochs, minutes)
    user.check_minutes()
    with (
        stop_on_signal(session.interruption),
        connected_engines(session) as engines,
        _own_path(_run_to_resume(run), engines, may_continue=True) as path,
        own_run(path, session=session, may_continue=True) as folder,
    ):
        session = _session_of_worker(session, engines)
        return _continue(
            folder, user.overrides, minutes, started=started, engines=engines, session=session
        )


def _run_to_resume(run: str | Path | None) -> Path:
    """Return the folder of the run that is named, or of the newest that can be continued; raises CharlmError."""
    folder = newest_unfinished_run() if run is None else find_run(Path(check_path("run", run)))
    if folder.is_dir() and not is_run(folder) and is_leftover(folder):
        problem = f"{folder}: a training was killed here before it had begun"
        raise CharlmError(problem, advice=Advice("begin", folder))
    check_is_run(folder)
    return folder


def _session_of_worker(session: Session, engines: KerasEngines) -> Session:
    """Return the session of this worker: only worker 0 tells its caller of events."""
    return session if engines.workers.index == 0 else session.silent()


@contextlib.contextmanager
def _own_path(
    folder: Path | None, engines: KerasEngines, *, may_continue: bool
) -> Iterator[Path | None]:
    """Return the folder that this worker writes: on worker 0 that of the run, on the others one that is removed.

    Args:
        folder: The folder of the run; None = a new one.
        engines: Makes the engines.
        may_continue: Whether the folder may hold a run, of which the other workers write a copy.

    """
    if engines.workers.index == 0:
        yield folder
        return
    with temporary_folder() as scratch:
        own = scratch / "run"
        if folder is not None and may_continue and is_run(folder):
            with writing(own):
                shutil.copytree(folder, own, symlinks=True)
        yield own
