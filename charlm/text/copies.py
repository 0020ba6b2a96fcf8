"""Verbatim overlap of a text with the training text.

Windows of both texts are compared by a hash of their ids.

Axes: n ids of the text, m ids of the training text.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[Any]
Hashes = NDArray[np.uint64]

MIN_SPAN = 20
"""Length of the shortest span that counts as copied; texts of one language share shorter spans."""
BLOCK = 1 << 20
"""Number of ids of the training text that are compared at a time, in about 50 MB of memory."""
PRIME = np.uint64(2**31 - 1)
BASES = (0x2545F491, 0x5DEECE66)
"""Bases of the two hashes: numbers below PRIME whose bits have no pattern."""


@dataclass(frozen=True)
class Copies:
    """The overlap of a text with the training text."""

    share: float
    """Share of the ids that are part of a copied span of at least MIN_SPAN ids, 0 to 1."""
    length: int
    """Length of the longest copied span in ids, which are characters; 0 if there is none."""
    start: int | None
    """Position of the first span of that length in the text; None if there is none."""
    position: int | None
    """First position of the longest copied span in the training text; None if there is none."""


def find_copies(ids: Ids, training: Ids, *, min_span: int = MIN_SPAN, block: int = BLOCK) -> Copies:
    """Find the spans of a text that occur in the training text.

    Args:
        ids: The text, integers [n].
        training: The training text, integers [m].
        min_span: Length of the shortest span that counts as copied, 1 or more.
        block: Number of ids of the training text to read at a time, 1 or more.

    """
    max_ids = len(ids) + min(block, len(training))
    powers = [_powers(base, max_ids) for base in BASES]
    positions_of = partial(_first_positions, ids, training, block=block, powers=powers)

    is_copied = np.zeros(len(ids), bool)
    for start in np.flatnonzero(positions_of(min_span) >= 0):
        is_copied[start : start + min_span] = True
    share = float(is_copied.mean()) if len(ids) else 0.0

    lengths = range(1, min(len(ids), len(training)) + 1)
    longest = bisect_left(lengths, True, key=lambda length: bool((positions_of(length) < 0).all()))
    if not longest:
        return Copies(share, 0, None, None)
    positions = positions_of(longest)
    first = int((positions >= 0).argmax())
    return Copies(share, longest, first, int(positions[first]))


def _first_positions(
    ids: Ids, training: Ids, length: int, *, block: int, powers: Sequence[Hashes]
) -> NDArray[np.int64]:
    """Return where each window of `ids` first occurs in the training text, or -1."""
    hashes, indices = np.unique(_hash_windows(ids, length, powers), return_inverse=True)
    positions = np.full(len(hashes), -1)
    if not len(hashes):
        return positions
    for start in range(0, len(training) - length + 1, block):
        candidates = _hash_windows(training[start : start + block + length - 1], length, powers)
        nearest = np.minimum(np.searchsorted(hashes, candidates), len(hashes) - 1)
        is_new = (hashes[nearest] == candidates) & (positions[nearest] < 0)
        matches = np.flatnonzero(is_new)[::-1]  # backwards: the first match is written last
        positions[nearest[matches]] = start + matches
    return positions[indices]


def _hash_windows(ids: Ids, length: int, powers: Sequence[Hashes]) -> Hashes:
    """Return the hash of the window of `length` ids at each position, uint64 [n - length + 1].

    Two polynomial hashes (Karp and Rabin 1987) modulo PRIME are joined, so that different windows
    collide with a probability of about 2^-62. (Modulo 2^64 any base fails on regular texts such as
    the Thue-Morse sequence.) They are differences of prefix sums. The last factor, for N powers of
    the base b, makes the hash independent of the position i:

        hash(i) = (P(i + length) - P(i)) b^(N - 1 - i),  P(i) = sum_{k<i} (id_k + 1) b^k
    """
    count = max(0, len(ids) - length + 1)
    joined = np.zeros(count, np.uint64)
    for base_powers in powers:
        terms = (ids.astype(np.uint64) + np.uint64(1)) * base_powers[: len(ids)] % PRIME
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms)])
        differences = (sums[length : length + count] - sums[:count]) % PRIME
        hashes = differences * base_powers[::-1][:count] % PRIME
        joined = joined << np.uint64(31) | hashes
    return joined


def _powers(base: int, count: int) -> Hashes:
    """Return the first `count` powers of a base modulo PRIME, by repeated doubling."""
    powers = np.ones(1, np.uint64)
    while len(powers) < count:
        factor = np.uint64(pow(base, len(powers), int(PRIME)))
        powers = np.concatenate([powers, powers * factor % PRIME])
    return powers[:count]
