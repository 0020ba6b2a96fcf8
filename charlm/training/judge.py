"""What judges a network in training: its score on the validation text, a sample, whether it is the best so far."""

import math
from typing import NamedTuple

from charlm import scoring
from charlm.bundle import Bundle
from charlm.preparation import Run
from charlm.sampling import Choice, generate_text
from charlm.training.checkpoints import Progress


class Verdict(NamedTuple):
    """What an evaluation found."""

    nats_per_char: float | None
    """On the validation text; None where there is none."""
    sample: str | None
    """A text, its prompt included; None where none is wanted."""


class Judge:
    """Evaluates the network of a run; nothing here changes it."""

    def __init__(self, run: Run) -> None:
        self.config = run.config
        ids = run.corpus.split("validation")[: self.config.training.evaluate_characters]
        self.validation = ids if len(ids) > 1 else None
        self.split = "train" if self.validation is None else "validation"
        """What the best is measured on."""

    def evaluate(self, bundle: Bundle) -> Verdict:
        """Score the validation text and write a sample."""
        nats = None
        if self.validation is not None:
            nats = scoring.estimate_stream(bundle.parameters, self.validation).nats_per_char
        return Verdict(nats, self._sample(bundle))

    def rank(self, nats: float, progress: Progress, *, is_regular: bool) -> bool:
        """Count a loss at the step where the run stands; return whether it is the best so far.

        One that is not finite never is; one that is not at its regular time only where there is no other.
        """
        stopping = self.config.training.early_stopping
        margin = stopping.min_delta if stopping else 0.0
        best = progress.best_nats
        is_best = math.isfinite(nats) and (best is None or (is_regular and nats < best - margin))
        if is_best:
            progress.best_nats, progress.best_step, progress.evaluations_without_best = nats, progress.step, 0
        else:
            progress.evaluations_without_best += 1
        return is_best

    def _sample(self, bundle: Bundle) -> str | None:
        settings = self.config.sampling
        if not settings.length:
            return None
        generation = generate_text(
            bundle,
            prompt=settings.prompt,
            length=settings.length,
            choice=Choice(settings.temperature, settings.top_k, settings.top_p, settings.min_p),
            seed=self.config.seed,
            unknown="skip",
        )
        for _ in generation:
            pass
        return settings.prompt + generation.samples[0].text
