"""A run in progress: its steps, and the logs, evaluations and checkpoints between them.

The clock determines how steps are grouped into calls of the engine, but never their results. Losses
are checked one by one, so that the end of a diverged run is repeatable, too.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from charlm.evaluation.baselines import NGRAM
from charlm.evaluation.scoring import Difference, Score
from charlm.events import Evaluated, LengthChanged, Saved, StepsTaken
from charlm.network.model_file import TrainedModel
from charlm.runs.folder import CHECKPOINTS, CORPUS, checkpoint_name
from charlm.runs.run import Run, corpus_identity, write_config
from charlm.training import saving
from charlm.training.checkpoints import Progress
from charlm.training.evaluating import (
    DIVERGED,
    EVALUATED_CHARACTERS,
    DivergenceError,
    EvaluatedText,
    Evaluation,
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
"""Maximum number of steps in a call of the engine; more would not be faster."""
SECONDS_PER_CALL = 0.5
"""Longest time of a call with several steps, so that a signal is answered soon."""
SAVE_SECONDS = 60.0
"""Longest training time between two checkpoints."""


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
    """Loss of the last evaluation minus the best loss before it; None before the second
    evaluation."""
    best: Score | None = None
    """Score of the best model so far, or None."""
    saved: tuple[int, int] | None = None
    """Step and evaluated step of the last checkpoint."""
    saved_seconds: float = 0.0
    """Training time at the last checkpoint."""
    scoring_seconds: float = 0.0
    """Time of the last evaluation for its score and its sample."""
    is_recited: bool = False
    """Whether the last evaluated network recites its training text."""

    @property
    def epochs(self) -> float:
        """Number of passes over the training text."""
        return self.schedule.epochs_of(self.progress.characters)

    def next_count(self, *, step_seconds: float) -> int:
        """Return the number of steps for the next call, from 1 up to the next event.

        `step_seconds` is the time of a step in the last call; infinite = unknown.
        """
        count = min(MAX_STEPS_PER_CALL, max(1, int(SECONDS_PER_CALL / step_seconds)))
        return min(count, self.schedule.steps_to_next_event(self.progress.step))

    def take_steps(self, count: int) -> list[float]:
        """Take steps up to the next event; return the loss of each in nats per character.

        Raises:
            DivergenceError: The loss or the gradient norm of a step is not finite.

        """
        schedule, progress = self.schedule, self.progress
        first = progress.step
        batches, epoch, window = schedule.place(first)
        positions = batches.positions(epoch=epoch, first=window, count=count, rows=self.engine.rows)
        ids = self.run.corpus.split("train")[positions]
        soft_targets = None
        if self.soft_targets is not None:
            soft_targets = np.asarray(self.soft_targets[positions[:, :-1]])
        metrics = self.engine.take_steps(
            np.asarray(ids, np.int32),
            schedule.rates(first, count),
            reset_state=schedule.resets_state_at(first),
            soft_targets=soft_targets,
        )
        progress.step += count
        progress.characters += count * batches.characters_per_step
        progress.seconds += metrics.seconds
        progress.pending_losses += metrics.losses
        progress.last_norm = metrics.norms[-1]
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
        progress, schedule = self.progress, self.schedule
        if schedule.logs_at(progress.step):
            self._log_steps()
        if schedule.evaluates_at(progress.step):
            if progress.evaluated_step != progress.step:
                self.evaluate()
        elif self.engine.workers.share(progress.seconds - self.saved_seconds >= SAVE_SECONDS):
            self.save()  # every worker has a part of the state

    def record_start(self) -> None:
        """Evaluate step 0 of a run with initial weights or without steps, or save it if wanted."""
        settings = self.run.config.training
        has_validation_text = self.text.ids is not None
        if settings.is_untrained and not has_validation_text:
            self._score_training_text()
        has_initial_weights = settings.initial_weights is not None
        if settings.is_untrained or (has_initial_weights and has_validation_text):
            self._note_evaluation(self._evaluate(self.network()))
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
        """Evaluate and save; after a signal, only save: the resumed run will evaluate."""
        model = self.network()
        started = self.session.clock()
        try:
            with self.session.interruption.immediate():
                evaluation = self._evaluate(model)
        except Stopped:
            self.session.interruption.withstand()
            self.save(model)
            return
        self.scoring_seconds = self.session.clock() - started
        self._note_evaluation(evaluation)

    def _evaluate(self, model: TrainedModel) -> Evaluation:
        train_nats = self.progress.train_nats
        return evaluate(self.run, self.engine, model, self.text, train_nats=train_nats)

    def _note_evaluation(self, evaluation: Evaluation) -> None:
        """Log, show and save the results of an evaluation of the present network."""
        progress, text, model = self.progress, self.text, evaluation.model
        if self.run.config.training.until_recited:
            self.is_recited = recites(self.run, model)
            if self.is_recited:  # the best network, whatever its loss
                progress.best_nats = None
        score = evaluation.score
        if text.ids is not None:
            self.log.log(self._position("validation", score.nats_per_char))
        if self.best is not None:
            self.difference = score.minus(self.best)
        is_best = progress.compare(score.nats_per_char)
        if is_best:
            self.best = score
        with one_thread():
            show_evaluation(
                self.log,
                model,
                text.windows,
                weights=self.engine.weights(),
                ngram_nats=text.baseline_nats.get(NGRAM),
                sample=evaluation.sample,
            )
        progress.evaluated_step = progress.step
        self.save(model)
        has_train_nats = progress.step > 0 or text.ids is None
        event = Evaluated(
            step=progress.step,
            total=self.schedule.total,
            train_nats=progress.train_nats if has_train_nats else None,
            validation_nats=None if text.ids is None else score.nats_per_char,
            is_best=is_best,
            sample=evaluation.sample,
            left_seconds=self._left_seconds,
        )
        self.session.on_event(event)

    def change_length(self, steps: int, evaluations: int) -> None:
        """Change the length and evaluations of the run, and record that in its config.

        Raises:
            CharlmError: The config cannot be written.

        """
        before = self.schedule.total
        settings = self.run.config.training
        longer = settings.with_steps(steps).model_copy(update={"evaluations": evaluations})
        settings = longer.after(settings, at=self.progress.step, total=before)
        config = self.run.config.model_copy(update={"training": settings})
        self.run = replace(self.run, config=config)
        write_config(self.run.folder, config)
        self.schedule = make_schedule(settings, self.engine.batches)
        self.session.on_event(LengthChanged(before, steps))

    def network(self, *, score: Mapping[str, Any] | None = None) -> TrainedModel:
        """Return a copy of the present network; `score` has the form of a score in a model file."""
        facts: dict[str, Any] = {"step": self.progress.step, "epoch": self.epochs}
        facts[CORPUS] = corpus_identity(self.run.corpus)
        if score is not None:
            facts["score"] = score
        return TrainedModel(
            parameters=self.engine.parameters(),
            vocabulary=self.run.corpus.vocabulary,
            config=self.run.config.model_dump(mode="json"),
            facts=facts,
        )

    def save(self, model: TrainedModel | None = None) -> None:
        """Save the run with its present network, unless it is saved already."""
        progress = self.progress
        if self.saved == (progress.step, progress.evaluated_step):
            return
        saving.save(self.run, self.engine, self.log, model or self.network(), progress)
        self.note_saved()
        path = self.run.folder / CHECKPOINTS / checkpoint_name(progress.step)
        self.session.on_event(Saved(progress.step, path))

    def note_saved(self) -> None:
        """Record that the present state of the run is saved."""
        self.saved = self.progress.step, self.progress.evaluated_step
        self.saved_seconds = self.progress.seconds

    @property
    def _left_seconds(self) -> float:
        """Expected time for the rest of the run, with its evaluations."""
        done = self.progress.characters
        left = self.schedule.characters(self.schedule.total) - done
        return self.progress.elapsed_seconds / max(done, 1) * left

    def steps_taken(self, losses: Sequence[float]) -> StepsTaken:
        """Return the event after steps with the given losses in nats per character."""
        progress = self.progress
        return StepsTaken(
            step=progress.step,
            losses=tuple(losses),
            total=self.schedule.total,
            characters_per_second=progress.characters / max(progress.seconds, 1e-9),
            left_seconds=self._left_seconds,
        )

    def _log_steps(self) -> None:
        """Log the steps since the last line, if there are any."""
        progress = self.progress
        if not progress.pending_losses:
            return
        progress.train_nats = float(np.mean(progress.pending_losses))
        characters = progress.characters - progress.logged_characters
        seconds = max(progress.seconds - progress.logged_seconds, 1e-9)
        line = self._position("train", progress.train_nats)
        line["learning_rate"] = float(self.schedule.rates(progress.step - 1, 1)[0])
        line["gradient_norm"] = progress.last_norm
        line["characters_per_second"] = characters / seconds
        self.log.log(line)
        progress.pending_losses = []
        progress.logged_seconds = progress.seconds
        progress.logged_characters = progress.characters

    def _position(self, split: str, nats: float) -> dict[str, Any]:
        """Return the fields that every line of metrics.jsonl has."""
        progress = self.progress
        return {
            "step": progress.step,
            "epoch": self.epochs,
            "characters": progress.characters,
            "seconds": progress.seconds,
            "split": split,
            "nats_per_char": nats,
        }
