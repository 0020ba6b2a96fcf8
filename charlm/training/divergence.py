"""Whether training has gone astray: a loss that is not finite, or far above the lowest for a while.

Losses are looked at one by one, however many come from one call, so that the answer is repeatable.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from charlm.config import DivergenceConfig
from charlm.errors import CharlmError
from charlm.training.checkpoints import Progress


class DivergenceError(Exception):
    """Training has gone astray; the message says how."""

    def __init__(self, message: str, *, step: int, loss_nats: float | None = None) -> None:
        super().__init__(message)
        self.step, self.loss_nats = step, loss_nats


def watch(
    results: Iterable[tuple[float, float]], *, first: int, progress: Progress, settings: DivergenceConfig
) -> None:
    """Look at the loss in nats and the gradient norm of each step after step `first`; keep count in `progress`.

    Raises DivergenceError at the first step that shows it.
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
    """Return what the learning rates of the schedule are multiplied by."""
    return float(settings.rate_factor ** len(progress.rollbacks))


def step_to_go_back_to(saved: Sequence[int], *, period: int, progress: Progress) -> int:
    """Return which of the saved steps, the newest first, training goes back to.

    It is the last one that is a multiple of the period, so that it does not matter when the run was interrupted;
    but the one before it if nothing was saved since training went back to that: its weights may be the cause.
    """
    regular = [step for step in saved if step % period == 0] or saved
    is_second_try = bool(progress.rollbacks) and progress.rollbacks[-1]["step"] == regular[0]
    return regular[1] if is_second_try and len(regular) > 1 else regular[0]


def go_back(
    diverged: DivergenceError, *, earlier: Progress, restored: Progress, settings: DivergenceConfig
) -> list[dict[str, Any]]:
    """Carry over to a restored progress what must outlive going back: the best evaluation and the rollbacks.

    The weights of that evaluation are on the disk, in best/. Returns the rollbacks that the log files, as they
    were then, do not hold.
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


def nothing_to_go_back_to(diverged: DivergenceError) -> CharlmError:
    """Return what a person is told where training has gone astray before anything was saved."""
    return CharlmError(
        f"{diverged}, and there is no checkpoint to go back to; if these are the first weights, they are drawn "
        f"too large: change model.input_initializer or the initializers in model.rnn"
    )


def give_up(diverged: DivergenceError, progress: Progress) -> CharlmError:
    """Return what a person is told when going back no longer helps."""
    tries = len(progress.rollbacks)
    tried = f", and {tries} times going back and on at a lower rate did not help" if tries else ""
    return CharlmError(
        f"{diverged}{tried}; the checkpoint before it is whole: start a new run with a lower "
        f"training.optimizer.learning_rate or training.clip_norm"
    )
