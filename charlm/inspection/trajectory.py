"""The path of the state through a sentence, in the two directions in which the states of a text vary most.

Axes: T the characters of the sentence, N the characters of the text, H units.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.inspection.components import fit_plane
from charlm.inspection.features import SENTENCE_ENDS
from charlm.inspection.states import read_states
from charlm.network.rnn import Parameters
from charlm.text.vocabulary import Vocabulary

MAX_POSITIONS = 2000
BACKGROUND = 500
"""How many states the background has, at most."""
SENTENCE = (30, 120)
"""The least and the most characters of the sentence."""


@dataclass(frozen=True, eq=False)
class Trajectory:
    """The state of a layer while it reads a sentence, in two principal components."""

    layer: int
    start: int
    """The position of the sentence in the text."""
    ids: NDArray[np.int64]
    """The sentence, int64 [T]."""
    points: NDArray[np.float64]
    """The state after each character, [T, 2]."""
    background: NDArray[np.float64]
    """States at other positions of the text, in the same components, [at most 500, 2]."""
    explained: tuple[float, float]
    """The share of the variance of all states that each component has, from 0 to 1."""


def follow_state(
    parameters: Parameters,
    ids: NDArray[Any],
    vocabulary: Vocabulary,
    *,
    layer: int | None = None,
    max_positions: int = MAX_POSITIONS,
) -> Trajectory:
    """Follow the state of a layer through one sentence of a text that is read as one stream.

    The sentence is the first one whose length lies in SENTENCE; if there is none, it is the beginning of the text.

    Args:
        parameters: The weights.
        ids: The text, integers [N], N >= 1.
        vocabulary: The characters by id.
        layer: The index of the layer, 0 is the lowest; None = the highest.
        max_positions: If the text is longer, only its beginning is used.

    Raises:
        CharlmError: an output of the network is not finite.

    """
    ids = np.asarray(ids[:max_positions], np.int64)
    index = len(parameters.layers) - 1 if layer is None else layer
    states = read_states(parameters, ids)[index]
    plane = fit_plane(states)
    start, end = _choose_sentence(ids, vocabulary)
    return Trajectory(
        layer=index,
        start=start,
        ids=ids[start:end],
        points=plane.project(states[start:end]),
        background=plane.project(states[:: -(-len(states) // BACKGROUND)]),
        explained=plane.explained,
    )


def _choose_sentence(ids: NDArray[np.int64], vocabulary: Vocabulary) -> tuple[int, int]:
    """Return where a sentence starts and ends."""
    shortest, longest = SENTENCE
    ends = [index for index, glyph in enumerate(vocabulary.glyphs) if glyph in SENTENCE_ENDS]
    blanks = [index for index, glyph in enumerate(vocabulary.glyphs) if glyph.isspace()]
    borders = np.flatnonzero(np.isin(ids, ends)) + 1
    for begin, end in pairwise(borders.tolist()):
        start = begin + int(np.argmin(np.isin(ids[begin:end], blanks)))
        if shortest <= end - start <= longest:
            return start, end
    return 0, min(longest, len(ids))
