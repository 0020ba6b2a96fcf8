"""The temperature at which a network predicts a text best.

    p = softmax(logits / temperature)

If the best one is above 1, the network is too confident (Guo et al. 2017, "On calibration of modern neural networks").

Axes: n predictions, V vocabulary.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.evaluation.scoring import ERROR_BLOCK, STREAMS, WARM_UP
from charlm.network.ensemble import Network, read_pieces

MIN_CHARACTERS = ERROR_BLOCK
"""A shorter text does not tell the temperature."""
MAX_VALUES = 1 << 22
"""Of the logits; 32 MB."""
TEMPERATURES = (0.25, 4.0)
"""The lowest and the highest temperature that is tried."""
HALVINGS = 20


def fit_temperature(network: Network, ids: NDArray[Any]) -> float:
    """Return the temperature, from 0.25 to 4, at which a network predicts a text best.

    Args:
        network: The weights of a network, or an ensemble.
        ids: Integers [n + 1], n >= 1. If n x V is large, some of the predictions at equal distances are used.

    """
    distance = -(-(len(ids) - 1) * network.vocabulary_size // MAX_VALUES)
    logits, targets = [], []
    for block, positions in read_pieces(network, ids, streams=STREAMS, warm_up=WARM_UP):
        used = positions % distance == 0
        logits.append(block[used])
        targets.append(ids[positions[used] + 1])
    return best_temperature(np.concatenate(logits), np.concatenate(targets))


def best_temperature(logits: NDArray[np.floating[Any]], targets: NDArray[Any]) -> float:
    """Return the temperature of the range TEMPERATURES at which logits predict the targets with the lowest loss.

    The loss is convex in 1 / temperature. Its slope, E[logit] - logit of the target, is brought to 0 by bisection.

    Args:
        logits: Of any floating dtype, [n, V].
        targets: The ids that follow, integers [n].

    """
    logits = logits.astype(np.float64)
    logits -= logits.max(-1, keepdims=True)
    known = float(np.take_along_axis(logits, targets[:, None].astype(np.int64), 1).mean())
    most, least = (1 / temperature for temperature in TEMPERATURES)
    for _ in range(HALVINGS):
        middle = (least + most) / 2
        weights = np.exp(logits * middle)
        slope = float(((weights * logits).sum(1) / weights.sum(1)).mean()) - known
        least, most = (least, middle) if slope > 0 else (middle, most)
    return 2 / (least + most)
