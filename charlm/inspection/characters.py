"""A map of the characters: which ones the network reads alike, and which ones it predicts alike.

Axes: V the characters on the map.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Projection:
    """Vectors of the characters in the two directions in which they differ most."""

    points: NDArray[np.float64]
    """[V, 2]."""
    explained: tuple[float, float]
    """The share of the variance that each direction has, from 0 to 1."""


@dataclass(frozen=True, eq=False)
class CharacterMap:
    """The characters by their weights."""

    ids: NDArray[np.int64]
    """Ascending, int64 [V]."""
    kinds: tuple[str, ...]
    """What each one is: vowel, consonant, digit, blank, punctuation, other or reserved, [V]."""
    counts: NDArray[np.int64]
    """How often each one occurs in the text, [V]."""
    by_input: Projection
    """By what the character adds to the lowest layer: its row of U, or of its embedding times U."""
    by_output: Projection
    """By what the character is predicted from: its column of W."""
