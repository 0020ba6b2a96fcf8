"""Backpropagation through time in NumPy, one character at a time, for any stack of layers.

    g_s = dL/dh_s,  d_s = dL/da_s = g_s D_s,  and from s to s - 1 through one layer: g_{s-1} = d_s V^T

Layers, skip connections and embedding are those of `charlm.network.rnn`. Axes: P rows (predictions or texts), V
vocabulary, H units.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.inspection.trace import Layers, Trace, Values, Weights
from charlm.network.rnn import probabilities


def loss_slope(logits: Values, targets: NDArray[Any]) -> Values:
    """Return dL/dlogits of the loss L = -log softmax(logits)[target]: the probabilities, less 1 at the target.

    Args:
        logits: float [..., V].
        targets: Integers [...].

    Returns:
        [..., V], of the dtype of the logits.

    """
    slopes = probabilities(logits)
    at = targets[..., None]
    np.put_along_axis(slopes, at, np.take_along_axis(slopes, at, -1) - 1, -1)
    return slopes


def through_logits(weights: Weights, slopes: Values) -> Layers:
    """Return what reaches h of each layer directly from dL/dlogits [P, V]: [P, H] for each layer."""
    return tuple(
        slopes @ kernel.T if len(kernel) else np.zeros((len(slopes), width), slopes.dtype)
        for kernel, width in zip(weights.outputs, weights.widths, strict=True)
    )


def step_back(
    weights: Weights, arriving: Layers, slopes: Layers, *, across_layers: bool = True
) -> tuple[Layers, Layers]:
    """Take the gradient of one time step back through the activations, from the top layer down.

    Args:
        weights: The weights.
        arriving: What reaches h of each layer from later characters and from the logits, [P, H].
        slopes: f'(a) of each layer at this time, [P, H].
        across_layers: Whether the gradient goes on from each layer to the one below, at the same time.

    Returns:
        g = dL/dh and d = dL/da of each layer, [P, H].

    """
    gradients, changes = list(arriving), list(arriving)
    for layer in reversed(range(len(arriving))):
        if across_layers and layer + 1 < len(arriving):
            gradients[layer] = arriving[layer] + changes[layer + 1] @ weights.below[layer + 1].T
        changes[layer] = gradients[layer] * slopes[layer]
    return tuple(gradients), tuple(changes)


def follow_back(
    trace: Trace, positions: NDArray[np.int64], slopes: Values, *, lags: int, across_layers: bool = True
) -> Iterator[tuple[Layers, Layers]]:
    """Follow the gradients of single predictions back, all of them side by side.

    Args:
        trace: One text, read.
        positions: The steps t that made the predictions, int64 [P]. All are lags - 1 or more, or else the gradient at
            a step before the text is zero.
        slopes: dL_t/dlogits of each, [P, V].
        lags: How many steps to yield, the first being t itself.
        across_layers: Whether the gradient flows between the layers at the steps before t; else only through each
            layer's own recurrence. At t itself, it always does.

    Yields:
        For k = 0, 1, ..., lags - 1: dL_t/dh_{t-k} and dL_t/da_{t-k} of each layer, [P, H].

    """
    weights = trace.weights
    arriving = through_logits(weights, slopes)
    for lag in range(lags):
        steps = positions - lag
        inside = (steps >= 0)[:, None]
        gains = tuple(np.where(inside, gain[np.maximum(steps, 0), 0], 0) for gain in trace.slopes)
        gradients, changes = step_back(weights, arriving, gains, across_layers=across_layers or lag == 0)
        yield tuple(np.where(inside, gradient, 0) for gradient in gradients), changes
        arriving = tuple(change @ kernel.T for change, kernel in zip(changes, weights.recurrent, strict=True))


def through_inputs(weights: Weights, changes: Layers) -> Values:
    """Return dL/dx, [P, V or E], from dL/da of each layer, [P, H]: x is the one-hot character or its embedding."""
    reached = [change @ kernel.T for change, kernel in zip(changes, weights.inputs, strict=True) if len(kernel)]
    return np.asarray(sum(reached[1:], reached[0]))
