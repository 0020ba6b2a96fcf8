"""Lyapunov exponents: by how much small differences of the whole state grow or shrink per character.

Benettin et al. 1980: QR decomposition of the product of the Jacobians dh_t / dh_{t-1} along the text.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Lyapunov:
    """The exponents of the whole state, all layers together."""

    exponents: Values
    """In nats per character, largest first: float64 [n]; -inf for a direction that is forgotten at once."""
    dimensions: int
    """Of the state: how many exponents there are in all; n may be less."""
    time_constant: float | None
    """-1 / largest exponent, in characters: a difference shrinks to 1/e in this time; None if it does not shrink."""
    steps: int
    """Over how many characters they were averaged."""
