"""`rnn.step` laid out for generating: buffers that are made once, one product a layer.

Whatever reads a layer's output h_t - the layer itself at the next step, the layer above, the logits - reads
it through a matrix. These matrices stand side by side in one, [V | U of the layer above | W], so that each
layer makes one product a step where `rnn.step` makes two or three.

Axes: B batch, V vocabulary, H units; a single stream has no batch axis. All arrays are float32.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from charlm.rnn import Floats, Parameters, State, activate_in_place


class Stepper:
    """Streams that advance by one character at a time, each with a state of its own."""

    def __init__(self, parameters: Parameters, state: State, *, forbidden: Iterable[int] = ()) -> None:
        """Begin at a state of batch B; the logits of `forbidden` ids are minus infinity from then on."""
        batch = len(state[0])
        shape = () if batch == 1 else (batch,)
        self._activation = parameters.activation
        self._bias = parameters.logits_bias.copy()
        self._bias[list(forbidden)] = -np.inf
        self._logits = np.empty((*shape, parameters.vocabulary_size), np.float32)
        self._layers = [_Reader(parameters, index, shape) for index in range(len(parameters.layers))]
        self._to_logits = [layer.to_logits for layer in self._layers if layer.to_logits.size]
        for layer, output in zip(self._layers, state, strict=True):
            layer.output[...] = output
            np.matmul(layer.output, layer.kernel, out=layer.product)

    @property
    def logits(self) -> Floats:
        """The logits after the last character read, [B, V] or [V]; overwritten by `advance`'s."""
        first, *others = self._to_logits
        np.add(first, self._bias, out=self._logits)
        for other in others:
            self._logits += other
        return self._logits

    @property
    def state(self) -> State:
        """A copy of the state, as `rnn.step` returns it: [B, H] for each layer."""
        return tuple(np.atleast_2d(layer.output).copy() for layer in self._layers)

    def advance(self, ids: Any) -> None:
        """Read one more character in each stream: ids [B], or an int for a single stream."""
        below = None
        for layer in self._layers:
            output = layer.output
            np.add(layer.to_itself, layer.table[ids] if layer.is_fed else layer.table, out=output)
            if below is not None:
                output += below
            activate_in_place(self._activation, output)
            np.matmul(output, layer.kernel, out=layer.product)
            below = layer.to_above


class _Reader:
    """One layer: what drives it, its output, and what its output is to those who read it."""

    def __init__(self, parameters: Parameters, index: int, shape: tuple[int, ...]) -> None:
        units = parameters.layers[index].units
        table = parameters.input_tables[index]
        self.is_fed = len(table) > 1
        self.table = table if self.is_fed else table[0]
        readers = _readers(parameters, index)
        self.kernel = np.concatenate(readers, axis=1)
        self.output = np.empty((*shape, units), np.float32)
        self.product = np.empty((*shape, self.kernel.shape[1]), np.float32)
        widths = [reader.shape[1] for reader in readers]
        self.to_itself, self.to_above, self.to_logits = np.split(self.product, np.cumsum(widths)[:-1], axis=-1)


def _readers(parameters: Parameters, index: int) -> list[Floats]:
    """Return the matrices through which the layer itself, the one above and the logits read its output."""
    layer = parameters.layers[index]
    nobody = np.empty((layer.units, 0), np.float32)
    is_top = index == len(parameters.layers) - 1
    above = nobody if is_top else parameters.below_kernels[index + 1]
    if parameters.skip_connections:
        borders = np.cumsum([below.units for below in parameters.layers])[:-1]
        logits = np.split(parameters.logits_kernel, borders)[index]
    else:
        logits = parameters.logits_kernel if is_top else nobody
    return [layer.recurrent_kernel, above, logits]
