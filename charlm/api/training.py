"""From text to a trained model: tokenize, plan, train, resume. `Plan.to_json` is what a program reads."""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from charlm.config.file import Overrides, load_config, parse_overrides
from charlm.config.recipes import find_recipe
from charlm.config.schema import merge
from charlm.engine.factory import KerasEngines, connected_engines
from charlm.engine.runtime import check_tensorflow
from charlm.errors import CharlmError
from charlm.hardware import fastest_precision, peak_memory_bytes
from charlm.network.rnn import Architecture, architecture
from charlm.runs.folder import check_is_run, find_run, newest_unfinished_run
from charlm.runs.run import begin_run, read_parent, run_folder
from charlm.storage import temporary_folder, writing
from charlm.text.corpus import Corpus
from charlm.text.findings import find_problems
from charlm.text.tokenization import tokenize as write_corpus
from charlm.training.costs import Costs
from charlm.training.decision import Decision, Given
from charlm.training.loop import Outcome
from charlm.training.preparation import Text, as_sources, lengthen, prepare, reopen, text_name
from charlm.training.schedule import Schedule, make_schedule
from charlm.training.signals import OnEvaluation, OnStep, Session, ignore, stop_on_signal
from charlm.training.timing import measure, time_ngrams
from charlm.training.trainer import time_teachers, train_run


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
    return write_corpus(as_sources(sources), Path(out), config.corpus)


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
            "evaluations": self.decision.evaluations,
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
            "notes": list(self.decision.notes),
        }


