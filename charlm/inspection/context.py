"""The usable context: how many earlier characters help to predict the next one."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class UsableContext:
    """The mean loss if only the last k characters are given; the same characters are scored for every k."""

    characters: NDArray[np.int64]
    """k = 1, 2, 4, ..., int64 [n]."""
    nats: Values
    """Nats per character from the zero state, float64 [n]."""
    nats_other_state: Values
    """Nats per character from the state that another place of the text has left, float64 [n]."""
    bits_saved: Values
    """Bits per character that each doubling of k saves, from the zero state: float64 [n - 1]."""
    ngram_order: NDArray[np.int64]
    """k + 1 of the n-gram models that were counted on the training text, int64 [m]; empty without that text."""
    ngram_nats: Values
    """Their nats per character on the same characters, float64 [m]."""
    positions: int
    """How many characters were scored."""
