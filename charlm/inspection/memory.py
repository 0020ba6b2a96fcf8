"""Memory: how well a linear read-out (ridge regression) tells the character k steps back from the state."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Memory:
    """How often the read-out names the right character, by lag, on text that it was not fitted to."""

    lag: NDArray[np.int64]
    """k = 0 (the character just read), 1, ..., int64 [K]."""
    accuracy: Values
    """Share of right answers from the state of all layers, float64 [K]."""
    commonest: Values
    """Share of right answers of always guessing the commonest character, float64 [K]."""
    memory: Values
    """(accuracy - commonest) / (1 - commonest), at least 0; 1 = perfect memory: float64 [K]."""
    ridge: Values
    """The penalty that was best on a part of the text of its own, relative to the states' variance: float64 [K]."""
    fitted: int
    """How many characters the read-out was fitted to."""
    tested: int
    """How many characters it was tested on."""
