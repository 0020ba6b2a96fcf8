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
PRIME, BASES = np.uint64(2**31 - 1), (0x2545F491, 0x5DEECE66)
"""p and both b of the hash: any numbers below p without a pattern in their bits."""


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
    longest = bisect_left(range(1, min(len(ids), len(training)) + 1), True, key=is_missing)
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
    """Return two polynomial hashes (Karp and Rabin 1987) modulo a prime, as one number, of the window at each position.

    They come from differences of prefix sums; windows that differ have the same hash with a probability of about 2^-62
    (modulo 2^64 any base would fail for regular texts, such as the sequence of Thue and Morse):

        hash(i) = sum_j (id_{i+j} + 1) b^j = b^-i (P(i + window) - P(i)), P(i) = sum_{k<i} (id_k + 1) b^k

    Args:
        ids: Integers [n], 0 or more.
        window: The length of a window, 1 or more.

    Returns:
        uint64 [n - window + 1], or [0] if the text has no window.

    """
    windows = max(0, len(ids) - window + 1)
    found = np.zeros(windows, np.uint64)
    for base in BASES:
        powers, inverses = (_powers(each, len(ids)) for each in (base, pow(base, -1, int(PRIME))))
        terms = (ids.astype(np.uint64) + np.uint64(1)) * powers % PRIME
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms)])
        own = (
            (sums[window : window + windows] - sums[:windows]) % PRIME * inverses[:windows] % PRIME
        )
        found = found << np.uint64(31) | own
    return found


def _powers(base: int, count: int) -> NDArray[np.uint64]:
    """Return 1, b, b^2, ... modulo PRIME, uint64 [count]: each half is the half before it times a number."""
    powers = np.ones(max(1, count), np.uint64)
    size = 1
    while size < count:
        powers[size : 2 * size] = (
            powers[: min(size, count - size)] * np.uint64(pow(base, size, int(PRIME))) % PRIME
        )
        size *= 2
    return powers[:count]
