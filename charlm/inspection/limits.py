"""How much of a text a report reads, so that one of a large network is made in about a minute on two cores."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from charlm.network.rnn import Parameters

MOST_CHARACTERS = 100_000
MOST_POSITIONS = 2_000
"""Of the part of the text that is followed character by character."""
MOST_LOGITS = 20_000_000
"""That are held at once; takes 160 MB in float64."""
DOUBLE_UP_TO = 1_500_000
"""Up to how many weights the derivatives are computed in float64."""


@dataclass(frozen=True)
class Limits:
    """The limits for a network of some size; all of them count characters."""

    characters: int
    """Whose loss is divided by classes."""
    positions: int
    """That are read with their derivatives, from the beginning of the text."""
    gradient_positions: int
    """Predictions whose gradients are followed back."""
    context_positions: int
    """Predictions whose context is cut."""
    spectrum_positions: int
    """Steps at which the eigenvalues of V D are computed."""
    memory_characters: int
    """States to which the read-out of memory is fitted, and on which it is tested."""
    training_characters: int
    """Of the training text, from which n-grams are counted."""
    dtype: DTypeLike
    """Of the derivatives."""


def limits_for(parameters: Parameters) -> Limits:
    """Return the limits for a network: the more weights it has, the fewer characters."""
    weights = sum(layer.kernel.size + layer.recurrent_kernel.size for layer in parameters.layers)
    units = max(layer.units for layer in parameters.layers)
    dimensions = sum(layer.units for layer in parameters.layers)
    return Limits(
        characters=_between(5_000, 8e10 / weights, MOST_CHARACTERS),
        positions=_between(200, MOST_LOGITS / parameters.vocabulary_size, MOST_POSITIONS),
        gradient_positions=_between(50, 6e8 / weights, 400),
        context_positions=_between(96, 1.8e8 / weights, 600),
        spectrum_positions=_between(2, 1.5e9 / units**3, 16),
        memory_characters=_between(3_000, 4 * dimensions, 10_000),
        training_characters=1_000_000,
        dtype=np.float64 if weights <= DOUBLE_UP_TO else np.float32,
    )


def _between(least: int, wanted: float, most: int) -> int:
    return max(least, min(most, int(wanted)))
