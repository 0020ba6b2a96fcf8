"""The nats of each character of a text, given characters before it.

Each function scores every id of a text but the first, exactly once. They differ in which ids before it the model has
read. The nats are not finite if the logits are not.

Axes: T time, B batch.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.network.loss import bits, nats, perplexity
from charlm.network.rnn import Floats, Parameters, State, unroll, zero_state

BLOCK = 2048
VALUES_AT_ONCE = 1 << 21  # 8 MB
WINDOWS_AT_ONCE = 128


@dataclass(frozen=True)
class Score:
    """How well a model predicts a text; lower is better."""

    nats_per_char: float
    """The mean over the scored characters."""
    characters: int
    """The number of scored characters: all but the first."""

    @property
    def bits_per_char(self) -> float:
        """The mean in bits."""
        return bits(self.nats_per_char)

    @property
    def perplexity(self) -> float:
        """exp(nats_per_char): a choice among this many equally likely characters would be as hard."""
        return perplexity(self.nats_per_char)


def mean_score(blocks: Iterable[Floats]) -> Score:
    """Return the mean of nats in blocks, float32 of any shape, at least one value; the sum is float64."""
    total, characters = 0.0, 0
    for nats_block in blocks:
        total += float(nats_block.sum(dtype=np.float64))
        characters += nats_block.size
    return Score(total / characters, characters)


def score_stream(parameters: Parameters, ids: NDArray[Any], *, block: int = BLOCK) -> Iterator[Floats]:
    """Score a text that is read once from the zero state: each id is scored given all ids before it.

    The memory taken does not grow with n.

    Args:
        parameters: The weights.
        ids: Integers [n], n >= 2.
        block: How many ids to read at once, at most; 1 or more.

    Yields:
        The nats of ids 1 to n - 1, float32 arrays in text order.

    Raises:
        CharlmError: n < 2.

    """
    _check_length(ids)
    scores = _read(parameters, ids[:, None], zero_state(parameters, 1), block=block)
    return (nats_block[:, 0] for nats_block, _ in scores)


def score_windows(
    parameters: Parameters,
    ids: NDArray[Any],
    *,
    window: int = 256,
    windows_at_once: int = WINDOWS_AT_ONCE,
    values_at_once: int = VALUES_AT_ONCE,
) -> Iterator[Floats]:
    """Score consecutive windows, each read from the zero state, as nanoGPT does for its figure.

    The window that begins at s = 0, W, 2W, ... reads ids s to s + W - 1 and scores ids s + 1 to s + W, each given the 1
    to W ids before it in the window. The last window may be shorter.

    Args:
        parameters: The weights.
        ids: Integers [n], n >= 2.
        window: W, the number of ids in a window, 1 or more.
        windows_at_once: How many windows to read side by side, at most; 1 or more.
        values_at_once: How many values an array of logits or outputs may have; it limits the memory.

    Yields:
        The nats of ids 1 to n - 1, float32 arrays in text order.

    Raises:
        CharlmError: n < 2, or the window is less than 1.

    """
    _check_length(ids)
    if window < 1:
        raise CharlmError(f"--window {window}: must be 1 or more")
    window = min(window, len(ids) - 1)
    batch = max(1, min(windows_at_once, values_at_once // window))
    return _score_windows(parameters, ids, window, batch=batch, values_at_once=values_at_once)


def _score_windows(
    parameters: Parameters, ids: NDArray[Any], window: int, *, batch: int, values_at_once: int
) -> Iterator[Floats]:
    windows = sliding_window_view(ids, window + 1)[::window]
    for first in range(0, len(windows), batch):
        columns = windows[first : first + batch].T
        scores = _read(parameters, columns, zero_state(parameters, columns.shape[1]), values_at_once=values_at_once)
        yield np.concatenate([nats_block for nats_block, _ in scores]).T.ravel()
    rest = ids[len(windows) * window :]
    if len(rest) > 1:
        yield from score_stream(parameters, rest)


def estimate_stream(parameters: Parameters, ids: NDArray[Any], *, streams: int = 64, warm_up: int = 256) -> Score:
    """Estimate the score of `score_stream`, many times faster, by reading pieces of the text side by side.

    The text is divided into `streams` pieces, or fewer, so that none is shorter than `warm_up`. The first piece is read
    from the zero state, every other piece from the state after the `warm_up` ids before it. The estimate is close if
    the network forgets within `warm_up` ids; with a single stream it is exact.

    Args:
        parameters: The weights.
        ids: Integers [n], n >= 2.
        streams: The number of pieces, at most; 1 or more.
        warm_up: How many ids to read before each piece, 0 or more.

    Returns:
        The mean over ids 1 to n - 1.

    Raises:
        CharlmError: n < 2.

    """
    _check_length(ids)
    pairs = len(ids) - 1
    pieces = max(1, min(streams, pairs // max(1, warm_up)))
    return mean_score(_score_pieces(parameters, ids, -(-pairs // pieces), warm_up))


def _score_pieces(parameters: Parameters, ids: NDArray[Any], length: int, warm_up: int) -> Iterator[Floats]:
    pairs = len(ids) - 1
    starts = np.arange(0, pairs, length)
    batch = len(starts)
    state = zero_state(parameters, batch)
    if batch > 1 and warm_up:
        before = sliding_window_view(ids, warm_up + 1)[np.maximum(starts - warm_up, 0)]
        *_, (_, state) = _read(parameters, before.T, state)
        for output in state:
            output[0] = 0  # nothing precedes the first piece
    padded = np.pad(ids, (0, batch * length - pairs), mode="edge")
    pieces = sliding_window_view(padded, length + 1)[::length]
    time = 0
    for nats_block, _ in _read(parameters, pieces.T, state):
        times = np.arange(time, time + len(nats_block))
        yield nats_block[times[:, None] + starts < pairs]
        time += len(nats_block)


def _read(
    parameters: Parameters,
    ids: NDArray[Any],
    state: State,
    *,
    block: int = BLOCK,
    values_at_once: int = VALUES_AT_ONCE,
) -> Iterator[tuple[Floats, State]]:
    """Read ids [T + 1, B] in blocks of t steps; yield the nats [t, B] of all ids but the first, and the state."""
    width = max(parameters.vocabulary_size, *(layer.units for layer in parameters.layers))
    size = max(1, min(block, values_at_once // (width * ids.shape[1])))
    for start in range(0, len(ids) - 1, size):
        part = ids[start : start + size + 1]
        logits, state = unroll(parameters, part[:-1], state)
        yield nats(logits, part[1:]), state


def _check_length(ids: NDArray[Any]) -> None:
    if len(ids) < 2:
        raise CharlmError(f"a text of {len(ids)} characters: at least 2 are needed for a score")
