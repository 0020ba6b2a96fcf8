"""An edit: one character of the text is changed, and the surprise of those after it with it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Edit:
    """The ripple of one changed character in the nats of the characters from it on."""

    position: int
    """Of the changed character in the text, from 0."""
    before: int
    """Its id in the text."""
    after: int
    """The id that replaced it."""
    positions: NDArray[np.int64]
    """The changed position and those after it, int64 [N]."""
    ids: NDArray[np.int64]
    """The ids there in the text as it was, int64 [N]."""
    nats_before: Values
    """The surprise of each in the text as it was, float64 [N]; NaN at position 0, which is not predicted."""
    nats_after: Values
    """The surprise of each in the changed text, float64 [N]."""
