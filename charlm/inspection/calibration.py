"""Whether the network's probabilities are right: reliability, and the temperature that fits a text best.

A temperature T divides the logits: p = softmax(logits / T). If the best T is above 1, the network is too confident
(Guo et al. 2017, "On calibration of modern neural networks").
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Bin:
    """The positions at which the probability of the likeliest character lies in a range."""

    low: float
    high: float
    positions: int
    """1 or more."""
    confidence: float
    """The mean probability of the likeliest character."""
    accuracy: float
    """How often the likeliest character was the right one, from 0 to 1."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """How the probabilities of a network compare with what happens."""

    positions: int
    """How many predictions were judged."""
    bins: tuple[Bin, ...]
    """Those with a position in them, from the least confident."""
    expected_error: float
    """The mean of |confidence - accuracy| over the positions, bin by bin, from 0 to 1."""
    temperature: float
    """The temperature with the lowest loss on the text, within the range of `temperatures`."""
    nats_per_char: float
    """The loss at temperature 1."""
    best_nats_per_char: float
    """The loss at `temperature`."""
    temperatures: NDArray[np.float64]
    """Temperatures at which the loss was measured, ascending, [points]."""
    nats_by_temperature: NDArray[np.float64]
    """The loss at each of them in nats per character, [points]."""
