"""The steps of a run: which windows they read, how many in one call of the engine, and whether training has diverged.

How steps are grouped into calls depends on the clock; what they compute does not. Losses are checked one by one, so
that this is repeatable too.
"""

import math

import numpy as np

from charlm.errors import CharlmError
from charlm.runs.run import Run
from charlm.training.checkpoints import Progress
from charlm.training.interface import Engine
from charlm.training.schedule import Schedule
from charlm.training.soft_targets import SoftTargets

ADVICE = (
    "lower training.optimizer.learning_rate or training.clip_norm, or change the initializers of the network; the last "
    "checkpoint is whole, and --resume -s training.optimizer.learning_rate=X goes on from it"
)
MAX_STEPS_PER_CALL = 10
"""The most steps in one call of the engine: more would save no time."""
SECONDS_PER_CALL = 0.5
"""If a call would take longer than this, it gets fewer steps, so that a signal is answered soon."""


class DivergenceError(CharlmError):
    """Training has diverged."""

    def __init__(self, message: str) -> None:
        super().__init__(f"{message}: training has diverged: {ADVICE}")


def next_count(schedule: Schedule, step: int, *, step_seconds: float) -> int:
    """Return how many steps the next call of the engine takes: 1 or more, at most up to the next event.

    Args:
        schedule: When something else has to happen.
        step: The steps taken so far.
        step_seconds: How long one of the last call took; infinite = that is not known yet.

    """
    return min(schedule.steps_to_next_event(step), MAX_STEPS_PER_CALL, max(1, int(SECONDS_PER_CALL / step_seconds)))


def take_steps(
    run: Run, engine: Engine, schedule: Schedule, progress: Progress, *, count: int, soft_targets: SoftTargets | None
) -> list[float]:
    """Take steps, and count them in `progress`; return the loss of each in nats per character.

    Args:
        run: Its training text.
        engine: What computes the steps.
        schedule: Which windows a step reads, and at which learning rate.
        progress: How far the run is.
        count: What `next_count` has returned, here or on the machine that decides.
        soft_targets: The probabilities of the teachers by position, float16 [N, V]; None = there are none.

    Raises:
        CharlmError: the text on the disk was changed.
        DivergenceError: the loss or the gradient norm of one of these steps is not finite.

    """
    first = progress.step
    run.corpus.check_size()
    batches, epoch, window = schedule.place(first)
    positions = batches.positions(epoch=epoch, first=window, count=count, rows=engine.rows)
    ids = run.corpus.split("train")[positions]
    run.corpus.check_ids(ids)
    metrics = engine.take_steps(
        np.asarray(ids, np.int32),
        schedule.rates(first, count),
        reset_state=schedule.resets_state_at(first),
        soft_targets=None if soft_targets is None else np.asarray(soft_targets[positions[:, :-1]]),
    )
    progress.step += count
    progress.seconds += metrics.seconds
    progress.pending_losses += metrics.losses
    progress.last_norm = metrics.norms[-1]
    for step, (loss, norm) in enumerate(zip(metrics.losses, metrics.norms, strict=True), first + 1):
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise DivergenceError(f"the loss is {loss} and the gradient norm {norm} at step {step:,}")
    return metrics.losses
