"""Whether the validation text is of another kind than the training text (distribution shift).

Axes: V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Shares = NDArray[np.float64]
"""How often each id occurs, as shares that add up to 1, float64 [V]."""

MAX_PART = 100_000
"""The most ids of a part of the text that are counted; the shares of characters hardly change beyond."""
MAX_PARTS = 20
MIN_PART = 1000
"""With fewer ids, the shares are mostly chance."""
DISTANCE_FACTOR, MIN_DISTANCE = 2.0, 0.05
"""The validation text is of another kind if its distance is this many times that of any part of the training text, and
at least this. Chapters of a book lie 0.01 to 0.04 apart, languages and kinds of text 0.1 and more."""
MAX_UNSEEN = 0.005
"""Each character that the training text lacks costs about 10 nats, so that this share of them costs 0.05 on average."""


@dataclass(frozen=True)
class Shift:
    """How far the validation text is from the training text."""

    distance: float
    """Between the shares of the characters in both: half the sum of the differences (total variation), 0 to 1."""
    usual_distance: float
    """The largest distance between a part of the training text, as long as the validation text, and its other parts."""
    unseen: float
    """The share of the validation text that is characters which the training text lacks, 0 to 1."""

    @property
    def is_large(self) -> bool:
        """Whether the validation text is of another kind than the training text."""
        limit = max(MIN_DISTANCE, DISTANCE_FACTOR * self.usual_distance)
        return self.distance > limit or self.unseen > MAX_UNSEEN


def measure_shift(training: NDArray[Any], validation: NDArray[Any], *, vocabulary_size: int) -> Shift | None:
    """Compare the characters of the validation text with those of the training text.

    Parts of the training text tell how much the characters of this text differ from place to place anyway. Of a long
    text, parts at equal distances are counted.

    Args:
        training: Ids, integers [n], 0 to V - 1.
        validation: Ids, integers [m].
        vocabulary_size: V.

    Returns:
        How far they are apart; None if the validation text has fewer than 1,000 ids or the training text has not twice
        as many.

    """
    size = min(len(validation), MAX_PART)
    count = min(len(training) // max(size, 1), MAX_PARTS)
    if size < MIN_PART or count < 2:
        return None
    parts = np.array([_shares(part, vocabulary_size) for part in spaced(training, count=count, size=size)])
    total = parts.sum(0)
    others = [(total - part) / (count - 1) for part in parts]
    seen = np.concatenate(spaced(validation, count=10, size=size // 10))
    shares = _shares(seen, vocabulary_size)
    return Shift(
        distance=_distance(shares, total / count),
        usual_distance=max(_distance(part, other) for part, other in zip(parts, others, strict=True)),
        unseen=float(shares[total == 0].sum()),
    )


def spaced(ids: NDArray[Any], *, count: int, size: int) -> list[NDArray[Any]]:
    """Return parts of a text at equal distances, or the whole text if it is shorter than they are together.

    Args:
        ids: Integers [n].
        count: The number of parts, 1 or more.
        size: The length of each, 1 or more.

    """
    if len(ids) < count * size:
        return [ids]
    starts = np.linspace(0, len(ids) - size, count).astype(int) if count > 1 else [0]
    return [ids[start : start + size] for start in starts]


def _shares(ids: NDArray[Any], vocabulary_size: int) -> Shares:
    return np.bincount(ids, minlength=vocabulary_size) / len(ids)


def _distance(shares: Shares, others: Shares) -> float:
    return float(np.abs(shares - others).sum()) / 2
