"""Distributions of the next character, in float64: probabilities, surprise and divergence.

`charlm.network.rnn` computes the loss in float32. Axes: V vocabulary.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def log_softmax(logits: NDArray[Any]) -> Values:
    """Return ln softmax(logits), float64 [..., V], without overflow for finite logits [..., V]."""
    below_peak = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    below_peak -= np.log(np.exp(below_peak).sum(-1, keepdims=True))
    return np.asarray(below_peak)


def nats_of(logits: NDArray[Any], ids: NDArray[Any]) -> Values:
    """Return -ln softmax(logits)[id], float64 [...], for logits [..., V] and ids, integers [...]."""
    return np.asarray(-np.take_along_axis(log_softmax(logits), ids[..., None], -1)[..., 0])


def divergence(logits: NDArray[Any], other: NDArray[Any]) -> Values:
    """Return KL(p || q) = sum p (ln p - ln q) in nats, float64 [...], of p = softmax(logits) and q = softmax(other)."""
    log_p, log_q = log_softmax(logits), log_softmax(other)
    return np.asarray(np.maximum(0, (np.exp(log_p) * (log_p - log_q)).sum(-1)))
