"""The path of the state through a sentence, in the two directions in which the states of a text vary most.

Axes: T the characters of the sentence, N the characters of the text, H units.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Trajectory:
    """The state of a layer while it reads a sentence, in two principal components."""

    layer: int
    start: int
    """The position of the sentence in the text."""
    ids: NDArray[np.int64]
    """The sentence, int64 [T]."""
    points: NDArray[np.float64]
    """The state after each character, [T, 2]."""
    background: NDArray[np.float64]
    """States at other positions of the text, in the same components, [at most 500, 2]."""
    explained: tuple[float, float]
    """The share of the variance of all states that each component has, from 0 to 1."""
