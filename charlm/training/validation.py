"""The validation of a network in training: its score, the texts that it writes, and the scores to beat."""

import math
from collections.abc import Mapping
from functools import cached_property

import numpy as np

from charlm.evaluation.baselines import NGRAM_ORDER, compressed_nats, ngram_nats
from charlm.evaluation.scoring import estimate_stream
from charlm.network.bundle import Bundle
from charlm.runs.run import Run
from charlm.sampling.generation import TextRequest, generate_text
from charlm.sampling.sampler import Sampler
from charlm.text.corpus import Corpus
from charlm.text.vocabulary import Ids
from charlm.training.checkpoints import Progress

NGRAM = f"{NGRAM_ORDER}-gram"
MAX_TRAINING_CHARACTERS = 1_000_000
"""The simple models learn from the end of the training text; a 5-gram model of so much takes a third of a second."""


class Validator:
    """Evaluates the network of a run without changing it.

    Args:
        run: Its config and corpus.

    """

    def __init__(self, run: Run) -> None:
        self.run, self.config = run, run.config
        ids = run.corpus.split("validation", at_most=self.config.training.evaluate_characters)
        self.validation = ids if len(ids) > 1 else None
        """The ids of the validation text, integers [n]; None if there are fewer than 2."""
        self.split = "train" if self.validation is None else "validation"
        """The text that the best score is measured on: validation, or train if there is no validation text."""

    def score(self, bundle: Bundle) -> float | None:
        """Return the loss on the validation text in nats per character; None if there is no such text."""
        if self.validation is None:
            return None
        with np.errstate(all="ignore"):  # weights that are too large give a score that is not finite
            return estimate_stream(bundle.parameters, self.validation).nats_per_char

    @cached_property
    def simple_nats(self) -> Mapping[str, float]:
        """What simple models score on the validation text, see `score_simple_models`; it takes a second at first."""
        return score_simple_models(self.run.corpus, self.validation)

    def sample(self, bundle: Bundle) -> str:
        """Sample a text, as `charlm sample` with the seed of the run does; empty if `sampling.length` is 0.

        Returns:
            The text with its prompt.

        Raises:
            CharlmError: the logits are not finite.

        """
        settings = self.config.sampling
        if not settings.length:
            return ""
        sampler = Sampler(settings.temperature, settings.top_k, settings.top_p, settings.min_p)
        wanted = TextRequest(settings.length, sampler, self.config.seed, settings.prompt, unknown="skip")
        return settings.prompt + "".join(generate_text(bundle, wanted))

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


def score_simple_models(corpus: Corpus, validation: Ids | None) -> dict[str, float]:
    """Return what a 5-gram model (interpolated modified Kneser-Ney) and bz2 score on the validation text.

    Args:
        corpus: The text; both learn from the end of its training part.
        validation: Ids, integers [n], n >= 2; None = there is no such text.

    Returns:
        Nats per character by the names 5-gram and bz2; empty without a validation text.

    """
    if validation is None:
        return {}
    training = corpus.split("train")[-MAX_TRAINING_CHARACTERS:]
    ngram = ngram_nats(validation, training, vocabulary_size=len(corpus.vocabulary))
    return {NGRAM: ngram, **compressed_nats(validation, corpus.vocabulary, training, names=("bz2",))}
