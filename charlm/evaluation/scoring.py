"""The nats of each character of a text, given characters before it, and their mean.

Each function scores every id of a text but the first, exactly once. They differ in which ids before it the model has
read. The nats are not finite if the logits are not.

Axes: T time, B batch.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from charlm.checks import check_name, check_whole
from charlm.errors import CharlmError
from charlm.network.reading import (
    BLOCK,
    VALUES_AT_ONCE,
    Segments,
    cut_segments,
    read_blocks,
    segment_count,
)
from charlm.network.rnn import Floats, Parameters, State, nats
from charlm.wording import counted

WINDOWS_AT_ONCE = 128
STREAMS, WARM_UP = 64, 256
"""The segments of a text that are read side by side, and how many characters are read before each of them."""
ERROR_BLOCK, MIN_BLOCKS = 300, 8
"""Losses of neighbouring characters depend on each other: a standard error is that of the means of so many characters,
and is not known with fewer blocks."""
MAX_CORRELATION = 0.8
"""Of neighbouring blocks, in a standard error."""
ScoringProtocol = Literal["stream", "windows"]


@dataclass(frozen=True)
class Score:
    """How well a model predicts a text; lower is better."""

    nats_per_char: float
    """The mean over the scored characters."""
    characters: int
    """The number of scored characters: all but the first."""
    block_means: tuple[float, ...] = field(default=(), repr=False)
    """The mean of each whole block of ERROR_BLOCK characters, in text order."""

    @property
    def standard_error(self) -> float | None:
        """The standard error of the mean, in nats, if other such text were drawn; see `error_of_sum`."""
        return standard_error(np.array(self.block_means))

    @property
    def total_bits(self) -> float:
        """Bits for all scored characters together; they compare even between two spellings of the same content."""
        return bits(self.nats_per_char * self.characters)

    def difference_error(self, other: "Score") -> float | None:
        """Return the standard error of the difference from another score of the same text, in nats; None as above.

        Two models find the same passages hard, so that it is less than the two errors suggest.
        """
        if len(self.block_means) != len(other.block_means):
            return None
        return standard_error(np.subtract(self.block_means, other.block_means))

    def minus(self, other: "Score") -> "Difference":
        """Return how this score differs from an earlier one of the same text."""
        return Difference(self.nats_per_char - other.nats_per_char, self.difference_error(other))


@dataclass(frozen=True)
class Difference:
    """How a score differs from an earlier one of the same text; above 0, it is worse."""

    nats: float
    """The difference of the means."""
    standard_error: float | None
    """Its standard error; None if it is not known."""

    @property
    def is_clear(self) -> bool:
        """Whether the difference is more than three times its error, and than what is shown of it."""
        return self.standard_error is not None and abs(self.nats) > max(
            3 * self.standard_error, 5e-5
        )

    def __str__(self) -> str:
        """Return its size and error, without its sign."""
        error = "" if self.standard_error is None else f" ± {self.standard_error:.4f}"
        return f"{abs(self.nats):.4f}{error} nats"


def mean_score(blocks: Iterable[Floats]) -> Score:
    """Return the mean of the nats of a text in blocks, float32 of any shape, at least one value; sums are float64."""
    total, characters, left, means = 0.0, 0, np.empty(0, np.float32), list[float]()
    for block in blocks:
        total += float(block.sum(dtype=np.float64))
        characters += block.size
        left = np.concatenate([left, block.ravel()])
        whole = len(left) // ERROR_BLOCK * ERROR_BLOCK
        means += left[:whole].reshape(-1, ERROR_BLOCK).mean(1, dtype=np.float64).tolist()
        left = left[whole:]
    return Score(total / characters, characters, tuple(means))


def mean_and_error(
    values: Floats, positions: NDArray[Any], *, block: int = ERROR_BLOCK
) -> tuple[float, float | None]:
    """Return the mean of values at some characters of a text, and its standard error by the blocks these lie in.

    The blocks hold different numbers of the characters: it is the error of a ratio of sums (Cochran 1977, "Sampling
    techniques").

    Args:
        values: [n], n >= 1.
        positions: Where they are in the text, integers [n].
        block: Characters in a block.

    Returns:
        Both; the error is None if the mean is not finite, or the characters lie in fewer than MIN_BLOCKS blocks.

    """
    mean = float(np.mean(values, dtype=np.float64))
    if not math.isfinite(mean):
        return mean, None
    _, places = np.unique(positions // block, return_inverse=True)
    error = error_of_sum(np.asarray(np.bincount(places, weights=values - mean), np.float64))
    return mean, None if error is None else error / len(values)


def standard_error(means: NDArray[np.float64]) -> float | None:
    """Return the standard error of the mean of the means of blocks of a text [k]; None as `error_of_sum`."""
    error = error_of_sum(means - means.mean()) if len(means) else None
    return None if error is None else error / len(means)


def error_of_sum(apart: NDArray[np.float64]) -> float | None:
    """Return the standard error of a sum over a text, if other such text were drawn.

    Neighbouring blocks are alike, as an autoregressive process of the first order: with the correlation r of neighbours
    (without its bias, Kendall 1954), the variance is (1 + r) / (1 - r) times that of independent blocks. The error is
    made larger so that twice the error holds what 95% of Student's t does (Abramowitz and Stegun 1964, 26.7.5).

    Args:
        apart: How much the sum over each block is above its share of the whole, in text order: [k], of sum 0.

    Returns:
        The error; None with fewer than MIN_BLOCKS blocks.

    """
    count, total = len(apart), float(apart @ apart)
    if count < MIN_BLOCKS or not total:
        return None if count < MIN_BLOCKS else 0.0
    correlation = (count * float(apart[1:] @ apart[:-1]) / total + 1) / (count - 4)
    correlation = min(max(correlation, 0.0), MAX_CORRELATION)
    inflation = (1 + correlation) / (1 - correlation)
    freedom = max(3.0, (count - 1) / inflation)
    student = 1 + 1.210 / freedom + 1.440 / freedom**2 + 1.304 / freedom**3  # t / 1.96 for 95%
    return student * math.sqrt(inflation * count / (count - 1) * total)


def bits(nats: float) -> float:
    """Convert nats to bits: nats / ln 2."""
    return nats / math.log(2)


def perplexity(nats: float) -> float:
    """Return exp(nats), or infinity if that is too large for a float."""
    return math.exp(nats) if nats < 700 else math.inf


def score_ids(
    parameters: Parameters,
    ids: NDArray[Any],
    *,
    protocol: ScoringProtocol,
    window: int,
    state: State | None = None,
) -> Iterator[Floats]:
    """Score a text by a protocol.

    Args:
        parameters: The weights.
        ids: Integers [n], n >= 2.
        protocol: stream reads the text once from start to end, windows reads each window from the zero state.
        window: The number of characters in a window, 1 or more; for the protocol windows.
        state: Where a stream begins, [1, H] for each layer; None = the zero state.

    Yields:
        The nats of ids 1 to n - 1, float32 arrays in text order.

    Raises:
        CharlmError: at once, there is no such protocol, n < 2, or the window is less than 1; while iterating, the nats
            are not finite.

    """
    check_name("protocol", protocol, get_args(ScoringProtocol))
    if len(ids) < 2:
        raise CharlmError(
            f"a text of {counted(len(ids), 'character')}: at least 2 are needed for a score"
        )
    check_whole("window", window, least=1)
    if protocol == "stream":
        return only_finite(score_stream(parameters, ids, state=state))
    return only_finite(score_windows(parameters, ids, window=window))


def only_finite(blocks: Iterable[Floats]) -> Iterator[Floats]:
    """Yield blocks of nats, float32 arrays of any shape, unchanged.

    Raises:
        CharlmError: while iterating, the sum of a block is not finite.

    """
    for block in blocks:
        total = float(block.sum(dtype=np.float64))
        if not math.isfinite(total):
            raise CharlmError(
                f"the loss is {total}: the weights are too large; use an earlier checkpoint"
            )
        yield block


def score_stream(
    parameters: Parameters, ids: NDArray[Any], *, block: int = BLOCK, state: State | None = None
) -> Iterator[Floats]:
    """Score a text that is read once from start to end: each id is scored given all ids before it.

    The memory taken does not grow with n.

    Args:
        parameters: The weights.
        ids: Integers [n], n >= 2.
        block: How many ids to read at once, at most; 1 or more.
        state: The state before the first id, [1, H] for each layer; None = the zero state.

    Yields:
        The nats of ids 1 to n - 1, float32 arrays in text order.

    """
    state, first = parameters.zero_state(1) if state is None else state, 1
    for logits, _ in read_blocks(parameters, ids[:-1, None], state, block=block):
        yield nats(logits[:, 0], ids[first : first + len(logits)])
        first += len(logits)


def score_windows(
    parameters: Parameters,
    ids: NDArray[Any],
    *,
    window: int,
    windows_at_once: int = WINDOWS_AT_ONCE,
) -> Iterator[Floats]:
    """Score consecutive windows, each read from the zero state, as nanoGPT does for its figure.

    The window that begins at s = 0, W, 2W, ... reads ids s to s + W - 1 and scores ids s + 1 to s + W, each given the 1
    to W ids before it in the window. The last window may be shorter.

    Args:
        parameters: The weights.
        ids: Integers [n], n >= 2.
        window: W, the number of ids in a window, 1 or more.
        windows_at_once: How many windows to read side by side, at most; 1 or more. Fewer if their characters or the
            logits after one character of each are more than VALUES_AT_ONCE values.

    Yields:
        The nats of ids 1 to n - 1, float32 arrays in text order.

    """
    window = min(window, len(ids) - 1)
    most = min(VALUES_AT_ONCE // window, parameters.rows_at_once(VALUES_AT_ONCE))
    span = window * max(1, min(windows_at_once, most))
    parts = (ids[start : start + span + 1] for start in range(0, len(ids) - 1, span))
    return (
        _nats_of_segments(parameters, part, cut_segments(part, length=window, warm_up=0))
        for part in parts
    )


ReadNats = Callable[[NDArray[Any], State], tuple[Floats, State]]
"""Reads ids, [T + 1, B], from a state; returns the nats of ids 1 to T, float32 [T, B], and the state after id T - 1."""


def estimate_stream(
    parameters: Parameters,
    ids: NDArray[Any],
    *,
    streams: int = STREAMS,
    warm_up: int = WARM_UP,
    read: ReadNats | None = None,
) -> Score:
    """Estimate the score of `score_stream`, many times faster, by reading segments of the text side by side.

    Args:
        parameters: The weights.
        ids: Integers [n], n >= 2.
        streams: The number of segments, at most; 1 or more.
        warm_up: How many ids to read before each segment, 0 or more; see `cut_segments`.
        read: Computes the nats with the same weights; None = with NumPy.

    Returns:
        The mean over ids 1 to n - 1.

    """
    segments = cut_segments(ids, streams=streams, warm_up=warm_up)
    return mean_score([_nats_of_segments(parameters, ids, segments, read=read)])


def _nats_of_segments(
    parameters: Parameters, ids: NDArray[Any], segments: Segments, *, read: ReadNats | None = None
) -> Floats:
    """Return the nats of all ids [n] but the first, float32 [n - 1], from the segments of the text."""
    read = read or partial(_read_nats, parameters)
    state = parameters.zero_state(len(segments.starts))
    if segments.before is not None:
        _, state = read(segments.before, state)
        segments.forget_first(state)
    losses, _ = read(segments.ids, state)
    return losses.T.ravel()[: len(ids) - 1]


def _read_nats(parameters: Parameters, ids: NDArray[Any], state: State) -> tuple[Floats, State]:
    """Compute nats with NumPy; see `ReadNats`."""
    losses = np.empty((len(ids) - 1, ids.shape[1]), np.float32)
    time = 0
    for logits, after in read_blocks(parameters, ids[:-1], state):
        now = slice(time, time + len(logits))
        losses[now] = nats(logits, ids[1:][now])
        state = after
        time = now.stop
    return losses, state


def ids_read(length: int, *, streams: int = STREAMS, warm_up: int = WARM_UP) -> int:
    """Return how many ids `estimate_stream` reads of a text of `length` ids: each segment, and what comes before it."""
    return length + warm_up * segment_count(length, streams=streams, warm_up=warm_up)
