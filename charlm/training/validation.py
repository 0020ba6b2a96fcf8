"""The validation of a network in training: its score, a sample, and whether the score is the best so far."""

import math
from typing import NamedTuple

from charlm.evaluation.scoring import estimate_stream
from charlm.network.bundle import Bundle
from charlm.runs.run import Run
from charlm.training.progress import Progress
from charlm.training.samples import WrittenSample, temperatures, write_sample


class Validation(NamedTuple):
    """The result of one evaluation."""

    nats_per_char: float | None
    """The loss on the validation text; None if there is no validation text."""
    sample: WrittenSample | None
    """A sampled text; None if `sampling.length` is 0."""


class Validator:
    """Evaluates the network of a run without changing it.

    Args:
        run: Its config and corpus.

    """

    def __init__(self, run: Run) -> None:
        self.config = run.config
        ids = run.corpus.split("validation", at_most=self.config.training.evaluate_characters)
        self.validation = ids if len(ids) > 1 else None
        """The ids of the validation text, integers [n]; None if there are fewer than 2."""
        self.other_temperatures = temperatures(self.config.sampling.temperature)[1:]
        """Temperatures of texts to show beside the one of the config."""
        self.split = "train" if self.validation is None else "validation"
        """The text that the best score is measured on: validation, or train if there is no validation text."""

    def evaluate(self, bundle: Bundle) -> Validation:
        """Score the validation text, and sample a text."""
        return Validation(self.score(bundle), self.sample(bundle, temperature=self.config.sampling.temperature))

    def score(self, bundle: Bundle) -> float | None:
        """Return the loss on the validation text in nats per character; None if there is no such text."""
        return None if self.validation is None else estimate_stream(bundle.parameters, self.validation).nats_per_char

    def sample(self, bundle: Bundle, *, temperature: float) -> WrittenSample | None:
        """Sample a text at a temperature, 0 or more; None if `sampling.length` is 0."""
        return write_sample(bundle, self.config.sampling, seed=self.config.seed, temperature=temperature)

    def update_best(self, nats: float, progress: Progress) -> bool:
        """Compare a loss with the best so far, and record the result in `progress`.

        Args:
            nats: The loss at the present step in nats per character; if it is not finite, it is never the best.
            progress: Has the best loss so far; it is changed.

        Returns:
            Whether the loss is the best so far.

        """
        stopping = self.config.training.early_stopping
        margin = stopping.min_delta if stopping else 0.0
        best = progress.best_nats
        is_best = math.isfinite(nats) and (best is None or nats < best - margin)
        if is_best:
            progress.best_nats, progress.best_step, progress.evaluations_without_best = nats, progress.step, 0
        else:
            progress.evaluations_without_best += 1
        return is_best
