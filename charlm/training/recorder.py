"""What happens between the steps of a run: it is logged, evaluated and saved when that is due."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.runs.run import Run
from charlm.text.batches import Batches
from charlm.training.advice import advise_on_end, advise_on_rate
from charlm.training.allowance import Allowance
from charlm.training.display import Say, describe_evaluation, line_columns
from charlm.training.engine import Engine
from charlm.training.outputs import RunOutputs
from charlm.training.progress import Progress
from charlm.training.samples import WrittenSample
from charlm.training.schedule import Schedule
from charlm.training.signals import Stopped, StopRequest
from charlm.training.step_change import StepChange
from charlm.training.text_report import TextReport
from charlm.training.validation import Validation, Validator
from charlm.training.viewer import Viewer, input_rows

OnEvaluation = Callable[[Progress, float], object]
"""Is called after an evaluation with the progress and the loss that decides which network is the best, in nats per
character: that on the validation text, or the training loss if there is no such text."""


def ignore_evaluation(_progress: Progress, _nats: float) -> None:
    """Do nothing after an evaluation."""


class Recorder:
    """Logs, evaluates and saves a run, and records that in its progress.

    Every method raises CharlmError if a file cannot be written, and DivergenceError if a weight to save is not finite.

    Args:
        run: Its folder, config and corpus.
        engine: The network in training.
        batches: How the training text is cut into windows.
        schedule: When something is due.
        rates: Returns the learning rates of steps, see `charlm.training.steps.StepRunner.rates`.
        last_change: Returns what the last step before the last evaluation did, or None.
        request: The stop request of a `stop_on_signal` block; a signal cuts an evaluation short.
        say: Called with each line for the user.
        on_evaluation: Called after each evaluation.

    """

    def __init__(
        self,
        run: Run,
        engine: Engine,
        batches: Batches,
        schedule: Schedule,
        *,
        rates: Callable[[Progress, int, int], NDArray[np.float32]],
        last_change: Callable[[], StepChange | None],
        request: StopRequest,
        say: Say,
        on_evaluation: OnEvaluation,
    ) -> None:
        self._corpus, self._engine, self._batches, self._schedule = run.corpus, engine, batches, schedule
        self._rates, self._request, self._say, self._on_evaluation = rates, request, say, on_evaluation
        self._max_minutes = run.config.training.max_minutes
        self._last_change = last_change
        self.validator = Validator(run)
        self._allowance = Allowance()
        self.report = TextReport(run.corpus, self.validator.validation)
        self._viewer = Viewer(run, self.validator.validation, self.report)
        self._advised_on_rate = False
        self.sample: WrittenSample | None = None
        """The text that the network of the last evaluation has written."""
        self.outputs = RunOutputs(
            run, engine, steps_per_epoch=batches.steps_per_epoch, split=self.validator.split, warn=say
        )
        self._saved: tuple[int, int, int] | None = None
        """The step, the evaluated step and the number of rollbacks of the last checkpoint."""

    def record_start(self, progress: Progress) -> None:
        """Log and say what a network that begins with the weights of another model scores before the first step."""
        nats = self.validator.score(self.outputs.bundle(progress))
        if nats is not None:
            self.outputs.logs.log(self._position(progress, "validation", nats))
            self._say(f"step 0: validation {nats:.3f} nats")

    def record_due(self, progress: Progress) -> None:
        """Log, evaluate and save if it is due at this step and not done yet."""
        if self._schedule.logs_at(progress.step):
            self._log(progress)
        if self._schedule.evaluates_at(progress.step):
            self._evaluate(progress)
        if self._schedule.saves_at(progress.step):
            self._save(progress)

    def finish(self, progress: Progress, *, is_stopped: bool) -> None:
        """Save the end of a run; unless a signal has stopped it, evaluate it as well.

        If the clock has ended the run between two evaluations, it is evaluated once more, and may become best/. This
        comes after the checkpoint, so that a run resumed from it does not depend on the clock.
        """
        self._save(progress)
        if not is_stopped:
            self._log(progress)
            self._evaluate(progress)
            self.outputs.logs.end(progress.step)
            for line in advise_on_end(progress, split=self.validator.split):
                self._say(line)

    def _save(self, progress: Progress) -> None:
        state = progress.step, progress.evaluated_step, len(progress.rollbacks)
        if state != self._saved:
            self.outputs.save(progress)
            self._saved = state

    def _log(self, progress: Progress) -> None:
        """Log the steps since the last line, if there are any."""
        if not progress.pending_losses:
            return
        progress.train_nats = float(np.mean(progress.pending_losses))
        characters = len(progress.pending_losses) * self._batches.characters_per_step
        seconds = progress.seconds - progress.logged_seconds
        self.outputs.logs.log(
            {
                **self._position(progress, "train", progress.train_nats),
                "learning_rate": float(self._rates(progress, progress.step - 1, 1)[0]),
                "gradient_norm": progress.last_norm,
                "characters_per_second": characters / max(seconds, 1e-9),
            }
        )
        progress.pending_losses = []
        progress.logged_seconds = progress.seconds

    def _evaluate(self, progress: Progress) -> None:
        """Evaluate if that was not done at this step; after a signal, leave it to the resumed run."""
        step = progress.step
        if progress.evaluated_step == step:
            return
        self._corpus.check_size()
        try:
            with self._request.at_once():
                validation = self.validator.evaluate(self.outputs.bundle(progress))
        except Stopped:
            return
        nats = validation.nats_per_char
        if nats is not None:
            self.outputs.logs.log(self._position(progress, "validation", nats))
        score = progress.train_nats if nats is None else nats
        is_best = self.validator.update_best(score, progress)
        if is_best:
            self.outputs.save_best(progress, is_extra=not self._schedule.evaluates_at(step))
        self._show(validation, progress)
        progress.evaluated_step, self.sample = step, validation.sample
        self._say(
            describe_evaluation(
                progress,
                schedule=self._schedule,
                validation_nats=nats,
                is_best=is_best,
                max_minutes=self._max_minutes,
                sample="" if validation.sample is None else validation.sample.text,
                columns=line_columns(),
            )
        )
        self._advise_on_rate(progress)
        self._on_evaluation(progress, score)

    def _advise_on_rate(self, progress: Progress) -> None:
        """Say once that the learning rate is still high, if it will fall; not before a tenth of the steps."""
        step, total = progress.step, self._schedule.total
        if self._advised_on_rate or not total / 10 <= step < total:
            return
        rate, last = (float(self._rates(progress, at, 1)[0]) for at in (step, total - 1))
        if advice := advise_on_rate(rate, last):
            self._say(advice)
        self._advised_on_rate = True

    def _show(self, validation: Validation, progress: Progress) -> None:
        """Show TensorBoard what the network of an evaluation is like; details only as far as they cost little time.

        The details of the first evaluation and of the last are always shown.
        """
        logs, step, change = self.outputs.logs, progress.step, self._last_change()
        is_known = change is not None and change.step == step
        logs.show_weights(self._engine.weights(), step=step)
        logs.show(
            self._viewer.summary(
                sample=validation.sample, change=change if is_known else None, best_nats=progress.best_nats
            ),
            step=step,
        )
        if step >= self._schedule.total or self._allowance.allows(progress.seconds):
            with self._allowance.spend():
                bundle = self.outputs.bundle(progress)
                texts = [
                    self.validator.sample(bundle, temperature=other) for other in self.validator.other_temperatures
                ]
                logs.show(self._viewer.details(bundle.parameters, [text for text in texts if text]), step=step)
                logs.show_characters(input_rows(bundle.parameters))

    def _position(self, progress: Progress, split: str, nats: float) -> dict[str, Any]:
        return {
            "step": progress.step,
            "epoch": progress.step / self._batches.steps_per_epoch,
            "characters": progress.step * self._batches.characters_per_step,
            "seconds": progress.seconds,
            "split": split,
            "nats_per_char": nats,
        }
