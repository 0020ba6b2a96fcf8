"""A run in progress: how far it is, the steps that it takes, and what is recorded of it between them.

How steps are grouped into calls of the engine depends on the clock; what they compute does not. Losses are checked one
by one, so that this is repeatable too. Training losses are logged; at an evaluation, the network is
scored, shown and saved.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from charlm.evaluation.baselines import NGRAM
from charlm.evaluation.scoring import Difference, Score
from charlm.events import Evaluated, LengthChanged, Saved, StepsTaken
from charlm.network.model_file import TrainedModel
from charlm.runs.folder import CHECKPOINTS, checkpoint_name
from charlm.runs.run import Run, write_config
from charlm.training import saving
from charlm.training.checkpoints import Progress
from charlm.training.evaluating import (
    DIVERGED,
    EVALUATED_CHARACTERS,
    DivergenceError,
    EvaluatedText,
    evaluate,
    one_thread,
    recites,
)
from charlm.training.interface import Engine
from charlm.training.logs import RunLog, show_evaluation
from charlm.training.schedule import Schedule, make_schedule
from charlm.training.session import Session
from charlm.training.signals import Stopped
from charlm.training.soft_targets import SoftTargets

MAX_STEPS_PER_CALL = 10
"""The most steps in one call of the engine: more would save no time."""
SECONDS_PER_CALL = 0.5
"""If a call would take longer than this, it gets fewer steps, so that a signal is answered soon."""
SAVE_SECONDS = 60.0
"""The training between two checkpoints, at most."""


@dataclass
class ActiveRun:
    """A run in progress."""

    run: Run
    engine: Engine
    schedule: Schedule
    session: Session
    text: EvaluatedText
    soft_targets: SoftTargets | None
    log: RunLog
    progress: Progress
    difference: Difference | None = None
    """How the last evaluation differs from the best one before it; None before the second evaluation."""
    best: Score | None = None
    """The score of the best model so far; None = there is none."""
    saved: tuple[int, int] | None = None
    """The step and the evaluated step of the last checkpoint."""
    saved_seconds: float = 0.0
    """How long the run had trained then."""
    scoring_seconds: float = 0.0
    """How long the last evaluation took to score the text and to generate one."""
    is_recited: bool = False
    """Whether the last network that was evaluated recites its training text."""

    def next_count(self, *, step_seconds: float) -> int:
        """Return how many steps the next call of the engine takes: 1 or more, at most up to the next event.

        Args:
            step_seconds: How long one of the last call took; infinite = that is not known yet.

        """
        most = min(MAX_STEPS_PER_CALL, max(1, int(SECONDS_PER_CALL / step_seconds)))
        return min(most, self.schedule.steps_to_next_event(self.progress.step))

    def take_steps(self, count: int) -> list[float]:
        """Take steps, and count them in `progress`; return the loss of each in nats per character.

        Args:
            count: What `next_count` has returned, here or on the machine that decides.

        Raises:
            DivergenceError: the loss or the gradient norm of one of these steps is not finite.

        """
        corpus, schedule, progress, soft = (
            self.run.corpus,
            self.schedule,
            self.progress,
            self.soft_targets,
        )
        first = progress.step
        batches, epoch, window = schedule.place(first)
        positions = batches.positions(epoch=epoch, first=window, count=count, rows=self.engine.rows)
        ids = corpus.split("train")[positions]
        metrics = self.engine.take_steps(
            np.asarray(ids, np.int32),
            schedule.rates(first, count),
            reset_state=schedule.resets_state_at(first),
            soft_targets=None if soft is None else np.asarray(soft[positions[:, :-1]]),
        )
        progress.step += count
        progress.characters += count * batches.characters_per_step
        progress.seconds += metrics.seconds
        progress.pending_losses += metrics.losses
        progress.last_norm = metrics.norms[-1]
        for step, (loss, norm) in enumerate(
            zip(metrics.losses, metrics.norms, strict=True), first + 1
        ):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise DivergenceError(
                    f"the loss is {loss} and the gradient norm {norm} at step {step:,}: {DIVERGED}"
                )
        return metrics.losses

    def record(self) -> None:
        """Log, evaluate and save if it is due at this step and not done yet.

        Raises:
            CharlmError: training has diverged, or a file cannot be read or written.

        """
        progress = self.progress
        if self.schedule.logs_at(progress.step):
            self._log_steps()
        if self.schedule.evaluates_at(progress.step):
            if progress.evaluated_step != progress.step:
                self.evaluate()
        elif self.engine.workers.share(progress.seconds - self.saved_seconds >= SAVE_SECONDS):
            self.save()  # every worker has a part of the state

    def record_start(self) -> None:
        """Evaluate step 0 if no step follows or its weights are another model's, else save it if all steps are kept."""
        settings = self.run.config.training
        if settings.is_untrained and self.text.ids is None:
            self._score_training_text()
        if settings.is_untrained or (
            settings.initial_weights is not None and self.text.ids is not None
        ):
            self._note_evaluation(*self._evaluate(self.network()))
        elif settings.keep_checkpoints:
            self.save()

    def _score_training_text(self) -> None:
        """Log the training loss of a network that takes no step."""
        ids = self.run.corpus.split("train", at_most=EVALUATED_CHARACTERS)
        with one_thread():
            score = self.engine.score(self.network().parameters, ids)
        self.progress.train_nats = score.nats_per_char
        self.log.log(self._position("train", score.nats_per_char))

    def evaluate(self) -> None:
        """Evaluate and save; after a signal, leave the evaluation to the resumed run."""
        model = self.network()
        started = self.session.clock()
        try:
            with self.session.interruption.at_once():
                found = self._evaluate(model)
        except Stopped:
            self.session.interruption.withstand()
            return self.save(model)
        self.scoring_seconds = self.session.clock() - started
        self._note_evaluation(*found)

    def _evaluate(self, model: TrainedModel) -> tuple[Score, TrainedModel, str]:
        """Return what `evaluate` returns for the present network."""
        return evaluate(
            self.run, self.engine, model, self.text, train_nats=self.progress.train_nats
        )

    def _note_evaluation(self, score: Score, model: TrainedModel, sample: str) -> None:
        """Log, show and save what an evaluation of the present network has found."""
        progress, text = self.progress, self.text
        if self.run.config.training.until_recited:
            self.is_recited = recites(self.run, model)
            if self.is_recited:
                progress.best_nats = (
                    None  # the network that recites the text is the best, whatever its loss is
                )
        is_best = self._note_score(score)
        ngram_nats = text.baseline_nats.get(NGRAM)
        with one_thread():
            weights = self.engine.weights()
            show_evaluation(
                self.log, model, text.windows, weights=weights, ngram_nats=ngram_nats, sample=sample
            )
        progress.evaluated_step = progress.step
        self.save(model)
        self.session.on_event(self._evaluated(score, is_best=is_best, sample=sample))

    def change_length(self, steps: int, evaluations: int) -> None:
        """Give the run another length from here on, and record that in its config.

        Args:
            steps: The length of the whole run, more than the steps taken.
            evaluations: The evaluations of the whole run.

        Raises:
            CharlmError: the config cannot be written.

        """
        before = self.schedule.total
        settings = self.run.config.training
        longer = settings.with_steps(steps).model_copy(update={"evaluations": evaluations})
        settings = longer.after(settings, at=self.progress.step, total=before)
        self.run = replace(
            self.run, config=self.run.config.model_copy(update={"training": settings})
        )
        write_config(self.run.folder, self.run.config)
        self.schedule = make_schedule(settings, self.engine.batches)
        self.session.on_event(LengthChanged(before, steps))

    def network(self) -> TrainedModel:
        """Return a copy of the present network, without a score."""
        return saving.network(self.run, self.engine, self.schedule, self.progress)

    def save(self, model: TrainedModel | None = None) -> None:
        """Save the run with its present network, unless nothing has happened since it was saved."""
        if self.saved != (self.progress.step, self.progress.evaluated_step):
            saving.save(self.run, self.engine, self.log, model or self.network(), self.progress)
            self.note_saved()
            path = self.run.folder / CHECKPOINTS / checkpoint_name(self.progress.step)
            self.session.on_event(Saved(self.progress.step, path))

    def note_saved(self) -> None:
        """Note that the run is saved as it is."""
        self.saved = self.progress.step, self.progress.evaluated_step
        self.saved_seconds = self.progress.seconds

    @property
    def left_seconds(self) -> float:
        """Expected time for the rest of the run, evaluations included."""
        done = self.progress.characters
        left = self.schedule.characters(self.schedule.total) - done
        return self.progress.elapsed_seconds / max(done, 1) * left

    def steps_taken(self, losses: Sequence[float]) -> StepsTaken:
        """Return the event after some steps.

        Args:
            losses: The loss of each of these steps, in nats per character.

        """
        progress = self.progress
        return StepsTaken(
            step=progress.step,
            losses=tuple(losses),
            total=self.schedule.total,
            characters_per_second=progress.characters / max(progress.seconds, 1e-9),
            left_seconds=self.left_seconds,
        )

    def _evaluated(self, score: Score, *, is_best: bool, sample: str) -> Evaluated:
        """Return the event after an evaluation."""
        progress = self.progress
        has_train_nats = progress.step > 0 or self.text.ids is None
        return Evaluated(
            step=progress.step,
            total=self.schedule.total,
            train_nats=progress.train_nats if has_train_nats else None,
            validation_nats=None if self.text.ids is None else score.nats_per_char,
            is_best=is_best,
            sample=sample,
            left_seconds=self.left_seconds,
        )

    def _log_steps(self) -> None:
        """Log the steps since the last line, if there are any."""
        progress, schedule = self.progress, self.schedule
        if not progress.pending_losses:
            return
        progress.train_nats = float(np.mean(progress.pending_losses))
        characters = progress.characters - progress.logged_characters
        self.log.log(
            {
                **self._position("train", progress.train_nats),
                "learning_rate": float(schedule.rates(progress.step - 1, 1)[0]),
                "gradient_norm": progress.last_norm,
                "characters_per_second": characters
                / max(progress.seconds - progress.logged_seconds, 1e-9),
            }
        )
        progress.pending_losses = []
        progress.logged_seconds = progress.seconds
        progress.logged_characters = progress.characters

    def _note_score(self, score: Score) -> bool:
        """Log the score of this step, and return whether it is the best so far."""
        if self.text.ids is not None:
            self.log.log(self._position("validation", score.nats_per_char))
        if self.best is not None:
            self.difference = score.minus(self.best)
        is_best = self.progress.compare(score.nats_per_char)
        if is_best:
            self.best = score
        return is_best

    def _position(self, split: str, nats: float) -> dict[str, Any]:
        """Return the fields that every line of metrics.jsonl has."""
        progress = self.progress
        return {
            "step": progress.step,
            "epoch": self.schedule.epochs_of(progress.characters),
            "characters": progress.characters,
            "seconds": progress.seconds,
            "split": split,
            "nats_per_char": nats,
        }
