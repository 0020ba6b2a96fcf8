"""What a training would do, without doing it: sizes, memory, steps and time. `Plan.to_json` is what a program reads."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from charlm.config.file import Overrides, parse_overrides
from charlm.config.recipes import RecipeAdvice
from charlm.engine.factory import KerasEngines
from charlm.engine.runtime import check_tensorflow
from charlm.hardware import peak_memory_bytes
from charlm.network.architecture import Architecture, architecture
from charlm.storage.files import temporary_folder
from charlm.text.findings import TextFacts, describe_text
from charlm.training.preparation import Text, prepare
from charlm.training.schedule import Schedule, make_schedule
from charlm.training.signals import Session, stop_on_signal
from charlm.training.timing import FEW_STEPS, TIMED_SECONDS, Costs, estimate


@dataclass(frozen=True)
class Plan:
    """What a training would do."""

    text: TextFacts
    """The text that would be trained on."""
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

    @property
    def parameters(self) -> int:
        """The number of weights."""
        return self.architecture.size

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain data."""
        batches = self.schedule.batches
        return {
            "parameters": self.parameters,
            "shapes": {name: list(shape) for name, shape in self.architecture.shapes().items()},
            "operations_per_character": self.architecture.operations_per_character(),
            "batch_size": batches.batch_size,
            "sequence_length": batches.sequence_length,
            "windows_per_epoch": batches.batch_size * batches.steps_per_epoch,
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
            "text": asdict(self.text),
            "recipe": asdict(self.advice),
        }


def plan(
    text: Text = None,
    *,
    recipe: str | Path | None = None,
    overrides: Overrides = (),
    step_seconds: float = TIMED_SECONDS,
    show_progress: bool = False,
) -> Plan:
    """Find out what `train` would do with the same arguments, from a few steps that are timed and undone.

    Everything is written to a temporary folder, which is removed. TensorFlow's threads are set for the whole process.

    Args:
        text: As for `train`.
        recipe: A name in configs/, or a YAML file; None = the one that `train` would take.
        overrides: Values that replace those of the recipe.
        step_seconds: How long to time steps, at most; 0 = a single call of the engine.
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
        facts, settings = describe_text(corpus), config.training
        start_seconds = time.perf_counter() - started
        found = estimate(config, corpus, engine, engines, session=session, step_seconds=step_seconds)
        memory, start_seconds = peak_memory_bytes(), start_seconds + found.start_seconds
        if prepared.advised_minutes is not None:
            seconds = 60 * prepared.advised_minutes + found.teacher_seconds
            settings = found.with_marks_for(settings, seconds)
            settings = settings.with_steps(max(found.steps_within(settings, seconds), FEW_STEPS))
    schedule = make_schedule(settings, engine.batches)
    return Plan(
        text=facts,
        architecture=architecture(config, facts.vocabulary),
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