def plan(
    text: Text = None,
    *,
    recipe: str | Path | None = None,
    overrides: Overrides = (),
    epochs: int | None = None,
    minutes: float | None = None,
    init: str | Path | None = None,
    show_progress: bool = False,
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
        show_progress: Whether to show a bar on standard error while the text is tokenized.

    Raises:
        CharlmError: as `train` before its first step.
        Stopped: a signal came; it is a KeyboardInterrupt.

    """
    check_tensorflow()
    session = Session(show_progress=show_progress)
    started = session.clock()
    parent = None if init is None else read_parent(Path(init))
    given = _given(recipe, overrides, epochs, minutes)
    with stop_on_signal(session), temporary_folder() as folder:
        engines = KerasEngines(session)
        prepared = prepare(
            text,
            given=given,
            folder=folder,
            engines=engines,
            session=session,
            parent=parent,
            started=started,
            is_plan=True,
        )
        config, corpus, engine, costs = prepared.config, prepared.corpus, prepared.engine, prepared.costs
        start_seconds = session.clock() - started
        if costs is None:
            measured = measure(config, corpus, engine, session=session)
            start_seconds += measured.start_seconds
            costs = replace(
                measured,
                teacher_seconds=time_teachers(config, corpus, engines, session=session),
                ngram_seconds=time_ngrams(corpus, session=session) if config.training.ngram_weight else 0.0,
            )
        problems = find_problems(corpus)
    decision = prepared.decision
    if config.training.precision != decision.precision.name:  # this processor lacks what was asked for
        decision = replace(decision, precision=fastest_precision())
    return Plan(
        corpus=corpus,
        problems=problems,
        decision=decision,
        architecture=architecture(config, len(corpus.vocabulary)),
        schedule=make_schedule(config.training, engine.batches),
        start_seconds=start_seconds,
        costs=costs,
        memory_bytes=peak_memory_bytes(),
    )


def _given(
    recipe: str | Path | None,
    overrides: Overrides,
    epochs: int | None,
    minutes: float | None,
) -> Given:
    """Return what the user gave; raises CharlmError if `epochs` is given together with a length among the overrides."""
    settings = parse_overrides(overrides)
    given = Given(
        recipe=None if recipe is None else str(recipe),
        overrides=settings,
        minutes=minutes,
    )
    if epochs is None:
        return given
    if given.length_key:
        raise CharlmError(f"epochs {epochs}: sets the length, and so does {given.length_key}; leave one of them out")
    if not isinstance(settings.get("training", {}), Mapping):
        return given  # which is refused
    return replace(given, overrides=merge(settings, {"training": {"epochs": epochs}}))


def train(
    text: Text = None,
    *,
    recipe: str | Path | None = None,
    overrides: Overrides = (),
    epochs: int | None = None,
    minutes: float | None = None,
    init: str | Path | None = None,
    run: str | Path | None = None,
    say: Callable[[str], None] = lambda _: None,
    on_step: OnStep = ignore,
    on_evaluation: OnEvaluation = ignore,
    show_progress: bool = False,
) -> Outcome:
    """Train a model in a new run.

    TensorFlow's threads are set for the whole process. In the main thread, Ctrl-C, SIGTERM and SIGHUP write a
    checkpoint and end the training; in another thread, signals are left to the program.

    If the variable TF_CONFIG names several machines, each of them must call this with the same arguments, on its own
    copies of the text and of models. Only the first one, worker 0, says anything and writes `run`.

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
            are matched by what they are, and the shape of the network is that of the model. None = the first weights
            are drawn at random.
        run: The folder of the run, missing or empty; None = a new one under runs/, named by the time and the text.
        say: Takes a line for the user, for instance `print`.
        on_step: Called after each step with its number and its training loss in nats per character, of the teachers
            that a run trains too. What it raises ends the training, which can be resumed from its newest checkpoint.
        on_evaluation: Called after each evaluation with a `charlm.training.checkpoints.Progress` and the validation
            loss in nats per character, the training loss if there is no validation text. What it raises ends the
            training, too.
        show_progress: Whether to show bars on standard error.

    Raises:
        CharlmError: TensorFlow is not installed, a key, a value or the text is not right, `minutes` is given together
            with an override of the length or is too short, `init` is no model or does not fit the overrides or the
            text, a file cannot be written, or training has diverged; before the first checkpoint, nothing is left
            behind. Or TF_CONFIG is not valid, the machines would not train the same, or another one is lost.
        Stopped: a signal came before the first step; it is a KeyboardInterrupt. Nothing is left behind, or a run that
            can be resumed.

    """
    check_tensorflow()
    session = Session(say, show_progress, on_evaluation, on_step)
    started = session.clock()
    parent = None if init is None else read_parent(Path(init))
    given = _given(recipe, overrides, epochs, minutes)
    with (
        stop_on_signal(session),
        connected_engines(session) as engines,
        _own_folder(None if run is None else Path(run), engines) as own,
        run_folder(own, text_name=text_name(text)) as folder,
    ):
        prepared = prepare(
            text, given=given, folder=folder, engines=engines, session=session, parent=parent, started=started
        )
        begun = begin_run(folder, prepared.config, prepared.corpus, first=prepared.first)
        return train_run(
            begun,
            prepared.engine,
            engines,
            session=session,
            deadline=prepared.deadline,
            text=prepared.text,
        )


def resume(
    run: str | Path | None = None,
    *,
    overrides: Overrides = (),
    epochs: int | None = None,
    minutes: float | None = None,
    say: Callable[[str], None] = lambda _: None,
    on_step: OnStep = ignore,
    on_evaluation: OnEvaluation = ignore,
    show_progress: bool = False,
) -> Outcome:
    """Continue a run from its newest checkpoint, exactly as if it had not been interrupted.

    Of several machines, see `train`, each needs the folder of the run or a copy of it; their number may be another one
    than before, and the result then differs in the last bits.

    Args:
        run: The folder of the run, or a part of its name under runs/; None = the newest that has not ended, or the
            newest if all have.
        overrides: Values that replace those of the run's config.
        epochs: Passes over the training text of the whole run; replaces the length of the run.
        minutes: Time limit of the call: as many more steps are taken as fit; None = to the end of the run.
        say: Takes a line for the user, for instance `print`.
        on_step: As for `train`.
        on_evaluation: As for `train`.
        show_progress: Whether to show bars on standard error.

    Raises:
        CharlmError: the folder is not a run, a key or a value is not right or may not change in a run, the text is not
            that of the run, no checkpoint is whole, a file cannot be written, or training has diverged. Or of several
            machines, what `train` says.
        Stopped: a signal came before the first step; it is a KeyboardInterrupt.

    """
    session = Session(say, show_progress, on_evaluation, on_step)
    started = session.clock()
    given = _given(None, overrides, epochs, minutes)
    given.check_minutes()
    with (
        stop_on_signal(session),
        connected_engines(session) as engines,
        _own_copy(newest_unfinished_run() if run is None else find_run(Path(run)), engines) as folder,
    ):
        begun, engine = reopen(folder, overrides=given.overrides, engines=engines, session=session)
        deadline = None
        if minutes is not None:
            begun, deadline = lengthen(begun, engine, minutes=minutes, started=started, session=session)
        return train_run(begun, engine, engines, resume=True, session=session, deadline=deadline)


@contextlib.contextmanager
def _own_folder(folder: Path | None, engines: KerasEngines) -> Iterator[Path | None]:
    """Return the folder that this machine writes: on worker 0 that of the run, on the others one that is removed."""
    if engines.machines.index == 0:
        yield folder
        return
    with temporary_folder() as scratch:
        yield scratch / "run"


@contextlib.contextmanager
def _own_copy(folder: Path, engines: KerasEngines) -> Iterator[Path]:
    """Return the folder in which this machine continues a run, as `_own_folder` does: the other is a copy of it."""
    check_is_run(folder)
    with _own_folder(folder, engines) as own:
        assert own is not None, "the run has a folder"
        if own != folder:
            with writing(own):
                shutil.copytree(folder, own, symlinks=True)
        yield own
