"""The impulse response: one character is replaced, and the change of the state is followed.

A linear filter with a finite impulse response is back at zero after some steps, one with an infinite response never is.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ImpulseResponse:
    """What is left of a replaced character, by lag; lag 0 is the step that reads it. Medians over the positions."""

    lag: NDArray[np.int64]
    """0, 1, ..., int64 [K]."""
    state: Values
    """|dh|, the norm of the change of the whole state, over that at lag 0: float64 [K]."""
    state_low: Values
    """The 10th percentile, float64 [K]."""
    state_high: Values
    """The 90th percentile, float64 [K]."""
    linear: Values
    """The same by the linear prediction dh_{t+1} = dh_t V D_{t+1}, begun with dh at lag 0: float64 [K]."""
    kl: Values
    """KL divergence of the next character's distribution before and after the change, in nats, mean: float64 [K]."""
    verdict: Literal["finite", "infinite"]
    """finite: both the change and its linear prediction are exactly zero after some lag, at every position."""
    length: int | None
    """The first lag at which a finite response is zero; None if it is infinite, as far as it was followed."""
    half_life: float | None
    """The lag in characters at which `state` has fallen to a half, interpolated; None if it has not."""
    positions: int
    """How many characters were replaced, one at a time."""
