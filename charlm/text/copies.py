"""What of a text occurs word for word in another one.

Windows of a text are compared by a hash of their ids.

Axes: n ids of the text, m of the training text.
"""

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[Any]

MIN_SPAN = 20
"""The shortest span that counts as copied, in ids: any two texts of a language share shorter ones."""
BLOCK = 1 << 20
"""How many ids of the training text are compared at once; takes about 50 MB."""
BASE = 0x9E3779B97F4A7C15
"""b of the hash: any odd number has an inverse modulo 2^64; this one has no pattern in its bits."""


@dataclass(frozen=True)
class Copies:
    """How much of a text occurs in the training text."""

    share: float
    """The share of its ids that are in spans of at least MIN_SPAN which occur there, 0 to 1."""
    length: int
    """The ids of the longest span that occurs there: in characters; 0 if none does."""
    start: int | None
    """Where the first span of that length begins in the text, in ids; None if no span occurs there."""
    position: int | None
    """Where it first begins in the training text, in ids."""


def find_copies(ids: Ids, training: Ids, *, min_span: int = MIN_SPAN, block: int = BLOCK) -> Copies:
    """Find what of a text occurs in the training text.

    Args:
        ids: The text, integers [n].
        training: The training text, integers [m].
        min_span: The shortest span that counts as copied, 1 or more.
        block: How many ids of the training text to read at once, 1 or more.

    """

    def is_missing(length: int) -> bool:
        """Return whether no span of a length occurs in the training text."""
        return bool((_first_positions(ids, training, length, block) < 0).all())

    edges = np.zeros(len(ids) + 1, np.int64)
    copied = np.flatnonzero(_first_positions(ids, training, min_span, block) >= 0)
    edges[copied] += 1
    edges[copied + min_span] -= 1
    share = float((np.cumsum(edges[:-1]) > 0).mean()) if len(ids) else 0.0
    most = min(len(ids), len(training))
    least, most = (min_span, most) if len(copied) else (0, min(min_span - 1, most))
    longest = bisect_left(range(most + 1), True, lo=least + 1, key=is_missing) - 1
    if not longest:
        return Copies(share, 0, None, None)
    found = _first_positions(ids, training, longest, block)
    start = int((found >= 0).argmax())
    return Copies(share, longest, start, int(found[start]))


def _first_positions(ids: Ids, training: Ids, length: int, block: int) -> NDArray[np.int64]:
    """Return where each window of a text first begins in the training text, int64 [n - length + 1]; -1 = nowhere."""
    codes, numbers = np.unique(hash_windows(ids, length), return_inverse=True)
    found = np.full(len(codes), -1)
    if not len(codes):
        return found
    for start in range(0, len(training) - length + 1, block):
        theirs = hash_windows(training[start : start + block + length - 1], length)
        at = np.minimum(np.searchsorted(codes, theirs), len(codes) - 1)
        places = np.flatnonzero((codes[at] == theirs) & (found[at] < 0))
        found[at[places][::-1]] = start + places[::-1]  # the first is written last and stays
    return found[numbers]


def hash_windows(ids: NDArray[Any], window: int) -> NDArray[np.uint64]:
    """Return a polynomial hash (Karp and Rabin 1987) modulo 2^64 of the window that begins at each position.

    It comes from differences of prefix sums; windows that differ have the same hash with a probability of about 2^-64:

        hash(i) = sum_j (id_{i+j} + 1) b^j = b^-i (P(i + window) - P(i)), P(i) = sum_{k<i} (id_k + 1) b^k

    Args:
        ids: Integers [n], 0 or more.
        window: The length of a window, 1 or more.

    Returns:
        uint64 [n - window + 1], or [0] if the text has no window.

    """
    windows = max(0, len(ids) - window + 1)
    powers, inverses = (np.cumprod(np.full(len(ids), base, np.uint64)) for base in (BASE, pow(BASE, -1, 1 << 64)))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum((ids.astype(np.uint64) + np.uint64(1)) * powers)])
    return np.asarray((sums[window : window + windows] - sums[:windows]) * inverses[:windows], np.uint64)
