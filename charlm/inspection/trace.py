"""A text read by the network with everything kept that its derivatives need: outputs and slopes of every layer.

    a_t = x_t U + h_{t-1} V + b,  h_t = f(a_t),  D_t = diag f'(a_t)

`charlm.network.rnn` reads faster and keeps only the logits. Axes: T time, B batch, V vocabulary, E embedding, H units.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from charlm.network.derivatives import slope
from charlm.network.rnn import ACTIVATIONS, Parameters

Values = NDArray[np.floating[Any]]
Layers = tuple[Values, ...]
"""One array for each layer, lowest first."""


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of a network in one dtype, cut into what each layer reads and is read by."""

    tables: Layers
    """x U + b for each character, [V, H]; [1, H], just b, for a layer that does not read x."""
    inputs: Layers
    """The rows of U that multiply x, [V or E, H]; [0, H] for a layer that does not read x."""
    below: Layers
    """The rows of U that multiply the output of the layer below, [H below, H]; [0, H] for layer 0."""
    recurrent: Layers
    """V, [H, H]."""
    outputs: Layers
    """The rows of W that multiply the output of the layer, [H, V]; [0, V] for a layer that the logits do not read."""
    bias: Values
    """c of the logits, [V]."""
    embedding: Values | None
    """[V, E]."""
    activation: str
    has_bias: bool
    """Whether the layers have a bias b."""

    @property
    def widths(self) -> list[int]:
        """H of each layer."""
        return [len(kernel) for kernel in self.recurrent]

    @property
    def activate(self) -> Callable[[Any], Any]:
        """The function f."""
        return ACTIVATIONS[self.activation]

    def logits(self, outputs: Sequence[Values]) -> Values:
        """Return the logits [..., V] of the outputs of all layers, each [..., H]."""
        pairs = zip(outputs, self.outputs, strict=True)
        return np.asarray(sum((output @ kernel for output, kernel in pairs if len(kernel)), self.bias))


def cut_weights(parameters: Parameters, *, dtype: DTypeLike = np.float64) -> Weights:
    """Return the weights of a network, converted to a dtype and cut by layer."""
    layers, below = parameters.layers, parameters.below_kernels
    reads_x = [index == 0 or parameters.skip_connections for index in range(len(layers))]
    inputs = [layer.kernel[len(kernel) :] for layer, kernel in zip(layers, below, strict=True)]
    embedding = None if parameters.embedding is None else parameters.embedding.astype(dtype)
    inputs = [kernel.astype(dtype) for kernel in inputs]
    biases = [np.zeros(layer.units, dtype) if layer.bias is None else layer.bias.astype(dtype) for layer in layers]
    tables = [
        ((kernel if embedding is None else embedding @ kernel) if reads else 0 * bias[None]) + bias
        for kernel, bias, reads in zip(inputs, biases, reads_x, strict=True)
    ]
    return Weights(
        tables=tuple(np.asarray(table) for table in tables),
        inputs=tuple(inputs),
        below=tuple(kernel.astype(dtype) for kernel in below),
        recurrent=tuple(layer.recurrent_kernel.astype(dtype) for layer in layers),
        outputs=tuple(kernel.astype(dtype) for kernel in _logits_kernels(parameters)),
        bias=parameters.logits_bias.astype(dtype),
        embedding=embedding,
        activation=parameters.activation,
        has_bias=layers[0].bias is not None,
    )


def _logits_kernels(parameters: Parameters) -> list[Values]:
    """Return the rows of the logits' kernel that multiply each layer; none if they read only the last layer."""
    kernel, layers = parameters.logits_kernel, parameters.layers
    if not parameters.skip_connections:
        return [kernel[:0] for _ in layers[:-1]] + [kernel]
    return list(np.split(kernel, np.cumsum([layer.units for layer in layers])[:-1]))


def step_layers(weights: Weights, ids: NDArray[Any], state: Layers) -> tuple[Layers, Layers]:
    """Read one character in each stream.

    Args:
        weights: The weights.
        ids: Integers [B].
        state: [B, H] for each layer.

    Returns:
        The outputs h_t and the slopes f'(a_t) of each layer, [B, H].

    """
    outputs: list[Values] = []
    slopes: list[Values] = []
    for table, below, recurrent, previous in zip(weights.tables, weights.below, weights.recurrent, state, strict=True):
        total = previous @ recurrent
        total += table[ids] if len(table) > 1 else table
        if outputs:
            total += outputs[-1] @ below
        outputs.append(np.asarray(weights.activate(total)))
        slopes.append(slope(weights.activation, total, outputs[-1]))
    return tuple(outputs), tuple(slopes)


@dataclass(frozen=True, eq=False)
class Trace:
    """What happened while B texts of T characters were read side by side."""

    weights: Weights
    ids: NDArray[np.int64]
    """The characters, int64 [T, B]."""
    before: Layers
    """The state before the first character, [B, H] for each layer."""
    outputs: Layers
    """h_t of each layer, [T, B, H]."""
    slopes: Layers
    """f'(a_t) of each layer, [T, B, H]."""

    @cached_property
    def logits(self) -> Values:
        """The logits after each character, [T, B, V]."""
        return self.weights.logits(self.outputs)


def zeros(weights: Weights, batch: int) -> Layers:
    """Return the zero state, [batch, H] for each layer."""
    return tuple(np.zeros((batch, width), weights.bias.dtype) for width in weights.widths)


def read_text(weights: Weights, ids: NDArray[Any], *, state: Layers | None = None) -> Trace:
    """Read texts side by side, and keep outputs and slopes.

    Args:
        weights: The weights; their dtype is that of the result.
        ids: Integers [T, B], or [T] for a single text.
        state: The state to begin at, [B, H] for each layer; None = zero.

    Returns:
        The trace; values that overflow are not finite in it.

    """
    columns = np.asarray(ids, np.int64).reshape(len(ids), -1)
    before = zeros(weights, columns.shape[1]) if state is None else state
    outputs = [np.empty((*columns.shape, width), weights.bias.dtype) for width in weights.widths]
    slopes = [np.empty_like(output) for output in outputs]
    now = before
    with np.errstate(over="ignore", invalid="ignore"):
        for time, characters in enumerate(columns):
            now, slopes_now = step_layers(weights, characters, now)
            for layer, (output, gain) in enumerate(zip(now, slopes_now, strict=True)):
                outputs[layer][time], slopes[layer][time] = output, gain
    return Trace(weights, columns, before, tuple(outputs), tuple(slopes))
