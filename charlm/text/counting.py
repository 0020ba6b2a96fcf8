"""How often each id occurs in a text."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 20
"""Ids that are counted at a time: NumPy converts them to int64 first."""


def count_ids(ids: NDArray[Any], size: int) -> NDArray[np.int64]:
    """Return how often each id occurs.

    Args:
        ids: Integers [n], 0 to size - 1; memory-mapped ones are read block by block.
        size: V, the number of ids, 1 or more.

    Returns:
        int64 [V].

    """
    counts = np.zeros(size, np.int64)
    for start in range(0, len(ids), BLOCK):
        counts += np.bincount(ids[start : start + BLOCK], minlength=size)
    return counts
