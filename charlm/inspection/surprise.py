"""The surprise of each character of a text, what was likelier, and what decided it.

    nats_t = -log softmax(logits_{t-1})[id_t]

Axes: N scored characters, V vocabulary.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.network.gradients import Trace, follow_back, through_inputs
from charlm.network.rnn import nats, probabilities

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


def predict(trace: Trace, *, lags: int = 32, rows: int = 256) -> Predictions:
    """Score every character of a text but the first, and follow each prediction back to the characters behind it.

    Args:
        trace: One text, read from the zero state; T >= 2.
        lags: How many characters before each one `influence` reaches back, 1 or more.
        rows: How many predictions to follow side by side, 1 or more.

    Returns:
        The predictions of characters 1 to T - 1.

    """
    steps = np.arange(len(trace.ids) - 1)
    ids, logits = trace.ids[1:, 0], trace.logits[:-1, 0].astype(np.float64)
    chances = probabilities(logits)
    likeliest = np.argsort(-chances, axis=-1, kind="stable")[:, :LIKELIEST]
    influence = [_influence(trace, part, lags=lags) for part in np.array_split(steps, -(-len(steps) // rows))]
    return Predictions(
        positions=steps + 1,
        ids=ids,
        nats=np.asarray(nats(logits, ids), np.float64),
        likeliest=likeliest,
        probabilities=np.take_along_axis(chances, likeliest, -1),
        influence=np.concatenate(influence),
    )


def _influence(trace: Trace, steps: NDArray[np.int64], *, lags: int) -> Values:
    """Return |dL_t/dx_s| of some predictions, float64 [P, lags], divided by the largest of each."""
    flow = follow_back(trace, steps, lags=lags)
    norms = [np.linalg.norm(through_inputs(trace.parameters, changes), axis=-1) for _, changes in flow]
    by_lag = np.stack(norms, axis=-1).astype(np.float64)
    peaks = by_lag.max(-1, keepdims=True)
    return np.asarray(np.divide(by_lag, peaks, out=np.zeros_like(by_lag), where=peaks > 0))
