"""An edit: one character of the text is changed, and the surprise of those after it with it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.inspection.distribution import nats_of
from charlm.inspection.trace import Trace, read_text

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


def edit_text(trace: Trace, position: int, after: int, *, reach: int = 200) -> Edit:
    """Change one character of a text, and score it and those after it again.

    Args:
        trace: One text, read.
        position: Of the character to change, 0 to T - 1.
        after: The id to put there, 0 to V - 1.
        reach: How many characters after it to score, at most; 0 or more.

    """
    end = min(len(trace.ids), position + reach + 1)
    changed = trace.ids[position:end, 0].copy()
    changed[0] = after
    state = tuple(trace.outputs[layer][position - 1] if position else first for layer, first in enumerate(trace.before))
    again = read_text(trace.weights, changed, state=state)
    predictions = trace.logits[max(0, position - 1) : end - 1, 0]
    predictions_after = np.concatenate([trace.logits[max(0, position - 1) : position, 0], again.logits[:-1, 0]])
    unpredicted = [np.nan] * (position == 0)
    ids = trace.ids[position:end, 0]
    scored = slice(len(unpredicted), None)
    return Edit(
        position=position,
        before=int(ids[0]),
        after=after,
        positions=np.arange(position, end),
        ids=ids,
        nats_before=np.concatenate([unpredicted, nats_of(predictions, ids[scored])]),
        nats_after=np.concatenate([unpredicted, nats_of(predictions_after, changed[scored])]),
    )
