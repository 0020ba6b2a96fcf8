"""The training loop: steps, with logs, evaluations and saves, until there is a reason to end.

A step never depends on the clock, on the grouping of steps into calls of the engine, or on whether
the run was interrupted. A run is therefore repeatable to the bit. Everything that only some runs
need, and everything that watches a run, is a `Callback`.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from charlm.config.schema import Config
from charlm.core.checkpoints import Checkpoints, LoopState
from charlm.core.engine import Engine, SoftTargets, StepMetrics
from charlm.core.evaluating import (
    EVALUATED_CHARACTERS,
    Evaluation,
    TrainingText,
    evaluate_model,
    present_model,
)
from charlm.core.model_file import TrainedModel
from charlm.core.reading import one_thread
from charlm.core.schedule import make_schedule
from charlm.core.scoring import Score
from charlm.events import OnEvent, ignore

MAX_STEPS_PER_CALL = 10
"""Maximum number of steps in a call of the engine; more would not be faster."""
SECONDS_PER_CALL = 0.5
"""Longest time of a call with several steps, so that a signal is answered soon."""
SAVE_SECONDS = 60.0
"""Training time without a checkpoint; the next step after it is followed by one."""


@dataclass(frozen=True)
class End:
    """Why a session of training ends."""

    kind: Literal["all steps", "time limit", "loss", "signal"]
    """all steps: they are taken; time limit: the time is over; loss: it is low enough, or rises;
    signal: the user ends the session, but not the run."""
    reason: str
    """Explanation for the user."""


class Callback:
    """Something that watches a training and may end it, such as a log, a limit or a signal.

    `on_start` is called once in a session; after each call of the engine, the other methods that
    apply are called in the order of this class, each for all callbacks in their order. A callback
    ends a session by `reason_to_end` (the first reason counts), or makes it fail by raising
    CharlmError; it changes neither the state nor the engine. The arrays of `evaluation.model`,
    which is saved, are read-only.
    """

    def on_start(self, training: "Training") -> None:
        """React to the start of a session, after the last checkpoint was restored."""

    def on_steps(self, training: "Training", metrics: StepMetrics) -> None:
        """React to steps that were taken."""

    def on_log(self, training: "Training") -> None:
        """React to a new `state.train_nats`, a few times between two evaluations."""

    def on_evaluation(self, training: "Training", evaluation: Evaluation) -> None:
        """React to an evaluation, before the run is saved."""

    def on_save(self, training: "Training") -> None:
        """Prepare for a checkpoint, before it is written."""

    def on_saved(self, training: "Training", evaluation: Evaluation | None) -> None:
        """React to a checkpoint; `evaluation` is the evaluation of the same step, if any."""

    def reason_to_end(self, training: "Training") -> End | None:
        """Return why the session ends at this step, or None."""
        return None


@dataclass
class Training:
    """A run in progress."""

    folder: Path
    """Folder of the run."""
    config: Config
    """Every setting, resolved."""
    text: TrainingText
    engine: Engine
    """The network, in its first state."""
    callbacks: Sequence[Callback] = ()
    """Callbacks, called in this order."""
    soft_targets: SoftTargets | None = None
    """Probabilities of the next character at each position of the training text, float16 [N, V]."""
    on_event: OnEvent = ignore
    """Function that is called with notes."""
    clock: Callable[[], float] = time.perf_counter
    """Function that returns the time in seconds."""

    state: LoopState = field(init=False, default_factory=LoopState)
    best: Score | None = field(init=False, default=None)
    """Score of the best model; None if there is none."""
    before_best: Score | None = field(init=False, default=None)
    """Score of the best model before it; None if there was none in this session."""
    saved_step: int = field(init=False, default=-1)
    """Step of the last checkpoint; -1 = none."""
    saved_seconds: float = field(init=False, default=0.0)
    """Training time at the last checkpoint."""
    step_seconds: float = field(init=False, default=math.inf)
    """Time of a step in the last call of the engine; infinite = unknown."""
    evaluation_seconds: float | None = field(init=False, default=None)
    """Time of the last evaluation of this session, with its save; None = unknown."""

    def __post_init__(self) -> None:
        self.schedule = make_schedule(self.config.training, self.engine.batches)
        self.checkpoints = Checkpoints(self.folder, self.config, self.text, self.on_event)
        self._started = self.clock()

    @property
    def epochs(self) -> float:
        """Number of passes over the training text."""
        return self.schedule.epochs(self.state.step)

    @property
    def characters(self) -> int:
        """Number of characters read, over all epochs."""
        return self.state.step * self.schedule.batches.characters_per_step

    def run(self) -> End:
        """Train from the newest checkpoint, or from step 0, to the end of the session.

        Raises:
            CharlmError: Training has diverged, no checkpoint is undamaged or fits the config and
                the text, or a file cannot be read or written. The last checkpoint is then
                unchanged.

        """
        self.restore()
        for callback in self.callbacks:
            callback.on_start(self)
        if self.saved_step < 0:
            self.begin()
        self._started = self.clock() - self.state.elapsed_seconds
        while not (end := self.reason_to_end()):
            self.take_steps()
            if self.schedule.logs_at(self.state.step):
                self.log()
            if self.schedule.evaluates_at(self.state.step):
                self.evaluate()
            elif self.state.seconds - self.saved_seconds >= SAVE_SECONDS:
                self.save()
        self.finish(end)
        return end

    def restore(self) -> None:
        """Continue from the newest checkpoint, if there is one."""
        restored = self.checkpoints.restore(self.engine)
        if restored is not None:
            self.state, self.best = restored
            self.saved_step = self.state.step
            self.saved_seconds = self.state.seconds

    def begin(self) -> None:
        """Record step 0.

        A run that takes no steps, or begins with the weights of a model and has a validation text,
        is evaluated. Another run is saved if it keeps all checkpoints.
        """
        settings = self.config.training
        has_validation_text = self.text.validation is not None
        if settings.is_untrained and not has_validation_text:
            ids = self.text.training[:EVALUATED_CHARACTERS]
            with one_thread():
                score = self.engine.score(self.engine.parameters(), ids)
            self.state.train_nats = score.nats_per_char
        if settings.is_untrained or (settings.initial_weights is not None and has_validation_text):
            self.evaluate()
        elif settings.keep_checkpoints:
            self.save()

    def reason_to_end(self) -> End | None:
        """Return why the session ends at this step, or None."""
        if self.state.step >= self.schedule.total:
            reason = "all steps done" if self.state.step else "not trained: the run has no steps"
            return End("all steps", reason)
        reasons = (callback.reason_to_end(self) for callback in self.callbacks)
        return next(filter(None, reasons), None)

    def take_steps(self) -> None:
        """Take some steps, at most up to the next log entry, evaluation or epoch."""
        state = self.state
        count = max(1, int(SECONDS_PER_CALL / self.step_seconds))
        count = min(count, MAX_STEPS_PER_CALL, self.schedule.steps_to_next_event(state.step))
        epoch, window = self.schedule.place(state.step)
        positions = self.schedule.batches.positions(epoch=epoch, first=window, count=count)
        soft_targets = None
        if self.soft_targets is not None:
            soft_targets = np.asarray(self.soft_targets[positions[:, :-1]])
        metrics = self.engine.take_steps(
            np.asarray(self.text.training[positions], np.int32),
            self.schedule.rates(state.step, count),
            reset_state=window == 0,
            soft_targets=soft_targets,
        )
        state.step += count
        state.seconds += metrics.seconds
        state.pending_losses += metrics.losses
        state.elapsed_seconds = self.clock() - self._started
        self.step_seconds = max(1e-9, metrics.seconds / count)
        for callback in self.callbacks:
            callback.on_steps(self, metrics)

    def log(self) -> None:
        """Log the mean loss of the steps since the last entry, if there are any."""
        state = self.state
        if not state.pending_losses:
            return
        state.train_nats = float(np.mean(state.pending_losses))
        for callback in self.callbacks:
            callback.on_log(self)
        state.pending_losses = []

    def evaluate(self) -> None:
        """Evaluate the network, and save it."""
        started = self.clock()
        evaluation = evaluate_model(
            self.engine, self.model(), self.config, self.text, train_nats=self.state.train_nats
        )
        tolerance = 0.0
        if self.config.training.initial_weights is not None:
            tolerance = evaluation.score.rough_error
        nats = evaluation.score.nats_per_char
        if self.state.record_evaluation(nats, tolerance=tolerance):
            self.before_best, self.best = self.best, evaluation.score
        for callback in self.callbacks:
            callback.on_evaluation(self, evaluation)
        self.save(evaluation)
        self.evaluation_seconds = self.clock() - started

    def model(self) -> TrainedModel:
        """Return a copy of the present network, without a score."""
        return present_model(
            self.engine, self.config, self.text, step=self.state.step, epoch=self.epochs
        )

    def save(self, evaluation: Evaluation | None = None) -> None:
        """Save a checkpoint and the models, after an evaluation with its score."""
        for callback in self.callbacks:
            callback.on_save(self)
        model = self.model() if evaluation is None else evaluation.model
        self.checkpoints.save(self.engine, model, self.state)
        self.saved_step = self.state.step
        self.saved_seconds = self.state.seconds
        for callback in self.callbacks:
            callback.on_saved(self, evaluation)

    def finish(self, end: End) -> None:
        """Save the last step of this session, after an evaluation unless the run can go on."""
        state = self.state
        state.elapsed_seconds = self.clock() - self._started
        if end.kind != "signal" and state.evaluated_step != state.step:
            self.log()
            self.evaluate()
            state.elapsed_seconds = self.clock() - self._started
        elif self.saved_step != state.step:
            self.save()
