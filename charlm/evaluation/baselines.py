"""Scores of compressors and n-gram models on the text that a model is scored on, to compare its score with.

A compressor that adds b bits for a text predicts it as well as a model with a loss of b bits. Both kinds may learn from
the training text, as the model did.
"""

import bz2
import itertools
import lzma
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from charlm.evaluation.ngrams import count_ngrams, score_ngrams
from charlm.text.counting import count_ids
from charlm.text.vocabulary import UNKNOWN_GLYPH, Vocabulary

Ids = NDArray[Any]

MAX_TRAINING_CHARACTERS = 20_000_000
NGRAM_ORDER = 5
COMPRESSORS = ("zlib", "bz2", "lzma")
BLOCK = 1 << 20
ZLIB_WINDOW_BYTES = 1 << 15
MAX_LZMA_DICTIONARY_BYTES = 1 << 26  # as xz -9; the encoder takes about eleven times as much memory


@dataclass(frozen=True)
class Baselines:
    """The scores of compressors and n-gram models on a text."""

    nats_per_char: dict[str, float]
    """The mean over the characters that the model is scored on, by name."""
    given_characters: int
    """How many characters of the training text they learned from."""
    training_characters: int
    """The length of the training text; 0 if it is not known."""


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


def measure_baselines(
    ids: Ids,
    vocabulary: Vocabulary,
    training: Ids | None = None,
    *,
    max_training_characters: int = MAX_TRAINING_CHARACTERS,
) -> Baselines:
    """Score a text with zlib, bz2, lzma, a unigram model and a 5-gram model.

    Without a training text, the compressors learn from the first id alone, and there are no n-gram models.

    Args:
        ids: The text, integers [n], n >= 2; ids 1 to n - 1 are scored.
        vocabulary: The characters by id.
        training: The training text, integers [m]; None = it is not known.
        max_training_characters: If the training text is longer than this, only its end is used.

    Returns:
        The scores by name.

    """
    known = ids[:0] if training is None else training
    training = known[-max_training_characters:]
    found = compressed_nats(ids, vocabulary, training)
    if len(training):
        found["unigram"] = unigram_nats(ids, training, vocabulary_size=len(vocabulary))
        found[f"{NGRAM_ORDER}-gram"] = ngram_nats(ids, training, vocabulary_size=len(vocabulary))
    return Baselines(found, len(training), len(known))


def ngram_nats(ids: Ids, training: Ids, *, vocabulary_size: int, order: int = NGRAM_ORDER) -> float:
    """Score a text with an n-gram model, see `charlm.evaluation.ngrams`.

    Args:
        ids: The text, integers [n], n >= 2.
        training: The training text, integers [m].
        vocabulary_size: V.
        order: The number of ids in the longest n-grams, 1 or more.

    Returns:
        The mean nats of ids 1 to n - 1.

    """
    model = count_ngrams(training, vocabulary_size=vocabulary_size, order=order)
    return sum(float(nats.sum()) for nats in score_ngrams(model, ids)) / (len(ids) - 1)


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


def compressed_nats(
    ids: Ids, vocabulary: Vocabulary, training: Ids, *, names: Sequence[str] = COMPRESSORS
) -> dict[str, float]:
    """Score a text with compressors: ln 2 times the bits that the text adds, divided by the number of ids.

    What is compressed is UTF-8 (at level byte, the bytes themselves), with a zero byte for each end-of-text id. The
    training text and the first id of the text come before the ids that are scored:

        zlib  level 9; its window is 32 KB, so that it is given the last 32 KB before the text as its dictionary
        bz2   level 9; it sorts blocks of 900,000 bytes independently, so that only the part counts that is in the block
              where the text begins: nearly a whole block or nearly nothing, by chance
        lzma  preset 9, extreme; its dictionary holds the training text and the text, up to 64 MiB

    Args:
        ids: The text, integers [n], n >= 2; ids 1 to n - 1 are scored.
        vocabulary: The characters by id.
        training: The training text, integers [m]; m may be 0.
        names: Which compressors, of COMPRESSORS.

    Returns:
        The mean nats by the name of the compressor.

    """
    given = b"".join(text_bytes(training, vocabulary)) + b"".join(text_bytes(ids[:1], vocabulary))
    widest = max((len(c.encode()) for c in vocabulary.characters if c is not None), default=1)
    dictionary = min(max(len(given) + widest * len(ids), 4096), MAX_LZMA_DICTIONARY_BYTES)
    makers: dict[str, tuple[Callable[[], _Compressor], bytes]] = {
        "zlib": (lambda: zlib.compressobj(9, wbits=-15, zdict=given[-ZLIB_WINDOW_BYTES:]), b""),
        "bz2": (lambda: bz2.BZ2Compressor(9), given),
        "lzma": (lambda: _lzma(dictionary), given),
    }
    return {
        name: 8 * math.log(2) / (len(ids) - 1) * _added_bytes(make, before, lambda: text_bytes(ids[1:], vocabulary))
        for name, (make, before) in makers.items()
        if name in names
    }


def _lzma(dictionary: int) -> _Compressor:
    preset = 9 | lzma.PRESET_EXTREME
    return lzma.LZMACompressor(filters=[{"id": lzma.FILTER_LZMA2, "preset": preset, "dict_size": dictionary}])


def _added_bytes(make: Callable[[], _Compressor], before: bytes, text: Callable[[], Iterator[bytes]]) -> int:
    return _size(make(), itertools.chain([before], text())) - _size(make(), iter([before]))


def _size(compressor: _Compressor, blocks: Iterator[bytes]) -> int:
    return sum(len(compressor.compress(block)) for block in blocks) + len(compressor.flush())


def text_bytes(ids: Ids, vocabulary: Vocabulary, *, block: int = BLOCK) -> Iterator[bytes]:
    """Encode a text as UTF-8, or at level byte as its bytes; an end-of-text id is a zero byte.

    Args:
        ids: Integers [n].
        vocabulary: The characters by id.
        block: How many ids to encode at once, 1 or more.

    Yields:
        The bytes of each block.

    """
    glyphs = [UNKNOWN_GLYPH if i == vocabulary.unknown_id else c or "\0" for i, c in enumerate(vocabulary.characters)]
    encoding = "latin-1" if vocabulary.level == "byte" else "utf-8"
    code_points = np.array([ord(glyph) for glyph in glyphs], "<u4")
    for start in range(0, len(ids), block):
        yield code_points[ids[start : start + block]].tobytes().decode("utf-32-le").encode(encoding)
