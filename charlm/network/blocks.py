"""Reading a long text with bounded memory: in blocks one after the other, and in pieces side by side.

Axes: T time, B batch, V vocabulary.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from charlm.network.ensemble import Network
from charlm.network.rnn import Floats, State

BLOCK = 2048
VALUES_AT_ONCE = 1 << 21  # 8 MB


def read_blocks(
    network: Network,
    ids: NDArray[Any],
    state: State,
    *,
    block: int = BLOCK,
    values_at_once: int = VALUES_AT_ONCE,
) -> Iterator[tuple[Floats, State]]:
    """Read ids in blocks of t steps.

    Args:
        network: The weights of a network, or an ensemble.
        ids: Integers [T, B].
        state: The state to begin at.
        block: The largest t, 1 or more.
        values_at_once: How many values an array of logits or outputs may have; it limits the memory.

    Yields:
        The logits after each character of a block, float32 [t, B, V], and the state after it.

    """
    size = max(1, min(block, values_at_once // (network.width * ids.shape[1])))
    for start in range(0, len(ids), size):
        logits, state = network.unroll(ids[start : start + size], state)
        yield logits, state


def read_pieces(
    network: Network, ids: NDArray[Any], *, streams: int, warm_up: int
) -> Iterator[tuple[Floats, NDArray[np.int64]]]:
    """Read a text many times faster than from start to end: in pieces of it, side by side.

    The text is divided into `streams` pieces, or fewer, so that none is shorter than `warm_up`. The first piece is read
    from the zero state, every other piece from the state after the `warm_up` ids before it. The logits are close to
    those of a stream if the network forgets within `warm_up` ids; with a single piece they are the same.

    Args:
        network: The weights of a network, or an ensemble.
        ids: Integers [n], n >= 2; the last one is not read.
        streams: The number of pieces, at most; 1 or more.
        warm_up: How many ids to read before each piece, 0 or more.

    Yields:
        Logits, float32 [m, V], and the positions of the ids after which they are, int64 [m]. Each position from 0 to
        n - 2 comes once.

    """
    last = len(ids) - 1
    length = -(-last // max(1, min(streams, last // max(1, warm_up))))
    starts = np.arange(0, last, length)
    state = network.zero_state(len(starts))
    if len(starts) > 1 and warm_up:
        before = sliding_window_view(ids[:-1], warm_up)[np.maximum(starts - warm_up, 0)]
        *_, (_, state) = read_blocks(network, before.T, state)
        for output in state:
            output[0] = 0  # nothing precedes the first piece
    padded = np.pad(ids[:-1], (0, length * len(starts) - last), mode="edge")
    time = 0
    for logits, _ in read_blocks(network, padded.reshape(-1, length).T, state):
        positions = starts + np.arange(time, time + len(logits))[:, None]
        is_real = positions < last
        yield logits[is_real], positions[is_real]
        time += len(logits)
