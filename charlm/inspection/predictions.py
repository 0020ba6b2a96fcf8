"""The surprise of each character of a text, what the network thought likelier, and which characters decided it.

    nats_t = -log softmax(logits_{t-1})[id_t]

Axes: N scored characters, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

LIKELIEST = 5


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions of consecutive characters, read as one stream from the zero state."""

    positions: NDArray[np.int64]
    """The position of each character in the text, from 0: int64 [N]. The first one has no prediction."""
    ids: NDArray[np.int64]
    """The characters that came, int64 [N]."""
    nats: Values
    """The surprise of each, float64 [N]; what `charlm evaluate --surprise` writes."""
    likeliest: NDArray[np.int64]
    """The ids that the network thought likeliest before each character, likeliest first: int64 [N, 5 or V]."""
    probabilities: Values
    """Their probabilities, float64 [N, 5 or V]."""
    influence: Values
    """|dL_t / dx_s| of the prediction at t by the input x_s, for the characters s = t - 1, t - 2, ... before it.

    float64 [N, lags], divided by the largest of its row; 0 before the beginning of the text, and if nothing decides.
    """
