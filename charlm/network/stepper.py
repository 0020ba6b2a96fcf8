"""`Parameters.step` arranged for the speed of generation: one stream, read one character at a time.

The output h_t of a layer is multiplied by up to three matrices: the recurrent kernel of the layer, the kernel of the
layer above and the kernel of the logits. Here they are the columns of a single matrix, [V | U above | W], so that a
layer takes one product a step; `Parameters.step` takes two or three. Buffers are allocated once.

Axes: V vocabulary, H units. All arrays are float32.
"""

from collections.abc import Iterable
from functools import partial

import numpy as np

from charlm.network.rnn import Floats, Parameters, State, activate_in_place


class Stepper:
    """One stream, read one character at a time.

    Args:
        parameters: The weights. They are not changed.
        state: The state to begin at, [1, H] for each layer; it is not changed.
        forbidden: Ids whose logits are always minus infinity.

    """

    def __init__(self, parameters: Parameters, state: State, *, forbidden: Iterable[int] = ()) -> None:
        self._activation = parameters.activation
        self._bias = parameters.logits_bias.copy()
        self._bias[list(forbidden)] = -np.inf
        self._logits = np.empty(parameters.vocabulary_size, np.float32)
        self._layers = [_LayerBuffers(parameters, index) for index in range(len(parameters.layers))]
        self._to_logits = [layer.to_logits for layer in self._layers if layer.to_logits.size]
        for layer, output in zip(self._layers, state, strict=True):
            layer.output[...] = output
            layer.multiply()

    @property
    def logits(self) -> Floats:
        """The logits after the last character read, [V], in a buffer that the next access overwrites."""
        first, *others = self._to_logits
        np.add(first, self._bias, out=self._logits)
        for other in others:
            self._logits += other
        return self._logits

    def advance(self, index: int) -> None:
        """Read the next character."""
        below = None
        for layer in self._layers:
            output = layer.output
            np.add(layer.to_itself, layer.table[index] if layer.is_fed else layer.table, out=output)
            if below is not None:
                output += below
            activate_in_place(self._activation, output)
            layer.multiply()
            below = layer.to_above


class _LayerBuffers:
    """The input table of a layer, its output, and the products of its output with the three matrices."""

    def __init__(self, parameters: Parameters, index: int) -> None:
        units = parameters.layers[index].units
        table = parameters.input_tables[index]
        self.is_fed = len(table) > 1
        self.table = table if self.is_fed else table[0]
        widths = [kernel.shape[1] for kernel in parameters.output_kernels(index)]
        self.kernel = parameters.joined_kernels[index]
        self.output = np.empty(units, np.float32)
        self.product = np.empty(self.kernel.shape[1], np.float32)
        self.to_itself, self.to_above, self.to_logits = np.split(self.product, np.cumsum(widths)[:-1], axis=-1)
        self.multiply = partial(self.output.dot, self.kernel, self.product)  # a third less overhead than np.matmul
        """Multiplies the output by the three matrices, into the buffers of the products."""
