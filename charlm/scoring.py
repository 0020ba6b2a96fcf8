"""Nats per character of a text.

    nats_t = -log softmax(logits_t)[id_{t+1}] = log(sum(exp(logits_t))) - logits_t[id_{t+1}]

Each function scores every id of a text but the first exactly once; they differ in what comes before it.
Logits that are not finite give nats that are not.

Axes: T time, B batch, V vocabulary.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.rnn import Floats, Parameters, State, unroll, zero_state

BLOCK = 2048  # steps read at once, at most
VALUES_AT_ONCE = 1 << 21  # of logits or outputs, at most: 8 MB
WINDOWS_AT_ONCE = 128


@dataclass(frozen=True)
class Score:
    """How well a model predicts a text; lower is better."""

    nats_per_char: float
    """The mean over the characters scored."""
    characters: int
    """How many were scored: all but the first."""

    @property
    def bits_per_char(self) -> float:
        """The same in bits, nats / ln 2."""
        return self.nats_per_char / math.log(2)

    @property
    def perplexity(self) -> float:
        """exp(nats): the number of equally likely characters among which it would be as hard to choose."""
        return math.exp(self.nats_per_char) if self.nats_per_char < 700 else math.inf


def mean_score(blocks: Iterable[Floats]) -> Score:
    """Return the Score of nats that come in blocks of any shape, summed in float64."""
    total, characters = 0.0, 0
    for nats_block in blocks:
        total += float(nats_block.sum(dtype=np.float64))
        characters += nats_block.size
    return Score(total / characters, characters)


def nats(logits: Floats, targets: NDArray[Any]) -> Floats:
    """Return -log softmax(logits)[target]: float32 [..., V], integers [...] -> float32 [...].

    Stable for logits of any size.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # infinite logits: the result says so
        below_peak = logits - logits.max(-1, keepdims=True)
        target = np.take_along_axis(below_peak, targets[..., None], -1)[..., 0]
        return np.asarray(np.log(np.exp(below_peak, out=below_peak).sum(-1)) - target)


def score_stream(parameters: Parameters, ids: NDArray[Any], *, block: int = BLOCK) -> Iterator[Floats]:
    """Read a text once from the zero state: ids [n] -> nats of ids 1 to n - 1, float32 arrays in text order.

    Each id is scored given all before it. The memory taken does not grow with n. Raises CharlmError if n < 2.
    """
    _check_length(ids)
    scores = _read(parameters, ids[:, None], zero_state(parameters, 1), block=block)
    return (nats_block[:, 0] for nats_block, _ in scores)


def score_windows(parameters: Parameters, ids: NDArray[Any], *, window: int = 256) -> Iterator[Floats]:
    """Read consecutive windows, each from the zero state: ids [n] -> nats of ids 1 to n - 1, in text order.

    The window that begins at s = 0, W, 2W, ... reads ids s to s + W - 1 and scores ids s + 1 to s + W, given
    1 to W ids before them. (This is what nanoGPT's figure means.) The last, shorter window is scored as well.
    Raises CharlmError if n < 2 or the window is not 1 or more.
    """
    _check_length(ids)
    if window < 1:
        raise CharlmError(f"--window {window}: should be 1 or more")
    return _score_windows(parameters, ids, min(window, len(ids) - 1))


def _score_windows(parameters: Parameters, ids: NDArray[Any], window: int) -> Iterator[Floats]:
    batch = max(1, min(WINDOWS_AT_ONCE, VALUES_AT_ONCE // window))
    windows = sliding_window_view(ids, window + 1)[::window]
    for first in range(0, len(windows), batch):
        columns = windows[first : first + batch].T
        scores = _read(parameters, columns, zero_state(parameters, columns.shape[1]))
        yield np.concatenate([nats_block for nats_block, _ in scores]).T.ravel()
    rest = ids[len(windows) * window :]
    if len(rest) > 1:
        yield from score_stream(parameters, rest)


def estimate_stream(parameters: Parameters, ids: NDArray[Any], *, streams: int = 64, warm_up: int = 256) -> Score:
    """Return nearly the score of `score_stream`, many times faster: pieces of the text read side by side.

    The text ids [n] is cut into `streams` pieces, or fewer, so that none is shorter than `warm_up`. The first
    is read from the zero state, every other from the state that the `warm_up` ids before it leave behind. The
    estimate is as good as the network forgets within `warm_up` ids; a single stream is exact. Raises
    CharlmError if n < 2.
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
            output[0] = 0  # nothing comes before the first piece
    padded = np.pad(ids, (0, batch * length - pairs), mode="edge")
    pieces = sliding_window_view(padded, length + 1)[::length]
    time = 0
    for nats_block, _ in _read(parameters, pieces.T, state):
        times = np.arange(time, time + len(nats_block))
        yield nats_block[times[:, None] + starts < pairs]
        time += len(nats_block)


def _read(
    parameters: Parameters, ids: NDArray[Any], state: State, *, block: int = BLOCK
) -> Iterator[tuple[Floats, State]]:
    """Read ids [T + 1, B] in blocks; yield the nats [t, B] of all but the first, and the state after each."""
    width = max(parameters.vocabulary_size, *(layer.units for layer in parameters.layers))
    size = max(1, min(block, VALUES_AT_ONCE // (width * ids.shape[1])))
    for start in range(0, len(ids) - 1, size):
        part = ids[start : start + size + 1]
        logits, state = unroll(parameters, part[:-1], state)
        yield nats(logits, part[1:]), state


def _check_length(ids: NDArray[Any]) -> None:
    if len(ids) < 2:
        raise CharlmError(f"a text of {len(ids)} characters: at least 2 are needed to score one")
