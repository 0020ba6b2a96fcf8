"""Simple models that a score is compared with: n-gram models and a compressor on the same text.

A compressor that adds b bits for a text predicts it as well as a model with a loss of b bits. The
simple models learn from the training text, as the network did.

Axes: V vocabulary.
"""

import lzma
import math
from dataclasses import dataclass

import numpy as np

from charlm.core.scoring import Score, mean_score
from charlm.core.vocabulary import Ids, Vocabulary
from charlm.measures.estimates import Estimate, difference, is_clear
from charlm.measures.ngrams import NGRAM_ORDER, count_ngrams, score_ngrams

MAX_TRAINING_CHARACTERS = 1_000_000
"""Maximum number of ids at the end of a training text that the baselines learn from."""
NGRAM = f"{NGRAM_ORDER}-gram"
MIN_ADDED_BYTES = 200
"""Minimum number of bytes that a scored text must add to a compressed file. The headers of blocks
add or remove a few bytes, so smaller differences would be random."""
MAX_DICTIONARY_BYTES = 1 << 26
"""Dictionary size of xz -9; the encoder needs about eleven times as much memory."""


def baseline_scores(
    ids: Ids,
    vocabulary: Vocabulary,
    training: Ids | None = None,
) -> dict[str, Score]:
    """Score a text with simple models that have learnt from the end of the training text.

    This takes about three seconds for MAX_TRAINING_CHARACTERS or more ids of training text.

    Args:
        ids: The text, integers [n], n >= 2; ids 1 to n - 1 are scored.
        vocabulary: The characters by id.
        training: The training text, integers [m], or None if it is not known. Only its last
            MAX_TRAINING_CHARACTERS ids are used.

    Returns:
        The scores by name: `uniform`, ln V; `lzma`, unless `compressed_nats` returns None; and,
        with a training text, `8-gram`. Only the 8-gram score has block means.

    """
    known = ids[:0] if training is None else training[-MAX_TRAINING_CHARACTERS:]
    characters = len(ids) - 1
    scores = {"uniform": Score(math.log(len(vocabulary)), characters)}
    compressed = compressed_nats(ids, vocabulary, known)
    if compressed is not None:
        scores["lzma"] = Score(compressed, characters)
    if len(known):
        scores[NGRAM] = ngram_score(ids, vocabulary, known)
    return scores


def ngram_score(ids: Ids, vocabulary: Vocabulary, training: Ids) -> Score:
    """Score a text with an 8-gram model of the last MAX_TRAINING_CHARACTERS of a training text."""
    known = training[-MAX_TRAINING_CHARACTERS:]
    model = count_ngrams(known, vocabulary_size=len(vocabulary))
    return mean_score(score_ngrams(model, ids))


@dataclass(frozen=True)
class Comparison:
    """A comparison of a model's score with the 8-gram model on the same characters.

    The 8-gram model learns from the last MAX_TRAINING_CHARACTERS ids of the training text.
    """

    ngram_nats_per_char: float
    """Score of the 8-gram model."""
    margin_nats: float
    """Score of the 8-gram model minus the model's score, in nats per character; positive if the
    model is better."""
    standard_error: float | None
    """Standard error of the margin; None for fewer than 2,400 characters."""
    characters: int
    """Number of characters that both models scored."""
    initial_model: str | None = None
    """Name of the model that the network began with, so that it has read more than the training
    text; None = random weights."""

    @classmethod
    def of(cls, score: Score, ngram: Score, *, initial_model: str | None = None) -> "Comparison":
        """Compare the scores of a model and of the 8-gram model on the same text.

        Raises:
            CharlmError: The scores are of different numbers of characters.

        """
        margin = ngram.nats_per_char - score.nats_per_char
        error = difference(ngram, score).error
        return cls(ngram.nats_per_char, margin, error, ngram.characters, initial_model)

    @property
    def is_clear(self) -> bool:
        """Whether the margin is more than chance."""
        margin = Estimate(self.margin_nats, self.standard_error)
        return is_clear(margin, characters=self.characters)

    def __str__(self) -> str:
        """Return the comparison as a sentence, or as text to follow "The model scores ..., "."""
        ngram = f"an {NGRAM} model ({self.ngram_nats_per_char:.4f})"
        more = more_text(self.initial_model)
        if self.standard_error is None:
            return (
                f"not compared with {ngram}: {self.characters:,} characters are too few to "
                f"estimate its error{more}"
            )
        margin = f"{abs(self.margin_nats):.4f} ± {self.standard_error:.4f} nats per character"
        side = "better" if self.margin_nats > 0 else "worse"
        characters = f"on {self.characters:,} characters"
        chance = "" if self.is_clear else ", which may be chance"
        return f"{margin} {side} than {ngram}, {characters}{chance}{more}"


def more_text(initial_model: str | None) -> str:
    """Return the end of a comparison with the 8-gram model: what else the network has read."""
    if initial_model is None:
        return ""
    return f"; the network began with {initial_model}, which had read other texts"


def compressed_nats(ids: Ids, vocabulary: Vocabulary, training: Ids) -> float | None:
    """Score a text with a compressor: ln 2 times the bits that the text adds, divided by its ids.

    The texts are compressed as UTF-8, with a zero byte for each end-of-text id. The training text
    and the first id of the text come before the scored ids. LZMA at level 9 has a dictionary that
    contains both texts, up to 64 MiB. (bz2 sorts blocks of 900,000 bytes independently, so its
    result depends on the position of the text in a block.)

    Args:
        ids: The text, integers [n], n >= 2; ids 1 to n - 1 are scored.
        vocabulary: The characters by id.
        training: The training text, integers [m]; m may be 0.

    Returns:
        The mean nats; None if the text is so short or uniform that it adds less than
        MIN_ADDED_BYTES.

    """
    known = vocabulary.spell(np.concatenate([training, ids[:1]]), end="\0").encode()
    both = known + vocabulary.spell(ids[1:], end="\0").encode()
    dictionary = min(max(len(both), 4096), MAX_DICTIONARY_BYTES)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": dictionary}]
    sizes = [len(lzma.compress(data, filters=filters)) for data in (both, known)]
    added = sizes[0] - sizes[1]
    return None if added < MIN_ADDED_BYTES else 8 * math.log(2) / (len(ids) - 1) * added
