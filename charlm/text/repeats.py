"""How much of a text repeats itself word for word."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

WINDOW = 100
"""Characters in a row that hardly any text has twice by chance."""
BASE = 0x9E3779B97F4A7C15
"""b of the hash: any odd number has an inverse modulo 2^64; this one has no pattern in its bits."""


def repeated_share(ids: NDArray[Any], *, window: int = WINDOW) -> float:
    """Return the share of the windows of a text that occur earlier in it, id for id.

    Windows are compared by a polynomial hash (Karp and Rabin 1987) modulo 2^64, which comes from differences of prefix
    sums, for windows that begin at every position:

        hash(i) = sum_j (id_{i+j} + 1) b^j = b^-i (P(i + window) - P(i)), P(i) = sum_{k<i} (id_k + 1) b^k

    Args:
        ids: Integers [n], 0 or more.
        window: The length of a window, 1 or more.

    Returns:
        0 to 1; 0 if the text has no window.

    """
    windows = len(ids) - window + 1
    if windows < 1:
        return 0.0
    prefix_sums = np.zeros(len(ids) + 1, np.uint64)
    np.cumsum((ids.astype(np.uint64) + np.uint64(1)) * _powers(BASE, len(ids)), out=prefix_sums[1:])
    hashes = (prefix_sums[window:] - prefix_sums[:windows]) * _powers(pow(BASE, -1, 1 << 64), windows)
    hashes.sort()  # np.unique takes a hundred times as long for numbers like these
    return int(np.count_nonzero(hashes[1:] == hashes[:-1])) / windows


def _powers(base: int, count: int) -> NDArray[np.uint64]:
    """Return base^0, base^1, ... modulo 2^64, uint64 [count]."""
    factors = np.full(count, base, np.uint64)
    factors[:1] = 1
    return np.cumprod(factors, dtype=np.uint64)
