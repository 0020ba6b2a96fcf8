"""The time that the parts of a run take on this machine, and what fits into a time limit."""

import contextlib
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from charlm.config.schema import Config
from charlm.core.engine import Engine
from charlm.core.evaluating import TrainingText, evaluate_model, present_model
from charlm.core.loop import Callback, End, Training
from charlm.errors import CharlmError
from charlm.runs.session import Session

TIMED_STEPS, TIMED_SECONDS = 10, 3.0
"""Maximum number of steps that are timed, and the maximum time for them."""
TIMED_SHARE = 0.03
"""Largest share of a time limit for timing steps."""
EVALUATION_SHARE = 0.2
"""Largest share of a time limit for evaluations; at least one evaluation takes place in any
case."""
END_SECONDS = 2.0
"""Time that is kept to choose the temperature and to exit."""
EXIT_SECONDS = 1.2
"""Time of it after the temperature is chosen."""
UNPLANNED_SHARE = 0.03
"""Share of a time limit that is not planned, since steps may become slower."""
MAX_STEPS = 1_000_000_000
"""Maximum number of steps that a config accepts."""


@dataclass(frozen=True)
class Timing:
    """The time that each part of a run takes, in seconds."""

    step_seconds: float = 0.0
    evaluation_seconds: float = 0.0

    def fitting(self, seconds: float, *, evaluations: int, is_fixed: bool) -> tuple[int, int]:
        """Return the numbers of steps and evaluations that fit into a time, each 1 or more.

        Args:
            seconds: The time.
            evaluations: The wanted number of evaluations.
            is_fixed: Whether there must be as many, even if they take too large a share.

        """
        if not is_fixed:
            affordable = EVALUATION_SHARE * seconds / max(self.evaluation_seconds, 1e-9)
            evaluations = max(1, min(evaluations, int(affordable)))
        seconds -= evaluations * self.evaluation_seconds
        return min(MAX_STEPS, max(1, int(seconds / self.step_seconds))), evaluations


@dataclass
class TimeLimit(Callback):
    """The time limit of a command, which ends a run that has become slow."""

    minutes: float
    end: float
    """Latest end of the command, by the clock."""
    clock: Callable[[], float]
    evaluation_seconds: float = 0.0
    """Time of an evaluation, until the first one of the run was timed."""

    def left(self) -> float:
        """Return the seconds to plan for steps and evaluations, 0 or more."""
        unplanned = UNPLANNED_SHARE * 60 * self.minutes
        return max(0.0, self.end - self.clock() - END_SECONDS - unplanned)

    def reason_to_end(self, training: Training) -> End | None:
        """Return the end if there is only time for an evaluation and the end, not for a step."""
        if training.step_seconds == math.inf:
            return None
        evaluation_seconds = training.evaluation_seconds or self.evaluation_seconds
        end = self.clock() + training.step_seconds + evaluation_seconds
        return End("time limit", "time limit") if end > self.end - END_SECONDS else None

    def is_over(self, seconds: float = 0.0) -> bool:
        """Return whether there is no time for something that takes some seconds, and to exit."""
        return self.clock() + seconds > self.end - EXIT_SECONDS


def time_engine(
    config: Config,
    text: TrainingText,
    engine: Engine,
    *,
    session: Session,
    minutes: float | None,
) -> Timing:
    """Time a few steps and an evaluation, and set the engine back to its first state.

    Args:
        config: Resolved config of the run.
        text: Text of the run.
        engine: Engine in its first state, which then gives the same bytes as a new engine.
        session: Session of a `stop_on_signal` block.
        minutes: Time limit of the command; None = no limit.

    Raises:
        Stopped: A signal arrived.

    """
    if config.training.is_untrained and minutes is None:
        return Timing()
    session.note(f"timing a few steps of recipe {config.recipe}")
    clock = session.clock
    first_state = engine.tensors()
    limit = TIMED_SECONDS if minutes is None else min(TIMED_SECONDS, TIMED_SHARE * 60 * minutes)
    step_seconds = _time_steps(config, text, engine, session, limit=limit)
    engine.restore(first_state)
    model = present_model(engine, config, text, step=0, epoch=0.0)
    session.note("timing an evaluation")
    started = clock()
    with contextlib.suppress(CharlmError):  # the first evaluation of the run reports an overflow
        evaluate_model(engine, model, config, text, train_nats=0.0)
    return Timing(step_seconds, clock() - started)


def _time_steps(
    config: Config, text: TrainingText, engine: Engine, session: Session, *, limit: float
) -> float:
    """Return the median time of a step after the first, for which Keras builds a graph."""
    batches = engine.batches
    rates = np.array([config.training.optimizer.learning_rate], np.float32)
    seconds: list[float] = []
    for step in range(TIMED_STEPS + 1):
        started = session.clock()
        epoch, window = divmod(step, batches.steps_per_epoch)
        positions = batches.positions(epoch=epoch, first=window, count=1)
        windows = np.asarray(text.training[positions], np.int32)
        engine.take_steps(windows, rates, reset_state=window == 0)
        seconds.append(session.clock() - started)
        if len(seconds) > 1 and sum(seconds) > limit:
            break
    return max(1e-9, statistics.median(seconds[1:]))
