"""From text to a trained model: tokenize, plan, train, resume. `Plan.to_json` is what a program reads."""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from charlm.config.file import Overrides, load_config, parse_overrides
from charlm.config.recipes import RecipeAdvice, find_recipe
from charlm.engine.factory import KerasEngines, connected_engines
from charlm.engine.runtime import check_tensorflow
from charlm.hardware import peak_memory_bytes
from charlm.network.rnn import Architecture, architecture
from charlm.runs.folder import check_is_run, find_run, newest_unfinished_run
from charlm.runs.run import begin_run, read_parent, run_folder
from charlm.storage import temporary_folder, writing
from charlm.text.corpus import Corpus
from charlm.text.findings import find_problems
from charlm.text.tokenization import tokenize as write_corpus
from charlm.training.loop import Outcome
from charlm.training.preparation import Text, as_sources, prepare, reopen, text_name
from charlm.training.schedule import Schedule, make_schedule
from charlm.training.signals import OnEvaluation, OnStep, Session, ignore, stop_on_signal
from charlm.training.timing import FEW_STEPS, Costs, check_minutes, estimate, fit_to_minutes, lengthen
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


@dataclass(frozen=True)
class Plan:
    """What a training would do."""

    corpus: Corpus
    """The text that would be trained on; its folder is gone."""
    problems: list[str]
    """Those of the text, each as a line for the user."""
    architecture: Architecture
    schedule: Schedule
    """The steps of the whole run, and what they would read."""
    precision: str
    """Of the matrix products, on this machine: float32 or bfloat16."""
    start_seconds: float
    """From the text to the first step: tokenizing it, TensorFlow, the network, its graph, n-grams."""
    costs: Costs
    """How long a step and a mark, that is an evaluation and a checkpoint, take on this machine."""
    evaluations: int
    """The marks of the run."""
    run_seconds: float
    """How long the run takes after its start, its marks and what comes before the first step included."""
    memory_bytes: int
    """The most memory that this process has held, the timed steps included."""
    advice: RecipeAdvice
    """Which recipe suits a text of this size."""
    is_advised: bool
    """Whether the plan is for this recipe, because none was named."""

    @property
    def seconds(self) -> float:
        """How long the whole training takes."""
        return self.start_seconds + self.run_seconds

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
            "precision": self.precision,
            "memory_bytes": self.memory_bytes,
            "seconds": self.seconds,
            "teacher_seconds": self.costs.teacher_seconds,
            "ngram_seconds": self.costs.ngram_seconds,
            "start_seconds": self.start_seconds,
            "end_seconds": self.costs.end_seconds,
            "step_seconds": self.costs.step_seconds,
            "evaluations": self.evaluations,
            "mark_seconds": self.costs.mark_seconds,
            "characters_per_second": batches.characters_per_step / self.costs.step_seconds,
            "text": {
                "summary": self.corpus.summary,
                "characters": self.corpus.manifest.characters,
                "documents": len(self.corpus.manifest.sources),
                "vocabulary": len(self.corpus.vocabulary),
                "splits": {name: end - start for name, (start, end) in self.corpus.splits.items()},
                "findings": self.problems,
            },
            "recipe": asdict(self.advice),
        }


def plan(
    text: Text = None,
    *,
    recipe: str | Path | None = None,
    overrides: Overrides = (),
    show_progress: bool = False,
) -> Plan:
    """Find out what `train` would do with the same arguments, from a few steps that are timed and undone.

    Everything is written to a temporary folder, which is removed. TensorFlow's threads are set for the whole process.

    Args:
        text: As for `train`.
        recipe: A name in configs/, or a YAML file; None = the one that `train` would take.
        overrides: Values that replace those of the recipe.
        show_progress: Whether to show a bar on standard error while the text is tokenized.

    Raises:
        CharlmError: as `train` before its first step: a key, a value or the text is not right, or the network does not
            fit into the memory.
        Stopped: a signal came; it is a KeyboardInterrupt.

    """
    check_tensorflow()
    started = time.perf_counter()
    with stop_on_signal(Session(show_progress=show_progress)) as session, temporary_folder() as folder:
        engines, given = KerasEngines(session), parse_overrides(overrides)
        prepared = prepare(text, recipe=recipe, overrides=given, folder=folder, engines=engines, session=session)
        config, corpus, engine = prepared.config, prepared.corpus, prepared.engine
        problems, settings = find_problems(corpus), config.training
        start_seconds = time.perf_counter() - started
        found = estimate(config, corpus, engine, engines, session=session)
        memory, start_seconds = peak_memory_bytes(), start_seconds + found.start_seconds
        if prepared.advised_minutes is not None:
            seconds = 60 * prepared.advised_minutes + found.teacher_seconds
            settings = found.with_marks_for(settings, seconds)
            settings = settings.with_steps(max(found.steps_within(settings, seconds), FEW_STEPS))
    schedule = make_schedule(settings, engine.batches)
    return Plan(
        corpus=corpus,
        problems=problems,
        architecture=architecture(config, len(corpus.vocabulary)),
        schedule=schedule,
        precision=settings.precision,
        start_seconds=start_seconds,
        costs=found,
        evaluations=settings.evaluations,
        run_seconds=found.run_seconds(settings, schedule.total),
        memory_bytes=memory,
        advice=prepared.advice,
        is_advised=prepared.is_advised,
    )


def train(
    text: Text = None,
    *,
    recipe: str | Path | None = None,
    overrides: Overrides = (),
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
        recipe: A name in configs/, or a YAML file. None = the one that suits a text of this size, see
            `charlm.config.recipes.suited_recipe`, or with `minutes` a smaller one of which 1,000 steps fit; for the
            plays `default`.
        overrides: Values that replace those of the recipe.
        minutes: How long the call should take. Some steps are timed, and the number of steps that fit replaces the
            `training.epochs` and `training.steps` of the recipe; it is in the config of the run, which can so be
            repeated. None = as long as the recipe says.
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
    started, given = time.perf_counter(), parse_overrides(overrides)
    if minutes is not None:
        check_minutes(minutes, given)
    with (
        stop_on_signal(Session(say, show_progress, on_evaluation, on_step)) as session,
        connected_engines(session) as engines,
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
        prepared = fit_to_minutes(prepared, folder, minutes=minutes, started=started, session=session)
        begun = begin_run(folder, prepared.config, prepared.corpus, first=prepared.first)
        return train_run(begun, prepared.engine, engines, session=session)


def resume(
    run: str | Path | None = None,
    *,
    overrides: Overrides = (),
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
        minutes: How long the call should take: as many more steps are taken as fit; None = to the end of the run.
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
    started = time.perf_counter()
    if minutes is not None:
        check_minutes(minutes, parse_overrides(overrides))
    with (
        stop_on_signal(Session(say, show_progress, on_evaluation, on_step)) as session,
        connected_engines(session) as engines,
        _own_copy(newest_unfinished_run() if run is None else find_run(Path(run)), engines) as folder,
    ):
        begun, engine = reopen(folder, overrides=overrides, engines=engines, session=session)
        if minutes is not None:
            begun = replace(begun, config=lengthen(begun, engine, minutes=minutes, started=started, session=session))
        return train_run(begun, engine, engines, resume=True, session=session)


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
