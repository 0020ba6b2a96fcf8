"""The outcome of a training: why it ended, the score of its best model, and what to try next."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from signal import Signals
from typing import Any

from charlm.evaluation.baselines import COMPRESSOR, Comparison
from charlm.evaluation.scoring import Difference
from charlm.training.active_run import ActiveRun
from charlm.training.checkpoints import Progress
from charlm.training.suggestion import Evidence, Suggestion, suggest


@dataclass(frozen=True)
class Outcome:
    """The outcome of a training."""

    folder: Path
    """The folder of the run."""
    progress: Progress
    nats_per_char: float | None
    """The loss of the best model. None = there is none."""
    is_uncertain: bool
    """Whether the validation text has too few characters for a standard error, so that another model may be better."""
    split: str
    """The text that `nats_per_char` was measured on: validation, or train if there is no validation text."""
    measured_on: str
    """The same for the user: which text, and how much of it if not all."""
    reason: str
    """Why it ended, for the user."""
    signal: Signals | None
    """The signal that ended it, or None."""
    comparison: Comparison | None
    """The best model compared with the 5-gram model; None if there is no best model or no validation text."""
    difference: Difference | None
    """How the last evaluation differs from the best one before it; None = that is not known."""
    sample: str
    """What the best network generates; empty if nothing, or if a signal ended the training."""
    last_sample: str
    """What the last network generates, if it is not the best one and the choice of the best one is uncertain."""
    suggestion: Suggestion | None
    """What to try next; None = nothing."""
    has_initial_weights: bool = False
    """Whether training began with the weights of another model, which are in init.safetensors."""
    worker: int = 0
    """Which of the workers of TF_CONFIG this is; the run is in the folder of worker 0 alone."""
    standard_error: float | None = None
    """Standard error of `nats_per_char`, in nats; None for fewer than 2,400 characters."""
    epochs: float = 0.0
    """How often the run has read the training text."""
    baseline_nats: Mapping[str, float] = field(default_factory=dict)
    """The scores of simple models on the same text by name, in nats per character."""

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as plain data."""
        return {
            "run": str(self.folder),
            "reason": self.reason,
            "step": self.progress.step,
            "epochs": self.epochs,
            "seconds": self.progress.seconds,
            "nats_per_char": self.nats_per_char,
            "standard_error": self.standard_error,
            "split": self.split,
            "baselines": dict(self.baseline_nats),
            "suggestion": None if self.suggestion is None else asdict(self.suggestion),
        }


def describe_outcome(
    training: ActiveRun, *, reason: str, signal: Signals | None, samples: tuple[str, str]
) -> Outcome:
    """Return how a training ended.

    Args:
        training: The run, at its last step.
        reason: Why it ended, for the user.
        signal: The signal that ended it, or None.
        samples: What the best network generates, and what the last one generates; may be empty.

    """
    run, progress, text, best = training.run, training.progress, training.text, training.best
    sample, last_sample = samples
    return Outcome(
        folder=run.folder,
        progress=progress,
        nats_per_char=progress.best_nats,
        is_uncertain=text.is_short,
        split=text.split,
        measured_on=text.measured_on,
        reason=reason,
        signal=signal,
        comparison=None if best is None else text.compare(best),
        difference=training.difference,
        sample=sample,
        last_sample=last_sample,
        suggestion=None if signal else suggest_next(training),
        has_initial_weights=run.config.training.initial_weights is not None,
        worker=training.engine.workers.index,
        standard_error=None if best is None else best.standard_error,
        epochs=training.schedule.epochs_of(progress.characters),
        baseline_nats=text.baseline_nats,
    )


def suggest_next(training: ActiveRun) -> Suggestion | None:
    """Return what to try after a run; None = nothing, or its validation text is too short to know."""
    progress, text, best, run = training.progress, training.text, training.best, training.run
    if text.ids is None or text.is_short or best is None or not progress.best_step:
        return None
    start, end = run.corpus.splits["train"]
    evidence = Evidence(
        step=progress.step,
        best_step=progress.best_step,
        epochs=training.schedule.epochs_of(progress.characters),
        has_two_evaluations=progress.evaluations > 1,
        comparison=text.compare(best),
        best_nats=best.nats_per_char,
        lzma_nats=text.baseline_nats.get(COMPRESSOR),
        training_characters=end - start,
    )
    return suggest(evidence)
