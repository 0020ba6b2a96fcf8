"""The loss in nats per character, and its conversion to bits and perplexity.

    nats_t = -log softmax(logits_t)[id_{t+1}] = log(sum(exp(logits_t))) - logits_t[id_{t+1}]

Axes: V vocabulary.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.network.rnn import Floats


def nats(logits: Floats, targets: NDArray[Any]) -> Floats:
    """Compute -log softmax(logits)[target], without overflow for finite logits of any size.

    Args:
        logits: float32 [..., V].
        targets: The ids that follow, integers [...], 0 to V - 1.

    Returns:
        float32 [...]; not finite if the logits are not.

    """
    with np.errstate(over="ignore", invalid="ignore"):  # the result shows whether the logits were finite
        below_peak = logits - logits.max(-1, keepdims=True)
        target = np.take_along_axis(below_peak, targets[..., None], -1)[..., 0]
        return np.asarray(np.log(np.exp(below_peak, out=below_peak).sum(-1)) - target)


def probabilities(logits: NDArray[Any]) -> NDArray[Any]:
    """Return softmax(logits), [..., V], of the dtype of the logits, without overflow for finite logits of any size."""
    result = np.exp(logits - logits.max(-1, keepdims=True))
    result /= result.sum(-1, keepdims=True)
    return np.asarray(result)


def bits(nats: float) -> float:
    """Convert nats to bits: nats / ln 2."""
    return nats / math.log(2)


def perplexity(nats: float) -> float:
    """Return exp(nats), or infinity if that is too large for a float."""
    return math.exp(nats) if nats < 700 else math.inf
