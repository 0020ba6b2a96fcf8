"""Divergence: a loss that is not finite or stays far above the lowest, and the rollback to a checkpoint after it.

Losses are checked one by one, however many one call of the engine returns, so that the result is repeatable.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from charlm.config.schema import DivergenceConfig
from charlm.errors import CharlmError
from charlm.training.progress import Progress


class DivergenceError(Exception):
    """Training has diverged.

    Args:
        message: How it shows.
        step: The step at which it shows.
        loss_nats: The mean loss in nats per character that is too high; None if a number is not finite.

    """

    def __init__(self, message: str, *, step: int, loss_nats: float | None = None) -> None:
        super().__init__(message)
        self.step, self.loss_nats = step, loss_nats


def check_steps(
    results: Iterable[tuple[float, float]], *, first: int, progress: Progress, settings: DivergenceConfig
) -> None:
    """Check the results of steps, and record them in `progress`.

    Args:
        results: The loss in nats per character and the gradient norm of each step.
        first: The number of steps before these.
        progress: Holds the losses since the last comparison and the lowest mean so far; both are updated.
        settings: When a loss counts as too high.

    Raises:
        DivergenceError: a loss or norm is not finite, or the mean loss of `patience_steps` steps is more than
            `tolerance_nats` above the lowest.

    """
    for step, (loss, norm) in enumerate(results, first + 1):
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise DivergenceError(f"the loss is {loss} and the gradient norm {norm} at step {step:,}", step=step)
        progress.watched_losses.append(loss)
        if len(progress.watched_losses) < settings.patience_steps:
            continue
        nats, lowest = float(np.mean(progress.watched_losses)), progress.lowest_nats
        if lowest is not None and settings.tolerance_nats is not None and nats > lowest + settings.tolerance_nats:
            raise DivergenceError(
                f"the loss is {nats:.3f} in the {settings.patience_steps:,} steps before step {step:,}, and was "
                f"{lowest:.3f}",
                step=step,
                loss_nats=nats,
            )
        progress.lowest_nats = nats if lowest is None else min(lowest, nats)
        progress.watched_losses = []


def rate_scale(progress: Progress, settings: DivergenceConfig) -> float:
    """Return the factor for the learning rates of the schedule, more than 0 and at most 1; every rollback lowers it."""
    return float(settings.rate_factor ** len(progress.rollbacks))


def rollback_step(saved: Sequence[int], *, period: int, progress: Progress) -> int:
    """Return the step to roll back to.

    It is the newest multiple of the period, so that it does not depend on when the run was interrupted. If the last
    rollback went to the same step, and nothing has been saved since, its weights may be the cause: then it is the
    multiple before it.

    Args:
        saved: The steps of the checkpoints, the newest first, at least one.
        period: The regular number of steps between two checkpoints, 1 or more.
        progress: Has the rollbacks so far.

    """
    regular = [step for step in saved if step % period == 0] or saved
    is_second_try = bool(progress.rollbacks) and progress.rollbacks[-1]["step"] == regular[0]
    return regular[1] if is_second_try and len(regular) > 1 else regular[0]


def carry_over(
    diverged: DivergenceError, *, earlier: Progress, restored: Progress, settings: DivergenceConfig
) -> list[dict[str, Any]]:
    """Copy to the restored progress what a rollback must keep: the best score and all rollbacks, with the new one.

    The best score is kept because its weights are still on the disk, in best/.

    Args:
        diverged: Why training is rolled back.
        earlier: The progress when training diverged.
        restored: The progress of the checkpoint; it is changed.
        settings: The factor by which the learning rates are lowered.

    Returns:
        The rollbacks that are not in the log files of the checkpoint, as lines for metrics.jsonl.

    """
    logged = len(restored.rollbacks)
    restored.best_nats, restored.best_step = earlier.best_nats, earlier.best_step
    record = {
        "event": "rollback",
        "step": restored.step,
        "split": None,
        "nats_per_char": diverged.loss_nats,
        "from_step": diverged.step,
        "rate_scale": settings.rate_factor ** (len(earlier.rollbacks) + 1),
        "reason": str(diverged),
    }
    restored.rollbacks = [*earlier.rollbacks, record]
    return restored.rollbacks[logged:]


def no_checkpoint(diverged: DivergenceError) -> CharlmError:
    """Return the error for a training that diverged before the first checkpoint."""
    return CharlmError(
        f"{diverged}, and there is no checkpoint to go back to; if these are the initial weights, they are too large: "
        f"change model.input_initializer or the initializers in model.rnn"
    )


def too_many_rollbacks(diverged: DivergenceError, progress: Progress) -> CharlmError:
    """Return the error for a training that has diverged again after the last rollback that is allowed."""
    tries = len(progress.rollbacks)
    tried = f", although training went back to a checkpoint at a lower rate {tries} times" if tries else ""
    return CharlmError(
        f"{diverged}{tried}; the checkpoint before it is whole: start a new run with a lower "
        f"training.optimizer.learning_rate or training.clip_norm"
    )
