"""How long a run takes on this machine, from a few steps that are timed and then undone.

    seconds(S) = S * step + ceil(S / E) * evaluation + (1 + ceil(S / C)) * checkpoint

S steps, an evaluation every E and a checkpoint every C of them; if windows grow, S steps take as long as the characters
that they read do in steps of `sequence_length`. The figures are those of this machine under its present load.
"""

import bisect
import contextlib
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from charlm.config.schema import Config, TrainingConfig
from charlm.runs.folder import METRICS_FILE
from charlm.runs.run import Run
from charlm.text.corpus import Corpus
from charlm.training.checkpoints import Progress
from charlm.training.engine import Engine
from charlm.training.loop import Training
from charlm.training.schedule import ENOUGH_EVALUATIONS, MAX_EVALUATE_EVERY, evaluation_period, mean_growth
from charlm.training.signals import Session
from charlm.training.steps import DivergenceError

STEP_SECONDS = 3.0
"""How long steps are timed, at least."""
MAX_STEPS = 1 << 53
"""The largest number of steps that a checkpoint holds."""


@dataclass(frozen=True)
class Costs:
    """How long each part of a run takes, in seconds."""

    step_seconds: float
    """One step of `sequence_length` characters, with the reading of its windows."""
    evaluation_seconds: float
    """One evaluation, with the sample, the log and the bundle best/."""
    checkpoint_seconds: float
    """One checkpoint, with the bundle last/."""
    start_seconds: float
    """Building the engine, and its first call."""

    def run_seconds(self, settings: TrainingConfig, steps: int) -> float:
        """Return how long a run takes after its start.

        Args:
            settings: Decide how often the run is evaluated and saved.
            steps: The steps of the whole run, 0 or more.

        """
        period = settings.evaluate_every or evaluation_period(max(1, steps))
        evaluations, checkpoints = -(-steps // period), 1 + -(-steps // settings.checkpoint_every)
        training = steps * mean_growth(settings) * self.step_seconds
        return training + evaluations * self.evaluation_seconds + checkpoints * self.checkpoint_seconds

    def steps_within(self, settings: TrainingConfig, seconds: float) -> int:
        """Return the largest number of steps for which `run_seconds` is at most `seconds`; 0 = not even one.

        With the default period of evaluations, which grows with the number of steps, a longer run may take less time.
        Among the steps with the same period it does not: each such span is searched, the last one first.
        """
        spans = [range(1, MAX_STEPS)]
        if settings.evaluate_every is None:
            borders = [ENOUGH_EVALUATIONS * period for period in range(MAX_EVALUATE_EVERY + 1)]
            spans = [*map(range, [1, *borders[1:]], [*borders[1:], MAX_STEPS])]
        for span in reversed(spans):
            count = bisect.bisect_right(span, seconds, key=lambda steps: self.run_seconds(settings, steps))
            if count:
                return span[count - 1]
        return 0


def measure(
    config: Config,
    corpus: Corpus,
    engine: Engine,
    *,
    session: Session,
    step_seconds: float = STEP_SECONDS,
    clock: Callable[[], float] = time.perf_counter,
) -> Costs:
    """Take some steps of a run, evaluate and save it, all in a temporary folder that is removed.

    The engine is then set back: a run that uses it ends with the same bytes as one with a new engine.

    Args:
        config: Every setting of the run; `training.parts` is a number.
        corpus: Its text.
        engine: The engine of the run, in its first state.
        session: Of a `stop_on_signal` block; a signal ends the measurement at once. Nothing is said.
        step_seconds: How long to take steps, at least. The first call of the engine comes before that.
        clock: Returns the time in seconds.

    Raises:
        CharlmError: the temporary folder cannot be written.
        Stopped: a signal came.

    """
    endless = config.training.with_steps(MAX_STEPS)
    with tempfile.TemporaryDirectory(prefix="charlm-") as folder, session.at_once():
        started = clock()
        (Path(folder) / METRICS_FILE).touch()
        training = Training(
            Run(Path(folder), config.model_copy(update={"training": endless}), corpus),
            engine,
            session=Session(),
            clock=clock,
        )
        with contextlib.closing(training.recorder.outputs):
            training.prepare(resume=False)
            first_state = engine.tensors()
            schedule = training.schedule
            training.progress.step = next(part.first for part in schedule.parts if part.batches == schedule.batches)
            _time_steps(training, 0.0, clock)  # the first call is slower than the others
            start = clock() - started
            step = _time_steps(training, step_seconds, clock)
            engine.restore(first_state)
            checkpoint, evaluation = _time_records(training, clock)
    return Costs(step, evaluation, checkpoint, start)


def _time_steps(training: Training, seconds: float, clock: Callable[[], float]) -> float:
    """Take steps for some seconds, at least one call of the engine; return the seconds of one step."""
    first, started, now = training.progress.step, clock(), -math.inf
    while now - started < seconds:
        with contextlib.suppress(DivergenceError):  # what was learned is undone in any case
            training.steps.take_steps(training.progress)
        now = clock()
    return (now - started) / (training.progress.step - first)


def _time_records(training: Training, clock: Callable[[], float]) -> tuple[float, float]:
    """Save the run twice, the second time with an evaluation; return the seconds of a checkpoint and an evaluation."""
    progress = Progress(step=training.progress.step, pending_losses=[1.0])  # finite, even if the steps diverged
    started = clock()
    training.recorder.outputs.save(progress)
    saved = clock()
    training.recorder.finish(progress, is_stopped=False)
    return saved - started, max(0.0, clock() - saved - (saved - started))
