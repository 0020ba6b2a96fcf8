"""Texts read fast: long ones with bounded memory, in blocks or in segments side by side, and one character at a time.

`Stepper` is `Parameters.step` arranged for the speed of generation. The output h_t of a layer is multiplied by up to
three matrices: the recurrent kernel of the layer, the kernel of the layer above and the kernel of the logits. Here they
are the columns of a single matrix, [V | U above | W], so that a layer takes one product a step; `Parameters.step` takes
two or three. Buffers are allocated once.

Axes: B batch, T time, V vocabulary, H units. All arrays are float32 unless said otherwise.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from charlm.hardware import core_count
from charlm.network.rnn import ACTIVATIONS, Floats, Parameters, State

BLOCK = 2048
VALUES_AT_ONCE = 1 << 21  # 8 MB
STREAMS_A_THREAD = 32
"""How many streams a thread reads, at least; the groups do not depend on the machine, so neither do the bits."""


def read_blocks(
    parameters: Parameters,
    ids: NDArray[Any],
    state: State,
    *,
    block: int = BLOCK,
    values_at_once: int = VALUES_AT_ONCE,
    width: int = 0,
) -> Iterator[tuple[Floats, State]]:
    """Read ids in blocks of t steps.

    Many streams are read in groups by threads of our own, each with products of a single thread. The threads of NumPy's
    own products wait for each other without pause: beside busy processes, that took four times as long.

    Args:
        parameters: The weights.
        ids: Integers [T, B].
        state: The state to begin at.
        block: The largest t, 1 or more.
        values_at_once: How many values an array of logits or outputs may have; it limits the memory.
        width: The values for each character, at least: for equal blocks of several networks, the largest of theirs.

    Yields:
        The logits after each character of a block, float32 [t, B, V], and the state after it.

    """
    streams = ids.shape[1]
    size = max(1, min(block, values_at_once // (max(width, parameters.width) * streams)))
    groups = np.array_split(np.arange(streams), max(1, streams // STREAMS_A_THREAD))
    if len(groups) == 1:
        for start in range(0, len(ids), size):
            logits, state = parameters.unroll(ids[start : start + size], state)
            yield logits, state
        return

    from concurrent.futures import ThreadPoolExecutor  # generation must not wait for these

    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"), ThreadPoolExecutor(core_count()) as threads:
        parts = [ids[:, group[0] : group[-1] + 1] for group in groups]
        states: list[State] = [tuple(layer[group] for layer in state) for group in groups]
        for start in range(0, len(ids), size):
            blocks = [part[start : start + size] for part in parts]
            read = list(threads.map(partial(_unroll, parameters), blocks, states))
            states = [after for _, after in read]
            yield (
                np.concatenate([logits for logits, _ in read], 1),
                tuple(map(np.concatenate, zip(*states, strict=True))),
            )


def _unroll(parameters: Parameters, ids: NDArray[Any], state: State) -> tuple[Floats, State]:
    """Read ids in a thread of its own, which does not have the `np.errstate` of the caller."""
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # the logits show whether the outputs were finite
        return parameters.unroll(ids, state)


@dataclass(frozen=True, eq=False)
class Segments:
    """A text in S segments, to be read side by side; integers."""

    starts: NDArray[np.int64]
    """The position of the first id of each segment, [S]."""
    before: NDArray[Any] | None
    """The ids before each segment and its first id, [warm-up + 1, S]; None if nothing is read before."""
    ids: NDArray[Any]
    """The ids of each segment and the one that follows, [T + 1, S]; the last segment is filled up with the last id."""

    def forget_first(self, state: State) -> None:
        """Replace the state before the first segment, which nothing precedes, by the zero state."""
        for output in state:
            output[0] = 0


def cut_segments(
    ids: NDArray[Any], *, streams: int = 1, length: int | None = None, warm_up: int
) -> Segments:
    """Divide a text into segments, which are read many times faster than the text from start to end.

    There are `streams` segments, or fewer, so that none is shorter than twice `warm_up`. The first segment is read from the
    zero state, every other segment from the state after the `warm_up` ids before it. The results are close to those of a
    stream if the network forgets within `warm_up` ids; with a single segment they are the same.

    Args:
        ids: Integers [n], n >= 2; the last one is not read.
        streams: The number of segments, at most; 1 or more.
        length: The ids in each segment but the last, which may have fewer, 1 or more; None = as `streams` says.
        warm_up: How many ids to read before each segment, 0 or more.

    """
    last = len(ids) - 1
    length = length or -(-last // segment_count(last, streams=streams, warm_up=warm_up))
    starts = np.arange(0, last, length)
    before = None
    if len(starts) > 1 and warm_up:
        before = sliding_window_view(ids, warm_up + 1)[np.maximum(starts - warm_up, 0)].T
    padded = np.pad(ids, (0, length * len(starts) - last), mode="edge")
    return Segments(starts, before, sliding_window_view(padded, length + 1)[starts].T)


def segment_count(length: int, *, streams: int, warm_up: int) -> int:
    """Return the number of segments that `cut_segments` divides so many ids into."""
    return max(1, min(streams, length // max(1, 2 * warm_up)))


def read_segments(
    parameters: Parameters, ids: NDArray[Any], *, streams: int, warm_up: int, width: int = 0
) -> Iterator[tuple[Floats, NDArray[np.int64]]]:
    """Read a text in segments, side by side.

    Args:
        parameters: The weights.
        ids: As for `cut_segments`, like `streams` and `warm_up`.
        streams: The number of segments, at most.
        warm_up: How many ids to read before each segment.
        width: As for `read_blocks`.

    Yields:
        Logits, float32 [m, V], and the positions of the ids after which they are, int64 [m]. Each position from 0 to
        n - 2 comes once.

    """
    segments = cut_segments(ids, streams=streams, warm_up=warm_up)
    state = parameters.zero_state(len(segments.starts))
    if segments.before is not None:
        *_, (_, state) = read_blocks(parameters, segments.before[:-1], state)
        segments.forget_first(state)
    time = 0
    for logits, _ in read_blocks(parameters, segments.ids[:-1], state, width=width):
        positions = segments.starts + np.arange(time, time + len(logits))[:, None]
        is_real = positions < len(ids) - 1
        yield logits[is_real], positions[is_real]
        time += len(logits)


class Stepper:
    """One stream, read one character at a time.

    Args:
        parameters: The weights. They are not changed.
        state: The state to begin at, [1, H] for each layer; it is not changed.
        forbidden: Ids whose logits are always minus infinity.

    """

    def __init__(
        self, parameters: Parameters, state: State, *, forbidden: Iterable[int] = ()
    ) -> None:
        self._activate = ACTIVATIONS[parameters.activation]
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
            self._activate(output, out=output)
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
        self.to_itself, self.to_above, self.to_logits = np.split(
            self.product, np.cumsum(widths)[:-1], axis=-1
        )
        self.multiply = partial(
            self.output.dot, self.kernel, self.product
        )  # a third less overhead than np.matmul
        """Multiplies the output by the three matrices, into the buffers of the products."""
