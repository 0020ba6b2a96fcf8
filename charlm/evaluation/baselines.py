"""Scores of a compressor and of n-gram models on the text that a model is scored on, to compare its score with.

A compressor that adds b bits for a text predicts it as well as a model with a loss of b bits. Both kinds may learn from
the training text, as the model did.

Axes: V vocabulary.
"""

import lzma
import math
from collections.abc import Iterator
from itertools import chain

import numpy as np

from charlm.evaluation.ngrams import BLOCK, NGRAM_ORDER, Ids, count_ngrams, score_ngrams
from charlm.text.corpus import count_ids
from charlm.text.vocabulary import UNKNOWN_GLYPH, Vocabulary

MAX_TRAINING_CHARACTERS = 1_000_000
"""How much of the end of a training text the baselines learn from, in ids, wherever they are shown."""
UNIFORM, UNIGRAM, NGRAM, COMPRESSOR = "uniform", "unigram", f"{NGRAM_ORDER}-gram", "lzma"
"""The names of the baselines."""
MIN_ADDED_BYTES = 200
"""What a compressor adds is a whole number of bytes, and a few more or less by the headers of its blocks: the score of
a text that adds less would be chance."""
MAX_DICTIONARY_BYTES = 1 << 26
"""As xz -9; the encoder takes about eleven times as much memory."""


def baseline_nats(ids: Ids, vocabulary: Vocabulary, training: Ids | None = None) -> dict[str, float]:
    """Score a text with simple models, each of which has read the end of the training text before.

    It takes about three seconds if the training text has MAX_TRAINING_CHARACTERS ids or more.

    Args:
        ids: The text, integers [n], n >= 2; ids 1 to n - 1 are scored.
        vocabulary: The characters by id.
        training: The training text, integers [m]; None = it is not known. Only its last MAX_TRAINING_CHARACTERS ids are
            used.

    Returns:
        The mean nats by name: `uniform`, ln V; `lzma`, see `compressed_nats`, unless the text is too short or too
        uniform for it; and, with a training text, `unigram` and `5-gram`.

    """
    known = ids[:0] if training is None else training[-MAX_TRAINING_CHARACTERS:]
    size = len(vocabulary)
    found = {UNIFORM: math.log(size)}
    if (compressed := compressed_nats(ids, vocabulary, known)) is not None:
        found[COMPRESSOR] = compressed
    if len(known):
        found[UNIGRAM] = unigram_nats(ids, known, vocabulary_size=size)
        nats = score_ngrams(count_ngrams(known, vocabulary_size=size), ids)
        found[NGRAM] = sum(float(block.sum()) for block in nats) / (len(ids) - 1)
    return found


def unigram_nats(ids: Ids, training: Ids, *, vocabulary_size: int) -> float:
    """Score a text with a unigram model, p(id) = (count of the id in the training text + 1) / (m + V).

    Args:
        ids: The text, integers [n], n >= 2.
        training: The training text, integers [m].
        vocabulary_size: V.

    Returns:
        The mean nats of ids 1 to n - 1.

    """
    counts, wanted = (count_ids(part, vocabulary_size) for part in (training, ids[1:]))
    return float(wanted @ -np.log((counts + 1) / (len(training) + vocabulary_size))) / (len(ids) - 1)


def compressed_nats(ids: Ids, vocabulary: Vocabulary, training: Ids) -> float | None:
    """Score a text with a compressor: ln 2 times the bits that the text adds, divided by the number of ids.

    What is compressed is UTF-8, with a zero byte for each end-of-text id. The
    training text and the first id of the text come before the ids that are scored. The compressor is LZMA at level 9,
    whose dictionary holds both texts, up to 64 MiB. (bz2 sorts blocks of 900,000 bytes independently: what it adds
    depends on where the block of the text happens to begin.)

    Args:
        ids: The text, integers [n], n >= 2; ids 1 to n - 1 are scored.
        vocabulary: The characters by id.
        training: The training text, integers [m]; m may be 0.

    Returns:
        The mean nats; None if the text is too short or too uniform: it adds less than MIN_ADDED_BYTES.

    """
    given = b"".join(chain(text_bytes(training, vocabulary), text_bytes(ids[:1], vocabulary)))
    widest = max((len(c.encode()) for c in vocabulary.characters if c is not None), default=1)
    dictionary = min(max(len(given) + widest * len(ids), 4096), MAX_DICTIONARY_BYTES)

    def size(text: Iterator[bytes]) -> int:
        """Return how many bytes a text takes after the training text."""
        compressor = lzma.LZMACompressor(filters=[{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": dictionary}])
        return sum(len(compressor.compress(block)) for block in chain([given], text)) + len(compressor.flush())

    added = size(text_bytes(ids[1:], vocabulary)) - size(iter(()))
    return None if added < MIN_ADDED_BYTES else 8 * math.log(2) / (len(ids) - 1) * added


def text_bytes(ids: Ids, vocabulary: Vocabulary, *, block: int = BLOCK) -> Iterator[bytes]:
    """Encode a text as UTF-8; an end-of-text id is a zero byte.

    Args:
        ids: Integers [n].
        vocabulary: The characters by id.
        block: How many ids to encode at once, 1 or more.

    Yields:
        The bytes of each block.

    """
    glyphs = [UNKNOWN_GLYPH if i == vocabulary.unknown_id else c or "\0" for i, c in enumerate(vocabulary.characters)]
    code_points = np.array([ord(glyph) for glyph in glyphs], "<u4")
    for start in range(0, len(ids), block):
        yield code_points[ids[start : start + block]].tobytes().decode("utf-32-le").encode()
