"""Networks with a known memory, and their readings of a text."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from models import one_layer_of
from numpy.typing import NDArray

from charlm.core.rnn import Parameters, State, read_outputs
from charlm.measures.gradients import Trace, read_trace

REGISTER_IDS = 3


def shift_register(
    depth: int, *, reads: int | None = None, activation: str = "linear"
) -> Parameters:
    """Return a network that remembers exactly the last `depth` characters, one-hot.

    Args:
        depth: The number of characters.
        reads: Which of them the logits predict to come next, from 0 (the last one) to depth - 1;
            None = the logits are all equal.
        activation: linear or relu, which keep zeros and ones.

    """
    units = depth * REGISTER_IDS
    kernel = np.eye(REGISTER_IDS, units, dtype=np.float32)
    recurrent = np.eye(units, k=REGISTER_IDS, dtype=np.float32)  # moves each character back
    logits = np.zeros((units, REGISTER_IDS), np.float32)
    if reads is not None:
        logits[reads * REGISTER_IDS : (reads + 1) * REGISTER_IDS] = 12 * np.eye(REGISTER_IDS)
    return one_layer_of(kernel, recurrent, logits, activation=activation)


def one_layer(
    recurrent: NDArray[Any], *, activation: str = "linear", ids: int = 3, seed: int = 0
) -> Parameters:
    """Return a network of a layer with a recurrent kernel, [H, H], and random other weights."""
    rng = np.random.default_rng(seed)
    units = len(recurrent)
    kernel = rng.standard_normal((ids, units))
    logits = rng.standard_normal((units, ids))
    return one_layer_of(kernel, recurrent, logits, activation=activation)


def random_ids(count: int, *, ids: int = 3, seed: int = 1) -> NDArray[Any]:
    """Return random ids, int64 [count]."""
    return np.random.default_rng(seed).integers(0, ids, count)


def traced(parameters: Parameters, ids: Sequence[int] | NDArray[Any]) -> Trace:
    """Read a text, or several texts [T, B], in float64 for derivatives."""
    return read_trace(parameters.cast(np.float64), np.asarray(ids))


def states_of(parameters: Parameters, ids: Sequence[int] | NDArray[Any]) -> State:
    """Return the outputs of each layer on a text, float32 [T, H]."""
    zero_state = tuple(layer[0] for layer in parameters.zero_state(1))
    return read_outputs(parameters, np.asarray(ids), zero_state)
