"""Fast reading of long texts in blocks or in parallel segments, or of one character at a time.

`read_blocks` limits the memory for a long text, and divides many streams among threads.
`cut_segments` turns one long text into many streams. `Stepper` does the work of `Parameters.step`
faster, for generation. Up to three matrices multiply the output h_t of a layer: the recurrent
kernel, the kernel of the layer above, and the kernel of the logits. `Stepper` joins them into one
matrix, [V | U above | W], so a layer needs a single product for each character. Buffers are
allocated once.

Axes: B batch, T time, V vocabulary, H units. Arrays are float32 unless specified otherwise.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from charlm.core.rnn import ACTIVATIONS, Floats, Integers, Parameters, State, ignore_overflow
from charlm.core.vocabulary import Ids
from charlm.hardware import core_count

if TYPE_CHECKING:
    from threadpoolctl import threadpool_limits

BLOCK = 2048
"""Maximum number of characters of each stream in a block."""
VALUES_AT_ONCE = 1 << 21
"""Maximum number of values in an array of logits or outputs, 8 MB."""
STREAMS_PER_THREAD = 32
"""Minimum number of streams in a thread. The groups do not depend on the number of cores, so with
one BLAS library the results are bit-identical."""


def one_thread() -> "threadpool_limits":
    """Return a context with one thread per matrix product, which is faster for small products."""
    from threadpoolctl import threadpool_limits  # generation must not wait for imports

    return threadpool_limits(1, "blas")


def read_blocks(parameters: Parameters, ids: Ids, state: State) -> Iterator[tuple[Floats, State]]:
    """Read ids in blocks of t characters.

    Threads read groups of streams, each with single-threaded matrix products. NumPy's own threads
    busy-wait for each other: next to busy processes, that took four times as long.

    Args:
        parameters: The weights.
        ids: Integers [T, B].
        state: The state before the first character.

    Yields:
        The logits after each character of a block, float32 [t, B, V], and the state after the
        block.

    """
    streams = ids.shape[1]
    size = min(BLOCK, parameters.rows_at_once(VALUES_AT_ONCE // streams))
    groups = np.array_split(np.arange(streams), max(1, streams // STREAMS_PER_THREAD))
    if len(groups) == 1:
        for start in range(0, len(ids), size):
            logits, state = parameters.unroll(ids[start : start + size], state)
            yield logits, state
        return

    from concurrent.futures import ThreadPoolExecutor  # generation must not wait for imports

    with one_thread(), ThreadPoolExecutor(core_count()) as threads:
        parts = [ids[:, group[0] : group[-1] + 1] for group in groups]
        states: list[State] = [tuple(layer[group] for layer in state) for group in groups]
        for start in range(0, len(ids), size):
            blocks = [part[start : start + size] for part in parts]
            results = threads.map(partial(_unroll, parameters), blocks, states)
            all_logits, last = zip(*results, strict=True)
            states = list(last)
            state = tuple(map(np.concatenate, zip(*states, strict=True)))
            yield np.concatenate(all_logits, 1), state


def _unroll(parameters: Parameters, ids: Ids, state: State) -> tuple[Floats, State]:
    """Read ids in a thread, which does not have the `np.errstate` of the caller."""
    # The logits show whether the outputs were finite.
    with ignore_overflow():
        return parameters.unroll(ids, state)


@dataclass(frozen=True, eq=False)
class Segments:
    """A text divided into S segments that are read side by side."""

    starts: Integers
    """Position of the first id of each segment, int64 [S]."""
    before: Ids | None
    """Warm-up ids and first id of each segment, [warm-up + 1, S]; None without warm-up."""
    ids: Ids
    """Ids of each segment and the next id, [T + 1, S]; padded with the last id."""


def cut_segments(ids: Ids, *, length: int, warm_up: int) -> Segments:
    """Divide a text into segments; reading them side by side is many times faster.

    The first segment is read from the zero state, every other segment from the state after the
    `warm_up` ids before it. If the network forgets within `warm_up` ids, the results are close to
    reading the text from start to end.

    Args:
        ids: Integers [n], n >= 2; the last id is not read.
        length: Number of ids in each segment, 1 or more; the last segment may have fewer.
        warm_up: Number of ids to read before each segment, 0 to `length`.

    """
    last = len(ids) - 1
    starts = np.arange(0, last, length)
    before = None
    if len(starts) > 1 and warm_up:
        before = sliding_window_view(ids, warm_up + 1)[np.maximum(starts - warm_up, 0)].T
    padded = np.pad(ids, (0, length * len(starts) - last), mode="edge")
    return Segments(starts, before, sliding_window_view(padded, length + 1)[starts].T)


class Stepper:
    """A stream that is read one character at a time.

    Args:
        parameters: The weights.
        state: The state before the first character, [1, H] for each layer; it is not changed.
        forbidden: Ids whose logits are set to minus infinity.

    """

    def __init__(
        self, parameters: Parameters, state: State, *, forbidden: Iterable[int] = ()
    ) -> None:
        self._activate = ACTIVATIONS[parameters.activation].function
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
        """The logits after the last character, [V], in a buffer that the next access overwrites."""
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
    """The buffers of a layer: its output, and the products of the output with three matrices."""

    def __init__(self, parameters: Parameters, index: int) -> None:
        units = parameters.layers[index].units
        table = parameters.input_tables[index]
        self.is_fed = len(table) > 1
        self.table = table if self.is_fed else table[0]
        widths = [kernel.shape[1] for kernel in parameters.outgoing(index)]
        self.kernel = parameters.joined[index]
        self.output = np.empty(units, np.float32)
        self.product = np.empty(self.kernel.shape[1], np.float32)
        self.to_itself, self.to_above, self.to_logits = np.split(
            self.product, np.cumsum(widths)[:-1], axis=-1
        )
        # ndarray.dot has a third less overhead than np.matmul.
        self.multiply = partial(self.output.dot, self.kernel, self.product)
        """Function that writes the products of the output with the three matrices."""
