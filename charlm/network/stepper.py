"""`Parameters.step` arranged for the speed of generation: one stream, and many, each as if it were alone.

The output h_t of a layer is multiplied by up to three matrices: the recurrent kernel of the layer, the kernel of the
layer above and the kernel of the logits. Here they are the columns of a single matrix, [V | U above | W], so that a
layer takes one product a step; `Parameters.step` takes two or three. Buffers are allocated once.

A product of [B, H] by [H, N] does not treat its rows alike: a BLAS has one kernel for twelve
rows, another for the four that are left, and they round differently. Which bits a stream gets would depend on how many
others there are and on its place among them. In `TiledStepper` streams lie in tiles of L lanes, and each product has
one shape, [N, H] by [H, L], however many tiles there are. The lanes are those of the processor's vectors, which do the
same to each. That they do on this machine is not assumed: `count_lanes` tries it with the weights at hand.

Axes: B batch, V vocabulary, H units, K tiles, L lanes (B = K L), N columns of the joined kernels; a single stream has
no batch axis. All arrays are float32.
"""

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
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
        kernels = output_kernels(parameters, index)
        self.kernel = np.concatenate(kernels, axis=1)
        self.output = np.empty(units, np.float32)
        self.product = np.empty(self.kernel.shape[1], np.float32)
        widths = [kernel.shape[1] for kernel in kernels]
        self.to_itself, self.to_above, self.to_logits = np.split(self.product, np.cumsum(widths)[:-1], axis=-1)
        self.multiply = partial(self.output.dot, self.kernel, self.product)  # a third less overhead than np.matmul
        """Multiplies the output by the three matrices, into the buffers of the products."""


def output_kernels(parameters: Parameters, index: int) -> list[Floats]:
    """Return the matrices [H, n] by which the layer itself, the next one and the logits read its output; n may be 0."""
    layer = parameters.layers[index]
    none = np.empty((layer.units, 0), np.float32)
    above = parameters.below_kernels[index + 1] if index + 1 < len(parameters.layers) else none
    logits = parameters.logits_kernels[index]
    return [layer.recurrent_kernel, above, logits if len(logits) else none]


LANES = (16, 8, 4, 2, 1)
"""The widths of a tile that are tried, widest first; a tile of one lane has nothing to differ from."""
TRIAL_STEPS = 24


class TiledStepper:
    """Streams that begin, end and are moved at any step. All are in the zero state at first.

    Args:
        parameters: The weights. They are not changed.
        streams: The least number of streams, 1 or more; it is rounded up to whole tiles.
        lanes: L, the streams in a tile, 1 or more.

    """

    def __init__(self, parameters: Parameters, *, streams: int, lanes: int) -> None:
        self.lanes = lanes
        self.tiles = math.ceil(streams / lanes)
        self._activation = parameters.activation
        self._layers = [_TiledLayer(parameters, index, self.tiles, lanes) for index in range(len(parameters.layers))]
        self._bias = parameters.logits_bias[:, None]
        self._logits = np.empty((self.tiles, parameters.vocabulary_size, lanes), np.float32)

    def logits(self, streams: int) -> Floats:
        """Return the logits of the first streams, a new array [streams, V]."""
        tiles = math.ceil(streams / self.lanes)
        logits = self._logits[:tiles]
        first, *others = [layer.to_logits[:tiles] for layer in self._layers if layer.to_logits.size]
        np.add(first, self._bias, out=logits)
        for other in others:
            logits += other
        return np.ascontiguousarray(logits.transpose(0, 2, 1)).reshape(-1, logits.shape[1])[:streams]

    def advance(self, ids: NDArray[Any]) -> None:
        """Read the next character in each of the first n streams: ids, integers [n]."""
        tiles = math.ceil(len(ids) / self.lanes)
        padded = np.zeros(tiles * self.lanes, np.int64)
        padded[: len(ids)] = ids
        below = None
        for layer in self._layers:
            output = layer.output[:tiles]
            layer.add_input(padded, out=output)
            if below is not None:
                output += below
            activate_in_place(self._activation, output)
            np.matmul(layer.kernel, output, out=layer.product[:tiles])
            below = layer.to_above[:tiles]

    def begin(self, stream: int, state: State) -> None:
        """Put a stream into a state, float32 [1, H] for each layer."""
        tile, lane = divmod(stream, self.lanes)
        for layer, (output,) in zip(self._layers, state, strict=True):
            layer.output[tile, :, lane] = output
            layer.product[tile, :, lane] = layer.kernel @ output

    def move(self, source: int, target: int) -> None:
        """Put a stream into the state of another."""
        (from_tile, from_lane), (tile, lane) = divmod(source, self.lanes), divmod(target, self.lanes)
        for layer in self._layers:
            for values in (layer.output, layer.product):
                values[tile, :, lane] = values[from_tile, :, from_lane]


class _TiledLayer:
    """The input table of a layer, transposed, its output [K, H, L], and the products of its output [K, N, L]."""

    def __init__(self, parameters: Parameters, index: int, tiles: int, lanes: int) -> None:
        table = parameters.input_tables[index]
        self._table = np.ascontiguousarray(table.T)  # [H, V], or [H, 1] if the layer does not read the character
        units = parameters.layers[index].units
        kernels = output_kernels(parameters, index)
        self.kernel = np.ascontiguousarray(np.concatenate(kernels, axis=1).T)  # [N, H]
        self.output = np.zeros((tiles, units, lanes), np.float32)
        self.product = np.zeros((tiles, len(self.kernel), lanes), np.float32)
        borders = np.cumsum([kernel.shape[1] for kernel in kernels])[:-1]
        self._to_itself, self.to_above, self.to_logits = np.split(self.product, borders, axis=1)

    def add_input(self, ids: NDArray[np.int64], *, out: Floats) -> None:
        """Write the input table at ids [K L], plus the product with the recurrent kernel, to out [K, H, L]."""
        tiles, _, lanes = out.shape
        if self._table.shape[1] == 1:
            np.add(self._to_itself[:tiles], self._table, out=out)
            return
        for tile in range(tiles):
            self._table.take(ids[tile * lanes : (tile + 1) * lanes], 1, out[tile], "clip")
        out += self._to_itself[:tiles]


def count_lanes(parameters: Parameters) -> int:
    """Find the widest tile in which this machine computes the same bits in every lane.

    Two tiles of streams read the same characters side by side. Lanes that differ in a bit of a logit at any step are
    not alike, and a narrower tile is tried.

    Args:
        parameters: The weights that will be used; the order of a sum depends on their shapes.

    Raises:
        CharlmError: the logits are not finite.

    """
    with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite raise a CharlmError
        return next((width for width in LANES[:-1] if _are_alike(parameters, width)), LANES[-1])


def _are_alike(parameters: Parameters, lanes: int) -> bool:
    stepper = TiledStepper(parameters, streams=2 * lanes, lanes=lanes)
    for character in np.random.default_rng(0).integers(0, parameters.vocabulary_size, TRIAL_STEPS):
        stepper.advance(np.full(2 * lanes, character))
        logits = stepper.logits(2 * lanes)
        if not np.isfinite(logits[0]).all():
            raise CharlmError("the weights are not usable: the logits are not finite; use an earlier checkpoint")
        if (logits.view(np.uint32) != logits[:1].view(np.uint32)).any():
            return False
    return True
