"""Callbacks of a training: events, divergence, early stopping, a target loss, the locked folder."""

import math
from dataclasses import dataclass

from charlm.core.engine import StepMetrics
from charlm.core.evaluating import DIVERGED, DivergenceError, Evaluation
from charlm.core.loop import Callback, End, Training
from charlm.events import Evaluated, OnEvent, Saved, Started, StepsTaken
from charlm.storage import Lock


class Divergence(Callback):
    """Ends a run that has diverged.

    Losses are checked one by one, so that the end is repeatable, however steps are grouped.
    """

    def on_steps(self, training: Training, metrics: StepMetrics) -> None:
        """Raise DivergenceError if the loss or the gradient norm of a step is not finite."""
        first = training.state.step - len(metrics.losses) + 1
        steps = zip(metrics.losses, metrics.norms, strict=True)
        for step, (loss, norm) in enumerate(steps, first):
            if not math.isfinite(loss) or not math.isfinite(norm):
                raise DivergenceError(
                    f"the loss is {loss} and the gradient norm {norm} at step {step:,}: {DIVERGED}"
                )


@dataclass
class LockedFolder(Callback):
    """Ends a run whose folder was moved or replaced, before anything is written there."""

    lock: Lock
    """Lock of the folder, which this process holds."""

    def on_save(self, training: Training) -> None:
        """Raise CharlmError if the folder is not the locked one."""
        self.lock.check(training.folder)


@dataclass
class EarlyStopping(Callback):
    """Ends a run after some evaluations without a new best model."""

    patience: int
    """Number of these evaluations, 1 or more."""

    def reason_to_end(self, training: Training) -> End | None:
        """Return the end if there were as many evaluations since the best one."""
        if training.state.evaluations_without_best < self.patience:
            return None
        return End("loss", f"no new best in {self.patience} evaluations")


@dataclass
class TargetLoss(Callback):
    """Ends a run when its training loss is low enough."""

    nats: float
    """Loss in nats per character that must be undercut."""

    def reason_to_end(self, training: Training) -> End | None:
        """Return the end if the loss is below the target at a log entry."""
        state = training.state
        has_logged = not state.pending_losses and state.step > 0
        if not has_logged or state.train_nats >= self.nats:
            return None
        return End("loss", f"the training loss is below {self.nats:g}")


@dataclass
class Events(Callback):
    """Reports the progress of a training as events."""

    on_event: OnEvent

    def on_start(self, training: Training) -> None:
        """Report the start."""
        total = training.schedule.total
        self.on_event(Started(training.folder, training.state.step, total))

    def on_steps(self, training: Training, metrics: StepMetrics) -> None:
        """Report steps with the speed."""
        event = StepsTaken(
            step=training.state.step,
            losses=tuple(metrics.losses),
            total=training.schedule.total,
            characters_per_second=training.characters / max(training.state.seconds, 1e-9),
            left_seconds=_left_seconds(training),
        )
        self.on_event(event)

    def on_saved(self, training: Training, evaluation: Evaluation | None) -> None:
        """Report a checkpoint, and the evaluation before it."""
        state = training.state
        self.on_event(Saved(state.step, training.checkpoints.path(state.step)))
        if evaluation is None:
            return
        has_validation_text = training.text.validation is not None
        has_train_nats = state.step > 0 or not has_validation_text
        event = Evaluated(
            step=state.step,
            total=training.schedule.total,
            train_nats=state.train_nats if has_train_nats else None,
            validation_nats=evaluation.score.nats_per_char if has_validation_text else None,
            is_best=state.best_step == state.step,
            sample=evaluation.sample,
            left_seconds=_left_seconds(training),
        )
        self.on_event(event)


def _left_seconds(training: Training) -> float:
    """Return the expected time for the rest of the run, with its evaluations."""
    left = training.schedule.total - training.state.step
    return training.state.elapsed_seconds / max(training.state.step, 1) * left
