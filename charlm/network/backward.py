"""The gradient of one prediction's loss with respect to earlier states, by backpropagation through time in NumPy.

    a_t = x_t U + h_{t-1} V + b,  h_t = f(a_t),  D_t = diag f'(a_t)
    dL/dh_t = dL/dh_{t+1} D_{t+1} V' + (the layer above, at the same time)        (Werbos 1990; ' = transposed)

`charlm.engine` trains with automatic differentiation; this is for pictures of a network, on a few windows.
Axes: T time, B batch, H units, V vocabulary, L layers, K lags. All arrays are float32 unless said otherwise.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.network.derivatives import slope
from charlm.network.rnn import ACTIVATIONS, Floats, Parameters, zero_state


@dataclass(frozen=True, eq=False)
class Trace:
    """What a network did while it read windows from the zero state."""

    parameters: Parameters
    outputs: tuple[Floats, ...]
    """h_t of each layer, [T, B, H] for each."""
    slopes: tuple[Floats, ...]
    """f'(a_t) of each layer, [T, B, H] for each."""


def read_windows(parameters: Parameters, ids: NDArray[Any]) -> Trace:
    """Read windows from the zero state, and keep what `follow_back` needs.

    Args:
        parameters: The weights.
        ids: Integers [T, B], T and B 1 or more.

    """
    outputs: list[Floats] = []
    slopes: list[Floats] = []
    first = zero_state(parameters, ids.shape[1])
    for layer, table, kernel, state in zip(
        parameters.layers, parameters.input_tables, parameters.below_kernels, first, strict=True
    ):
        totals = table[ids] if len(table) > 1 else np.tile(table, (*ids.shape, 1))
        if outputs:
            totals += outputs[-1] @ kernel
        output = np.empty_like(totals)
        for time in range(len(totals)):
            totals[time] += (output[time - 1] if time else state) @ layer.recurrent_kernel
            output[time] = ACTIVATIONS[parameters.activation](totals[time])
        outputs.append(output)
        slopes.append(slope(parameters.activation, totals, output))
    return Trace(parameters, tuple(outputs), tuple(slopes))


def follow_back(trace: Trace, targets: NDArray[Any], *, lags: int) -> NDArray[np.float64]:
    """Follow the gradient of the loss of the last prediction in each window back through the whole network.

    Args:
        trace: What `read_windows` returned.
        targets: The ids that follow the windows, integers [B].
        lags: K, from 1 to T.

    Returns:
        |dL/dh_{T-k}| for the lags k = 0 to K - 1, the layers and the windows, float64 [K, L, B].

    """
    parameters, layers = trace.parameters, trace.parameters.layers
    from_logits = _logits_slope(trace, targets)
    later: list[Floats | None] = [None] * len(layers)  # dL/da of each layer, one step later
    norms = np.empty((lags, len(layers), len(targets)))
    for lag in range(lags):
        above: Floats | None = None  # dL/da of the layer above, at this step
        for index in reversed(range(len(layers))):
            gradient = from_logits[index] if lag == 0 else np.zeros_like(from_logits[index])
            if (now_later := later[index]) is not None:
                gradient = gradient + now_later @ layers[index].recurrent_kernel.T
            if above is not None:
                gradient = gradient + above @ parameters.below_kernels[index + 1].T
            norms[lag, index] = np.linalg.norm(gradient.astype(np.float64), axis=-1)
            later[index] = above = gradient * trace.slopes[index][-1 - lag]
    return norms


def _logits_slope(trace: Trace, targets: NDArray[Any]) -> list[Floats]:
    """Return the part of dL/dh_T of each layer that comes directly from the logits, [B, H] for each."""
    parameters, last = trace.parameters, [output[-1] for output in trace.outputs]
    features = np.concatenate(last, -1) if parameters.skip_connections else last[-1]
    logits = features @ parameters.logits_kernel + parameters.logits_bias
    slope = np.exp(logits - logits.max(-1, keepdims=True))
    slope /= slope.sum(-1, keepdims=True)
    slope[np.arange(len(targets)), targets] -= 1  # dL/dlogits = softmax - one-hot
    gradient = slope @ parameters.logits_kernel.T
    if parameters.skip_connections:
        borders = np.cumsum([layer.units for layer in parameters.layers])[:-1]
        return np.split(gradient, borders, axis=-1)
    return [*(np.zeros_like(output) for output in last[:-1]), gradient]
