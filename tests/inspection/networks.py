"""Networks made by hand, whose memory is known."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from models import one_layer_of
from numpy.typing import NDArray

from charlm.network.gradients import Trace, read_text
from charlm.network.rnn import Parameters, State, read_outputs

REGISTER_IDS = 3


def shift_register(
    depth: int, *, reads: int | None = None, activation: str = "linear"
) -> Parameters:
    """Return a network that holds the last `depth` characters one-hot, and knows nothing of those before.

    Args:
        depth: Of the register.
        reads: How many characters back the logits look, from 0 (the last one) to depth - 1; they predict that this
            character comes again. None = they predict nothing.
        activation: linear or relu: both keep zeros and ones.

    """
    units = depth * REGISTER_IDS
    kernel = np.eye(REGISTER_IDS, units, dtype=np.float32)
    recurrent = np.eye(units, k=REGISTER_IDS, dtype=np.float32)  # each place goes to the next one
    logits = np.zeros((units, REGISTER_IDS), np.float32)
    if reads is not None:
        logits[reads * REGISTER_IDS : (reads + 1) * REGISTER_IDS] = 12 * np.eye(REGISTER_IDS)
    return one_layer_of(kernel, recurrent, logits, activation=activation)


def one_layer(
    recurrent: NDArray[Any], *, activation: str = "linear", ids: int = 3, seed: int = 0
) -> Parameters:
    """Return a layer with this recurrent kernel V, [H, H], and random other weights."""
    rng = np.random.default_rng(seed)
    units = len(recurrent)
    kernel = rng.standard_normal((ids, units))
    logits = rng.standard_normal((units, ids))
    return one_layer_of(kernel, recurrent, logits, activation=activation)


def random_ids(count: int, *, ids: int = 3, seed: int = 1) -> NDArray[Any]:
    """Return random ids, int64 [count]."""
    return np.random.default_rng(seed).integers(0, ids, count)


def traced(parameters: Parameters, ids: Sequence[int] | NDArray[Any]) -> Trace:
    """Return a text, or texts side by side, read in float64 with everything that derivatives need."""
    return read_text(parameters.cast(np.float64), np.asarray(ids))


def states_of(parameters: Parameters, ids: Sequence[int] | NDArray[Any]) -> State:
    """Return the outputs of each layer on a text, float32 [T, H]."""
    return read_outputs(
        parameters, np.asarray(ids), tuple(layer[0] for layer in parameters.zero_state(1))
    )
