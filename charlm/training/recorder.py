"""What happens between the steps of a run: it is logged, evaluated and saved when that is due."""

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from charlm.evaluation.baselines import COMPRESSOR, MAX_TRAINING_CHARACTERS, baseline_nats
from charlm.evaluation.scoring import Difference, Score, estimate_stream
from charlm.network.model_file import TrainedModel
from charlm.runs.run import Run
from charlm.sampling.generation import TextRequest, generate_text
from charlm.sampling.sampler import Sampler
from charlm.training.checkpoints import Progress
from charlm.training.display import advise_on_end, describe_evaluation, line_columns
from charlm.training.events import NGRAM, choose_windows, views_of
from charlm.training.interface import Engine
from charlm.training.outputs import RunOutputs
from charlm.training.schedule import Schedule
from charlm.training.signals import Session, Stopped
from charlm.training.steps import DivergenceError

EVALUATED_CHARACTERS = 200_000
"""How much of the validation text an evaluation during training reads, at most."""
SAVE_SECONDS = 60.0
"""The training between two checkpoints, at most."""


class Validator:
    """Evaluates the network of a run without changing it.

    Args:
        run: Its config and corpus.

    """

    def __init__(self, run: Run) -> None:
        self.run, self.config = run, run.config
        ids = run.corpus.split("validation", at_most=EVALUATED_CHARACTERS)
        self.validation = ids if len(ids) > 1 else None
        """The ids of the validation text, integers [n]; None if there are fewer than 2."""
        self.split = "train" if self.validation is None else "validation"
        """The text that the best score is measured on: validation, or train if there is no validation text."""
        is_part = self.validation is not None and len(ids) < len(run.corpus.split("validation"))
        self.measured_on = (
            f"the first {len(ids):,} characters of the validation text" if is_part else f"the {self.split} text"
        )
        """The same for the user: which text, and how much of it if not all."""

    def score(self, model: TrainedModel) -> Score | None:
        """Return the score of the validation text; None if there is no such text."""
        if self.validation is None:
            return None
        with np.errstate(all="ignore"):  # weights that are too large give a score that is not finite
            return estimate_stream(model.parameters, self.validation)

    @cached_property
    def baseline_nats(self) -> Mapping[str, float]:
        """What simple models score on the validation text, in nats per character; empty if there is no such text.

        They are a 5-gram model (interpolated modified Kneser-Ney) and LZMA, which have read the end of the training
        text before. It takes up to three seconds at first.
        """
        if self.validation is None:
            return {}
        found = baseline_nats(self.validation, self.run.corpus.vocabulary, self.run.corpus.split("train"))
        return {name: found[name] for name in (NGRAM, COMPRESSOR) if name in found}

    def sample(self, model: TrainedModel) -> str:
        """Sample a text, as `charlm sample` with the seed of the run does; empty if `sampling.length` is 0.

        Returns:
            The text with its prompt.

        Raises:
            CharlmError: the logits are not finite.

        """
        settings = self.config.sampling
        if not settings.length:
            return ""
        sampler = Sampler(
            temperature=settings.temperature, top_k=settings.top_k, top_p=settings.top_p, min_p=settings.min_p
        )
        wanted = TextRequest(settings.length, sampler, self.config.seed, settings.prompt)
        return settings.prompt + "".join(generate_text(model, wanted))

    def update_best(self, nats: float, progress: Progress) -> bool:
        """Compare a loss with the best so far, and record the result in `progress`.

        Args:
            nats: The loss at the present step in nats per character; if it is not finite, it is never the best.
            progress: Has the best loss so far; it is changed.

        Returns:
            Whether the loss is the best so far.

        """
        is_best = math.isfinite(nats) and (progress.best_nats is None or nats < progress.best_nats)
        if is_best:
            progress.best_nats, progress.best_step, progress.evaluations_without_best = nats, progress.step, 0
        else:
            progress.evaluations_without_best += 1
        return is_best


def _one_thread() -> threadpool_limits:
    """Return a context in which a product takes one thread: beside other work, those of a small one would wait."""
    return threadpool_limits(1, "blas")


