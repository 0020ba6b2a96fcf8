"""The time of a run's parts on this machine, measured with its real engine, and its time limit."""

import contextlib
import statistics
from dataclasses import dataclass

import numpy as np

from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.network.generation import TextRequest, generate_text
from charlm.network.sampler import Sampler
from charlm.text.corpus import Corpus
from charlm.training.evaluating import (
    EvaluatedText,
    evaluate_network,
    network_of,
    one_thread,
)
from charlm.training.interface import Engine
from charlm.training.session import Session
from charlm.training.temperature import TYPICAL_CHARACTERS

TIMED_STEPS, TIMED_SECONDS = 10, 3.0
"""Maximum number of steps that are timed, and the maximum time for them."""
TIMED_SHARE = 0.03
"""Largest share of a time limit for timing steps."""
TIMED_CHARACTERS = 200
"""Number of characters generated to time the end of a run."""
EXIT_SECONDS = 1.0
"""Time of a command after its temperature is chosen: to write the models and the last messages."""


@dataclass(frozen=True)
class Timing:
    """The time that each part of a run takes, in seconds."""

    step_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    end_seconds: float = 0.0
    """Time to choose the sampling temperature."""


@dataclass
class TimeLimit:
    """The time limit of a command, which ends a run early if it has not taken all its steps."""

    end: float
    """Latest time to choose the temperature, by the clock of the session."""
    evaluation_seconds: float
    """Time of the last evaluation."""
    end_seconds: float
    """Time to choose the sampling temperature."""

    def is_near(self, now: float, *, step_seconds: float) -> bool:
        """Return whether there is only time for an evaluation and the end, not for a step."""
        return now + step_seconds + self.evaluation_seconds + self.end_seconds > self.end


def time_engine(
    config: Config,
    corpus: Corpus,
    engine: Engine,
    text: EvaluatedText,
    *,
    session: Session,
    minutes: float | None,
) -> Timing:
    """Time a few steps and an evaluation, and set the engine back to its first state.

    Args:
        config: Resolved config of the run.
        corpus: Text of the run.
        engine: Engine in its first state, which then gives the same bytes as a new engine.
        text: Text that the evaluations read.
        session: Session of a `stop_on_signal` block.
        minutes: Time limit of the command; None = no limit.

    Raises:
        Stopped: A signal arrived.

    """
    if config.training.is_untrained and minutes is None:
        return Timing()
    clock = session.clock
    first_state = engine.tensors()
    limit = TIMED_SECONDS if minutes is None else min(TIMED_SECONDS, TIMED_SHARE * 60 * minutes)
    step_seconds = _time_steps(config, corpus, engine, session, limit=limit)
    engine.restore(first_state)
    model = network_of(engine, config, corpus, step=0, epoch=0.0)
    started = clock()
    with contextlib.suppress(CharlmError):  # the first evaluation of the run reports an overflow
        evaluate_network(engine, model, text, config=config, train_nats=0.0)
    evaluated = clock()
    end_seconds = 0.0
    if config.sampling.chooses_temperature:
        with contextlib.suppress(CharlmError), one_thread():
            str(generate_text(model, TextRequest(TIMED_CHARACTERS, Sampler(), config.seed)))
        end_seconds = TYPICAL_CHARACTERS / TIMED_CHARACTERS * (clock() - evaluated)
    return Timing(step_seconds, evaluated - started, end_seconds)


def _time_steps(
    config: Config, corpus: Corpus, engine: Engine, session: Session, *, limit: float
) -> float:
    """Return the median time of a step after the first, for which Keras builds a graph."""
    batches = engine.batches
    rates = np.array([config.training.optimizer.learning_rate], np.float32)
    ids = corpus.split("train")
    seconds: list[float] = []
    for step in range(TIMED_STEPS + 1):
        started = session.clock()
        epoch, window = divmod(step, batches.steps_per_epoch)
        positions = batches.positions(epoch=epoch, first=window, count=1)
        windows = np.asarray(ids[positions], np.int32)
        engine.take_steps(windows, rates, reset_state=window == 0)
        seconds.append(session.clock() - started)
        if len(seconds) > 1 and sum(seconds) > limit:
            break
    return max(1e-9, statistics.median(seconds[1:]))
