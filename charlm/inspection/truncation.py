"""The bias of truncated backpropagation: the gradient by window length against that of the whole text.

The state is carried from window to window, as in training; only the gradient stops at the border of a window.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TruncationBias:
    """The gradient of the mean loss with windows of some lengths, beside the gradient over the whole text."""

    window: NDArray[np.int64]
    """The lengths in characters, rising; the last one is the whole text: int64 [n]."""
    angle_degrees: Values
    """The angle between the truncated and the full gradient of all weights, float64 [n]; 0 for the last."""
    length_ratio: Values
    """|truncated| / |full|, float64 [n]; 1 for the last."""
    recurrent_angle_degrees: Values
    """The same angle for the recurrent kernel V of each layer alone, float64 [layers, n]."""
    recurrent_length_ratio: Values
    """The same ratio for the recurrent kernel V of each layer alone, float64 [layers, n]."""
    characters: int
    """The length of each text over which the gradient was taken."""
    texts: int
    """How many texts were averaged."""
