"""`rnn.step` arranged for the speed of generation: buffers are allocated once, and a layer takes one product a step.

The output h_t of a layer is multiplied by up to three matrices: the recurrent kernel of the layer, the kernel of the
layer above and the kernel of the logits. Here they are the columns of a single matrix, [V | U above | W], so that a
layer takes one product a step; `rnn.step` takes two or three.

Axes: B batch, V vocabulary, H units; a single stream has no batch axis. All arrays are float32.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np

from charlm.network.rnn import Floats, Parameters, State, activate_in_place


class Stepper:
    """One stream or several, read one character at a time; each has its own state.

    Args:
        parameters: The weights. They are not changed.
        state: The state to begin at, [B, H] for each layer; it is not changed.
        forbidden: Ids whose logits are always minus infinity.

    """

    def __init__(self, parameters: Parameters, state: State, *, forbidden: Iterable[int] = ()) -> None:
        batch = len(state[0])
        shape = () if batch == 1 else (batch,)
        self._activation = parameters.activation
        self._bias = parameters.logits_bias.copy()
        self._bias[list(forbidden)] = -np.inf
        self._logits = np.empty((*shape, parameters.vocabulary_size), np.float32)
        self._layers = [_LayerBuffers(parameters, index, shape) for index in range(len(parameters.layers))]
        self._to_logits = [layer.to_logits for layer in self._layers if layer.to_logits.size]
        for layer, output in zip(self._layers, state, strict=True):
            layer.output[...] = output
            layer.multiply()

    @property
    def logits(self) -> Floats:
        """The logits after the last character read, [B, V] or [V], in a buffer that the next access overwrites."""
        first, *others = self._to_logits
        np.add(first, self._bias, out=self._logits)
        for other in others:
            self._logits += other
        return self._logits

    @property
    def state(self) -> State:
        """A copy of the state: [B, H] for each layer, as `rnn.step` returns it."""
        return tuple(np.atleast_2d(layer.output).copy() for layer in self._layers)

    def advance(self, ids: Any) -> None:
        """Read the next character in each stream: ids, integers [B], or an int if there is one stream."""
        below = None
        for layer in self._layers:
            output = layer.output
            np.add(layer.to_itself, layer.table[ids] if layer.is_fed else layer.table, out=output)
            if below is not None:
                output += below
            activate_in_place(self._activation, output)
            layer.multiply()
            below = layer.to_above


class _LayerBuffers:
    """The input table of a layer, its output, and the products of its output with the three matrices."""

    def __init__(self, parameters: Parameters, index: int, shape: tuple[int, ...]) -> None:
        units = parameters.layers[index].units
        table = parameters.input_tables[index]
        self.is_fed = len(table) > 1
        self.table = table if self.is_fed else table[0]
        kernels = output_kernels(parameters, index)
        self.kernel = np.concatenate(kernels, axis=1)
        self.output = np.empty((*shape, units), np.float32)
        self.product = np.empty((*shape, self.kernel.shape[1]), np.float32)
        widths = [kernel.shape[1] for kernel in kernels]
        self.to_itself, self.to_above, self.to_logits = np.split(self.product, np.cumsum(widths)[:-1], axis=-1)
        self.multiply = partial(self.output.dot, self.kernel, self.product)  # a third less overhead than np.matmul
        """Multiplies the output by the three matrices, into the buffers of the products."""


def output_kernels(parameters: Parameters, index: int) -> list[Floats]:
    """Return the matrices [H, n] by which the layer itself, the next one and the logits read its output; n may be 0."""
    layer = parameters.layers[index]
    none = np.empty((layer.units, 0), np.float32)
    is_top = index == len(parameters.layers) - 1
    above = none if is_top else parameters.below_kernels[index + 1]
    if parameters.skip_connections:
        borders = np.cumsum([below.units for below in parameters.layers])[:-1]
        logits = np.split(parameters.logits_kernel, borders)[index]
    else:
        logits = parameters.logits_kernel if is_top else none
    return [layer.recurrent_kernel, above, logits]
