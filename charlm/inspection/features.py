"""Features of a text that a unit may follow: a value for each character, from the text alone.

Axes: T the characters of the text.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["yes/no", "number"]


@dataclass(frozen=True, eq=False)
class Feature:
    """A property of each character of a text."""

    name: str
    """What is true of the character, or what is counted, for instance `inside a word`."""
    kind: Kind
    values: NDArray[np.float64]
    """[T]: 0 or 1 if the kind is yes/no."""
