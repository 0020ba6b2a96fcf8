"""The training loop: steps alternate with logs, evaluations and checkpoints.

A step never depends on the clock or on the grouping of steps into calls of the engine. A run is
therefore repeatable to the bit, however often it is interrupted and resumed. A time limit may end
it early.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from signal import Signals
from typing import Any

import numpy as np

from charlm.config.file import dump_config
from charlm.core.checkpoints import (
    LoopState,
    check_is_new,
    remove_later,
    restore_run,
    save_run,
)
from charlm.core.engine import Engine
from charlm.core.evaluating import (
    DIVERGED,
    EVALUATED_CHARACTERS,
    DivergenceError,
    EvaluatedNetwork,
    EvaluatedText,
    evaluate_network,
    network_of,
    one_thread,
)
from charlm.core.model_file import TrainedModel
from charlm.core.schedule import Schedule, make_schedule
from charlm.core.scoring import Score
from charlm.errors import CharlmError
from charlm.events import Ended, Evaluated, Saved, Started, StepsTaken
from charlm.measures.baselines import NGRAM
from charlm.runs.folder import CHECKPOINTS, checkpoint_name, saved_steps
from charlm.runs.logs import RunLog, show_evaluation
from charlm.runs.run import Outcome, Run
from charlm.runs.session import Session
from charlm.runs.soft_targets import SoftTargets
from charlm.runs.temperature import set_temperature
from charlm.runs.timing import TimeLimit
from charlm.storage import Lock
from charlm.wording import as_argument

MAX_STEPS_PER_CALL = 10
"""Maximum number of steps in a call of the engine; more would not be faster."""
SECONDS_PER_CALL = 0.5
"""Longest time of a call with several steps, so that a signal is answered soon."""
SAVE_SECONDS = 60.0
"""Longest training time between two checkpoints."""
ALL_STEPS, TIME_LIMIT = "all steps done", "time limit"
"""Reasons why a run ends that could have gone on."""


@dataclass
class Training:
    """A run in progress.

    The clock determines how steps are grouped into calls of the engine, but never their results.
    Losses are checked one by one, so that the end of a diverged run is repeatable, too.
    """

    run: Run
    lock: Lock
    engine: Engine
    schedule: Schedule
    session: Session
    text: EvaluatedText
    soft_targets: SoftTargets | None
    log: RunLog
    state: LoopState
    limit: TimeLimit | None = None
    best: Score | None = None
    """Score of the best model so far, or None."""
    saved_step: int = -1
    """Step of the last checkpoint; -1 = none."""
    saved_seconds: float = 0.0
    """Training time at the last checkpoint."""

    @property
    def epochs(self) -> float:
        """Number of passes over the training text."""
        return self.schedule.epochs(self.state.step)

    @property
    def characters(self) -> int:
        """Number of characters read, over all epochs."""
        return self.state.step * self.schedule.batches.characters_per_step

    def next_count(self, *, step_seconds: float) -> int:
        """Return the number of steps for the next call, from 1 up to the next event.

        `step_seconds` is the time of a step in the last call; infinite = unknown.
        """
        count = min(MAX_STEPS_PER_CALL, max(1, int(SECONDS_PER_CALL / step_seconds)))
        return min(count, self.schedule.steps_to_next_event(self.state.step))

    def take_steps(self, count: int) -> list[float]:
        """Take steps up to the next event; return the loss of each in nats per character.

        Raises:
            DivergenceError: The loss or the gradient norm of a step is not finite.

        """
        state, batches = self.state, self.schedule.batches
        first = state.step
        epoch, window = self.schedule.place(first)
        positions = batches.positions(epoch=epoch, first=window, count=count)
        ids = self.run.corpus.split("train")[positions]
        soft_targets = None
        if self.soft_targets is not None:
            soft_targets = np.asarray(self.soft_targets[positions[:, :-1]])
        metrics = self.engine.take_steps(
            np.asarray(ids, np.int32),
            self.schedule.rates(first, count),
            reset_state=window == 0,
            soft_targets=soft_targets,
        )
        state.step += count
        state.seconds += metrics.seconds
        state.pending_losses += metrics.losses
        state.last_norm = metrics.norms[-1]
        steps = zip(metrics.losses, metrics.norms, strict=True)
        for step, (loss, norm) in enumerate(steps, first + 1):
            if not math.isfinite(loss) or not math.isfinite(norm):
                raise DivergenceError(
                    f"the loss is {loss} and the gradient norm {norm} at step {step:,}: {DIVERGED}"
                )
        return metrics.losses

    def record(self) -> None:
        """Log, evaluate and save, each if it is due at this step.

        Raises:
            CharlmError: Training has diverged, or a file cannot be read or written.

        """
        state, schedule = self.state, self.schedule
        if schedule.logs_at(state.step):
            self.log_steps()
        if schedule.evaluates_at(state.step):
            if state.evaluated_step != state.step:
                self.evaluate()
        elif state.seconds - self.saved_seconds >= SAVE_SECONDS:
            self.save()

    def record_start(self) -> None:
        """Evaluate step 0 of a run with initial weights or without steps, or save it if wanted."""
        settings = self.run.config.training
        has_validation_text = self.text.ids is not None
        if settings.is_untrained and not has_validation_text:
            ids = self.run.corpus.split("train", at_most=EVALUATED_CHARACTERS)
            with one_thread():
                score = self.engine.score(self.engine.parameters(), ids)
            self.state.train_nats = score.nats_per_char
            self.log.log(self._position("train", score.nats_per_char))
        has_initial_weights = settings.initial_weights is not None
        if settings.is_untrained or (has_initial_weights and has_validation_text):
            self.evaluate()
        elif settings.keep_checkpoints:
            self.save()

    def evaluate(self) -> None:
        """Evaluate the network, log and show the results, and save the run.

        Raises:
            CharlmError: Training has diverged, or a file cannot be read or written.

        """
        state, text = self.state, self.text
        started = self.session.clock()
        evaluation = evaluate_network(
            self.engine, self.network(), text, config=self.run.config, train_nats=state.train_nats
        )
        score = evaluation.score
        if text.ids is not None:
            self.log.log(self._position("validation", score.nats_per_char))
        is_best = state.record_evaluation(score.nats_per_char)
        if is_best:
            self.best = score
        with one_thread():
            show_evaluation(
                self.log,
                evaluation,
                weights=self.engine.weights(),
                ngram_nats=None if text.ngram is None else text.ngram.nats_per_char,
            )
        self.save(evaluation.model)
        if self.limit is not None:
            self.limit.evaluation_seconds = self.session.clock() - started
        self._report(evaluation, is_best=is_best)

    def _report(self, evaluation: EvaluatedNetwork, *, is_best: bool) -> None:
        state, has_validation_text = self.state, self.text.ids is not None
        has_train_nats = state.step > 0 or not has_validation_text
        event = Evaluated(
            step=state.step,
            total=self.schedule.total,
            train_nats=state.train_nats if has_train_nats else None,
            validation_nats=evaluation.score.nats_per_char if has_validation_text else None,
            is_best=is_best,
            sample=evaluation.sample,
            left_seconds=self._left_seconds,
        )
        self.session.on_event(event)

    def network(self) -> TrainedModel:
        """Return a copy of the present network, without a score."""
        return network_of(
            self.engine,
            self.run.config,
            self.run.corpus,
            step=self.state.step,
            epoch=self.epochs,
        )

    def save(self, model: TrainedModel | None = None) -> None:
        """Save the run with its present network, whose score is in `model` after an evaluation.

        Raises:
            CharlmError: The folder is not the one that this process has locked, or a file cannot be
                written.

        """
        self.lock.check(self.run.folder)
        try:
            self.log.write()
            save_run(self.run, self.engine, model or self.network(), self.state)
        except DivergenceError:
            raise
        except CharlmError:
            if self.saved_step >= 0:
                run = as_argument(self.run.folder)
                self.session.note(
                    f"{self.run.folder}: saved up to step {self.saved_step:,}; continue with: "
                    f"charlm train --resume -r {run}"
                )
            raise
        self.saved_step = self.state.step
        self.saved_seconds = self.state.seconds
        path = self.run.folder / CHECKPOINTS / checkpoint_name(self.state.step)
        self.session.on_event(Saved(self.state.step, path))

    @property
    def _left_seconds(self) -> float:
        """Expected time for the rest of the run, with its evaluations."""
        left = self.schedule.total - self.state.step
        return self.state.elapsed_seconds / max(self.state.step, 1) * left

    def steps_taken(self, losses: Sequence[float]) -> StepsTaken:
        """Return the event after steps with the given losses in nats per character."""
        return StepsTaken(
            step=self.state.step,
            losses=tuple(losses),
            total=self.schedule.total,
            characters_per_second=self.characters / max(self.state.seconds, 1e-9),
            left_seconds=self._left_seconds,
        )

    def log_steps(self) -> None:
        """Log the steps since the last line, if there are any."""
        state = self.state
        if not state.pending_losses:
            return
        state.train_nats = float(np.mean(state.pending_losses))
        steps = state.step - state.logged_step
        seconds = max(state.seconds - state.logged_seconds, 1e-9)
        line = self._position("train", state.train_nats)
        line["learning_rate"] = float(self.schedule.rates(state.step - 1, 1)[0])
        line["gradient_norm"] = state.last_norm
        line["characters_per_second"] = steps * self.schedule.batches.characters_per_step / seconds
        self.log.log(line)
        state.pending_losses = []
        state.logged_seconds = state.seconds
        state.logged_step = state.step

    def _position(self, split: str, nats: float) -> dict[str, Any]:
        """Return the fields that every line of metrics.jsonl has."""
        state = self.state
        return {
            "step": state.step,
            "epoch": self.epochs,
            "characters": self.characters,
            "seconds": state.seconds,
            "split": split,
            "nats_per_char": nats,
        }


def run_loop(
    run: Run,
    engine: Engine,
    *,
    lock: Lock,
    session: Session,
    text: EvaluatedText,
    soft_targets: SoftTargets | None,
    limit: TimeLimit | None = None,
) -> Outcome:
    """Train from the newest checkpoint, or from step 0, to the end of the run or a signal.

    Args:
        run: The run.
        lock: The lock of its folder, which this process holds.
        engine: The engine, in its first state.
        session: The caller's side, in a `stop_on_signal` block.
        text: Text that the evaluations read.
        soft_targets: Soft targets of the run; None if it has none.
        limit: Time limit; None = the run takes all its steps.

    Raises:
        CharlmError: Training has diverged, no checkpoint is undamaged or fits the config and the
            text, or a file cannot be read or written. The last checkpoint is then unchanged.
        Stopped: A second signal arrived.

    """
    schedule = make_schedule(run.config.training, engine.batches)
    log = RunLog(run.folder)
    training = Training(
        run, lock, engine, schedule, session, text, soft_targets, log, LoopState(), limit
    )
    with session.interruption.deferred():
        if saved_steps(run.folder / CHECKPOINTS):
            training.state, training.best = restore_run(run, engine, session=session)
            training.saved_step = training.state.step
            training.saved_seconds = training.state.seconds
        else:
            check_is_new(run)
            remove_later(run, -1)
        session.on_event(Started(run.folder, training.state.step, schedule.total))
        if training.saved_step < 0:
            log.show_text("config", dump_config(run.config), step=0)
            training.record_start()
        reason, signal = _take_all_steps(training)
        temperature = None if signal else _choose_temperature(training)
        outcome = _outcome(training, reason=reason, signal=signal, temperature=temperature)
    if signal is None:
        lock.check(run.folder)
        outcome.write()
    session.on_event(Ended(run.folder, reason, training.state.step))
    return outcome


def _take_all_steps(training: Training) -> tuple[str, Signals | None]:
    """Take steps until the run ends, and save it; return why it ends, and the signal that ends it.

    Raises:
        CharlmError: Training has diverged, or a file cannot be read or written.
        Stopped: A second signal arrived.

    """
    state, session = training.state, training.session
    started = session.clock() - state.elapsed_seconds
    step_seconds = math.inf
    while True:
        training.record()
        reason = _reason_to_end(training, step_seconds=step_seconds)
        signal = session.interruption.signal
        if reason or signal:
            state.elapsed_seconds = session.clock() - started
            _save_last_step(training, has_ended=reason is not None)
            if reason is None:
                assert signal is not None
                return f"stopped by {signal.name}", signal
            state.elapsed_seconds = session.clock() - started  # with the last evaluation
            return reason, None
        count = training.next_count(step_seconds=step_seconds)
        seconds = state.seconds
        losses = training.take_steps(count)
        step_seconds = max(1e-9, (state.seconds - seconds) / count)
        state.elapsed_seconds = session.clock() - started
        session.on_event(training.steps_taken(losses))


def _save_last_step(training: Training, *, has_ended: bool) -> None:
    """Save the last step of this session, after an evaluation if the run has ended."""
    if has_ended and training.state.evaluated_step != training.state.step:
        training.log_steps()
        training.evaluate()
    elif training.saved_step != training.state.step:
        training.save()


def _reason_to_end(training: Training, *, step_seconds: float) -> str | None:
    """Return why the run ends at this step for good, or None."""
    state, settings, limit = training.state, training.run.config.training, training.limit
    if state.evaluated_step == state.step >= training.schedule.total:
        return ALL_STEPS if state.step else "not trained: the run has no steps"
    has_logged = not state.pending_losses and state.step > 0
    if settings.target_loss is not None and has_logged and state.train_nats < settings.target_loss:
        return f"the training loss is below {settings.target_loss:g}"
    patience = settings.early_stopping
    if patience is not None and state.evaluations_without_best >= patience:
        return f"no new best in {patience} evaluations"
    if limit is None or step_seconds == math.inf:
        return None
    return TIME_LIMIT if limit.is_near(step_seconds=step_seconds) else None


def _choose_temperature(training: Training) -> float | None:
    """Choose the temperature of a finished run, and write it to its models.

    The result is None if the user has set the temperature, or if there is no model.
    """
    run, limit = training.run, training.limit
    if training.state.best_nats is None or not run.config.sampling.chooses_temperature:
        return None
    is_over = (lambda: False) if limit is None else limit.is_over
    return set_temperature(run, training.lock, is_over=is_over)


def _outcome(
    training: Training, *, reason: str, signal: Signals | None, temperature: float | None
) -> Outcome:
    """Return the outcome of a training run."""
    run, state, text, best = training.run, training.state, training.text, training.best
    is_last = state.best_step == state.step > 0 and reason in {ALL_STEPS, TIME_LIMIT}
    is_reliable = text.ids is not None and not text.is_short  # the training loss falls anyway
    facts = {
        "recipe": run.config.recipe,
        "epochs": training.epochs,
        "seconds": state.seconds,
        "elapsed_seconds": state.elapsed_seconds,
        "nats_per_char": state.best_nats,
        "standard_error": None if best is None else best.standard_error,
        "best_step": state.best_step,
        "split": text.split,
        "temperature": temperature,
        "baselines": {} if text.ngram is None else {NGRAM: text.ngram.nats_per_char},
    }
    return Outcome(
        folder=run.folder,
        reason=reason,
        step=state.step,
        facts=facts,
        measured_on=text.measured_on,
        signal=signal,
        is_uncertain=text.is_short and state.best_step not in {0, state.step},
        is_improving=is_last and training.schedule.evaluations > 1 and is_reliable,
    )
