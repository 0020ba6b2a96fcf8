"""The outputs of every layer while a network reads a text, and the logits they give.

Axes: T time, H units, V vocabulary.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.network.rnn import Floats, Parameters, recur, zero_state


def read_states(parameters: Parameters, ids: NDArray[Any]) -> tuple[Floats, ...]:
    """Read a text as one stream from the zero state.

    Args:
        parameters: The weights.
        ids: Integers [T], 0 to V - 1; T may be 0.

    Returns:
        The outputs h_1 to h_T of each layer, float32 [T, H], lowest first; `outputs[t]` follows the character `ids[t]`.

    Raises:
        CharlmError: an output is not finite, as the activations relu and linear can make it.

    """
    outputs: list[Floats] = []
    with np.errstate(over="ignore", invalid="ignore"):
        for layer, table, kernel, first in zip(
            parameters.layers, parameters.input_tables, parameters.below_kernels, zero_state(parameters, 1), strict=True
        ):
            inputs = table[ids] if len(table) > 1 else np.broadcast_to(table, (len(ids), layer.units))
            if outputs:
                inputs = inputs + outputs[-1] @ kernel
            found = recur(inputs[:, None], layer.recurrent_kernel, first, activation=parameters.activation)
            outputs.append(found[:, 0])
    if not all(np.isfinite(output).all() for output in outputs):
        raise CharlmError("the outputs of the network are not finite on this text: there is nothing to inspect in them")
    return tuple(outputs)


def to_logits(parameters: Parameters, outputs: tuple[Floats, ...]) -> Floats:
    """Return the logits [T, V] that the outputs of all layers give, float32 [T, H] each."""
    features = np.concatenate(outputs, -1) if parameters.skip_connections else outputs[-1]
    return np.asarray(features @ parameters.logits_kernel + parameters.logits_bias)
