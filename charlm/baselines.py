"""What others make of the text that a model is scored on, so that a reader knows what its figure is worth.

Compressors (a text that takes b bits is predicted as well as by a model of b bits) and models that count. All may
learn from the training text, as the model did.
"""

import bz2
import itertools
import lzma
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from charlm.ngrams import count_ngrams, score_ngrams
from charlm.vocabulary import UNKNOWN_GLYPH, Vocabulary

Ids = NDArray[Any]

MAX_TRAINING_CHARACTERS = 20_000_000
"""Of a longer training text the last part is taken."""
NGRAM_ORDER = 5
BLOCK = 1 << 20  # ids turned into bytes at once
ZLIB_WINDOW = 1 << 15
LZMA_DICTIONARY = 1 << 26  # bytes, at most: that of xz -9; its encoder takes about eleven times as much memory


@dataclass(frozen=True)
class Baselines:
    """What others make of a text."""

    nats_per_char: dict[str, float]
    """By name, over the characters that the model is scored on."""
    given_characters: int
    """How much of the training text they were given."""
    training_characters: int
    """How much there is; 0 if it is not known."""


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


def measure_baselines(ids: Ids, vocabulary: Vocabulary, training: Ids | None = None) -> Baselines:
    """Return what zlib, bz2, lzma, a unigram and a 5-gram model make of ids 1 to n - 1 of a text ids [n], n >= 2.

    They are given `training` [m], of which the last MAX_TRAINING_CHARACTERS count, and the first id. Without a
    training text the compressors have that one id, and the models that count are left out.
    """
    known = ids[:0] if training is None else training
    training = known[-MAX_TRAINING_CHARACTERS:]
    found = compressed_nats(ids, vocabulary, training)
    if len(training):
        ngrams = count_ngrams(training, vocabulary_size=len(vocabulary), order=NGRAM_ORDER)
        found["unigram"] = unigram_nats(ids, training, vocabulary_size=len(vocabulary))
        found[f"{NGRAM_ORDER}-gram"] = sum(float(nats.sum()) for nats in score_ngrams(ngrams, ids)) / (
            len(ids) - 1
        )
    return Baselines(found, len(training), len(known))


def unigram_nats(ids: Ids, training: Ids, *, vocabulary_size: int) -> float:
    """Return the mean nats of ids 1 to n - 1 by how often each stands in the training text, and once more."""
    counts, wanted = (_count(part, vocabulary_size) for part in (training, ids[1:]))
    return float(wanted @ -np.log((counts + 1) / (len(training) + vocabulary_size))) / (len(ids) - 1)


def _count(ids: Ids, size: int) -> NDArray[np.int64]:
    counts = np.zeros(size, np.int64)
    for start in range(0, len(ids), BLOCK):
        counts += np.bincount(ids[start : start + BLOCK], minlength=size)
    return counts


def compressed_nats(ids: Ids, vocabulary: Vocabulary, training: Ids) -> dict[str, float]:
    """Return ln 2 times the bits that ids 1 to n - 1 add, per id, to what is compressed before them.

    Compressed is UTF-8 (level byte: the bytes themselves), with a zero byte for the end of a text, and before them
    stand `training` and the first id:

        zlib  level 9; its window is 32 KB, so that it is given the last 32 KB of them as its dictionary
        bz2   level 9; it sorts blocks of 900,000 bytes, each by itself, so that it gains only from as much of them
              as shares the block in which the text begins: by chance nearly a block, or nearly nothing
        lzma  preset 9, extreme; its dictionary holds both, up to 64 MiB
    """
    given = b"".join(_bytes(training, vocabulary)) + b"".join(_bytes(ids[:1], vocabulary))
    widest = max((len(c.encode()) for c in vocabulary.characters if c is not None), default=1)
    dictionary = min(max(len(given) + widest * len(ids), 4096), LZMA_DICTIONARY)
    makers: dict[str, tuple[Callable[[], _Compressor], bytes]] = {
        "zlib": (lambda: zlib.compressobj(9, wbits=-15, zdict=given[-ZLIB_WINDOW:]), b""),
        "bz2": (lambda: bz2.BZ2Compressor(9), given),
        "lzma": (lambda: _lzma(dictionary), given),
    }
    return {
        name: 8 * math.log(2) / (len(ids) - 1) * _added_bytes(make, before, lambda: _bytes(ids[1:], vocabulary))
        for name, (make, before) in makers.items()
    }


def _lzma(dictionary: int) -> _Compressor:
    preset = 9 | lzma.PRESET_EXTREME
    return lzma.LZMACompressor(filters=[{"id": lzma.FILTER_LZMA2, "preset": preset, "dict_size": dictionary}])


def _added_bytes(make: Callable[[], _Compressor], before: bytes, text: Callable[[], Iterator[bytes]]) -> int:
    return _size(make(), itertools.chain([before], text())) - _size(make(), iter([before]))


def _size(compressor: _Compressor, blocks: Iterator[bytes]) -> int:
    return sum(len(compressor.compress(block)) for block in blocks) + len(compressor.flush())


def _bytes(ids: Ids, vocabulary: Vocabulary) -> Iterator[bytes]:
    """Yield the bytes of a text in blocks."""
    glyphs = [
        UNKNOWN_GLYPH if i == vocabulary.unknown_id else c or "\0" for i, c in enumerate(vocabulary.characters)
    ]
    encoding = "latin-1" if vocabulary.level == "byte" else "utf-8"
    code_points = np.array([ord(glyph) for glyph in glyphs], "<u4")
    for start in range(0, len(ids), BLOCK):
        yield code_points[ids[start : start + BLOCK]].tobytes().decode("utf-32-le").encode(encoding)