class Recorder:
    """Logs, evaluates and saves a run, and records that in its progress.

    Every method raises CharlmError if a file cannot be written, and DivergenceError if a weight is not finite.

    Args:
        run: Its folder, config and corpus.
        engine: The network in training.
        schedule: When something is due, and what the steps read.
        session: Its user; a signal cuts an evaluation short.

    """

    def __init__(
        self,
        run: Run,
        engine: Engine,
        schedule: Schedule,
        *,
        session: Session,
    ) -> None:
        self._corpus, self.schedule = run.corpus, schedule
        self._session = session
        self.validator = Validator(run)
        training = run.corpus.split("train")[:MAX_TRAINING_CHARACTERS]
        self._windows = choose_windows(training if self.validator.validation is None else self.validator.validation)
        self.sample = ""
        """The text that the best model writes; before the end, what the network of the last evaluation has written."""
        self.outputs = RunOutputs(run, engine, schedule, split=self.validator.split, warn=session.say)
        self.difference: Difference | None = None
        """How the last evaluation differs from the best one before it; None before the second evaluation."""
        self._best: Score | None = None
        """The score of the best model; None if it is of a training before this one."""
        self._saved: tuple[int, int] | None = None
        """The step and the evaluated step of the last checkpoint."""
        self._saved_seconds: float | None = None
        """How long the run had trained then; None = it has not been saved, or continued, yet."""

    def record_start(self, progress: Progress) -> None:
        """Log and say what a network that begins with the weights of another model scores; it is the first best one."""
        score = self.validator.score(self.outputs.model(progress))
        if score is not None:
            nats = score.nats_per_char
            self.outputs.log(self._position(progress, "validation", nats))
            self.validator.update_best(nats, progress)
            self.outputs.note_score(progress.step, nats, score.block_means)
            self._best = score
            self.save(progress)
            self._session.say(f"step 0: validation {nats:.3f} nats")

    def record_due(self, progress: Progress) -> None:
        """Log, evaluate and save if it is due at this step and not done yet."""
        if self.schedule.logs_at(progress.step):
            self._log(progress)
        if self._saved_seconds is None:
            self._saved_seconds = progress.seconds
        if self.schedule.is_mark(progress.step):
            self.evaluate(progress)
            self.save(progress)
        elif self.outputs.engine.machines.share(progress.seconds - self._saved_seconds >= SAVE_SECONDS):
            self.save(progress)  # every machine has a part of the state

    def finish(self, progress: Progress, *, is_stopped: bool) -> None:
        """Save the end of a run; unless a signal has stopped it, evaluate it as well."""
        if not is_stopped:
            self._log(progress)
            self.evaluate(progress)
        self.save(progress)
        if not is_stopped:
            for line in advise_on_end(progress, split=self.validator.split, difference=self.difference):
                self._session.say(line)
            if progress.best_step != progress.step and (best := self.outputs.read_best()) is not None:
                self.sample = self.validator.sample(best)
            self.outputs.end(progress.step)

    def save(self, progress: Progress) -> None:
        """Save the run, unless nothing has happened since it was saved."""
        state = progress.step, progress.evaluated_step
        if state != self._saved:
            self.outputs.save(progress)
            self._saved, self._saved_seconds = state, progress.seconds

    def _log(self, progress: Progress) -> None:
        """Log the steps since the last line, if there are any."""
        if not progress.pending_losses:
            return
        progress.train_nats = float(np.mean(progress.pending_losses))
        first = progress.step - len(progress.pending_losses)
        characters = self.schedule.characters(progress.step) - self.schedule.characters(first)
        seconds = progress.seconds - progress.logged_seconds
        self.outputs.log(
            {
                **self._position(progress, "train", progress.train_nats),
                "learning_rate": float(self.schedule.rates(progress.step - 1, 1)[0]),
                "gradient_norm": progress.last_norm,
                "characters_per_second": characters / max(seconds, 1e-9),
            }
        )
        progress.pending_losses = []
        progress.logged_seconds = progress.seconds

    def evaluate(self, progress: Progress) -> None:
        """Evaluate if that was not done at this step; after a signal, leave it to the resumed run."""
        if progress.evaluated_step != progress.step:
            with _one_thread():
                self._evaluate(progress)

    def _evaluate(self, progress: Progress) -> None:
        self._corpus.check_size()
        if self.validator.validation is not None:
            self._corpus.check_ids(self.validator.validation)
        try:
            with self._session.at_once():
                model = self.outputs.model(progress)
                found = self._score(model, progress.step)
                sample = self.validator.sample(model)
        except Stopped:
            return
        nats = None if found is None else found.nats_per_char
        if nats is not None:
            self.outputs.log(self._position(progress, "validation", nats))
        score, best = progress.train_nats if nats is None else nats, progress.best_nats
        if best is not None:
            self.difference = found.minus(self._best) if found and self._best else Difference(score - best, None)
        is_best = self.validator.update_best(score, progress)
        self.outputs.note_score(progress.step, score, found.block_means if found else ())
        if is_best:
            self._best = found
        self._show(sample, progress)
        progress.evaluated_step, self.sample = progress.step, sample
        self._session.say(
            describe_evaluation(
                progress,
                schedule=self.schedule,
                validation_nats=nats,
                is_best=is_best,
                sample=sample,
                columns=line_columns(),
            )
        )
        self._session.on_evaluation(progress, score)

    def _score(self, model: TrainedModel, step: int) -> Score | None:
        """Return the validation score of a network; raise DivergenceError if it, or a weight, is not finite."""
        if not all(np.isfinite(tensor).all() for tensor in model.parameters.tensors().values()):
            raise DivergenceError(f"not every weight is finite at step {step:,}")
        score = self.validator.score(model)
        if score is not None and not np.isfinite(score.nats_per_char):
            raise DivergenceError(f"the validation loss is {score.nats_per_char} at step {step:,}")
        return score

    def _show(self, sample: str, progress: Progress) -> None:
        """Show TensorBoard what the network of an evaluation is like."""
        views = views_of(
            self.outputs.model(progress).parameters,
            self._windows,
            weights=self.outputs.engine.weights(),
            sample=sample,
            best_nats=progress.best_nats,
            ngram_nats=self.validator.baseline_nats.get(NGRAM),
        )
        self.outputs.events.show(views, step=progress.step)

    def _position(self, progress: Progress, split: str, nats: float) -> dict[str, Any]:
        return {
            "step": progress.step,
            "epoch": self.schedule.epochs(progress.step),
            "characters": self.schedule.characters(progress.step),
            "seconds": progress.seconds,
            "split": split,
            "nats_per_char": nats,
        }
