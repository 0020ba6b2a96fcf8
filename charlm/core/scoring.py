"""The nats of each character of a text given the characters before it, and their mean.

Each function scores every id of a text except the first, exactly once. They differ in the ids that
the model has read before that id. The nats are not finite if the logits are not.

Axes: T time, B batch.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, get_args

import numpy as np

from charlm.checks import check_name, check_whole, to_number
from charlm.core.reading import VALUES_AT_ONCE, Segments, cut_segments, read_blocks
from charlm.core.rnn import Floats, Parameters, State, nats
from charlm.core.vocabulary import Ids
from charlm.errors import CharlmError
from charlm.wording import counted

WINDOWS_AT_ONCE = 128
"""Maximum number of windows or texts that are read side by side."""
STREAMS = 64
"""Maximum number of segments of a text that are read side by side."""
WARM_UP = 256
"""Number of characters that are read before each segment."""
ERROR_BLOCK = 300
"""Number of characters in a block. Losses of neighbouring characters depend on each other, so
standard errors are computed from the means of blocks."""
MIN_BLOCKS = 8
"""Minimum number of blocks for a standard error."""
ScoringProtocol = Literal["stream", "windows"]


@dataclass(frozen=True)
class Score:
    """The mean loss of a model on a text; lower is better."""

    nats_per_char: float
    """Mean over the scored characters."""
    characters: int
    """Number of scored characters: all except the first."""
    block_means: tuple[float, ...] = field(default=(), repr=False)
    """Mean of each complete block of ERROR_BLOCK characters, in text order."""
    split: str | None = None
    """Part of the text of a run that was scored; None = another text."""

    @classmethod
    def from_fields(cls, fields: object) -> "Score | None":
        """Return the score in the untrusted fields of a model file, or None."""
        if not isinstance(fields, dict):
            return None
        nats, characters = map(to_number, map(fields.get, ("nats_per_char", "characters")))
        if nats is None:
            return None
        means = fields.get("block_means")
        are_numbers = isinstance(means, list) and None not in map(to_number, means)
        return cls(
            nats,
            int(characters or 0),
            tuple(means or ()) if are_numbers else (),
            fields.get("split"),
        )

    def to_fields(self) -> dict[str, Any]:
        """Return the score for a model file."""
        fields: dict[str, Any] = {"split": self.split, "nats_per_char": self.nats_per_char}
        if self.characters:
            fields["characters"] = self.characters
        if self.block_means:
            fields["block_means"] = [round(mean, 6) for mean in self.block_means]
        return fields

    @property
    def rough_error(self) -> float:
        """Approximate standard error, known for any number of characters; 0 without characters.

        Over a text, the nats of a character have a standard deviation of 1.5 to 2.
        """
        return 2 / math.sqrt(self.characters) if self.characters else 0.0

    @property
    def total_bits(self) -> float:
        """Total loss in bits, comparable between two spellings of the same content."""
        return bits(self.nats_per_char * self.characters)


def mean_score(blocks: Iterable[Floats]) -> Score:
    """Return the score of a text from its nats, arrays of any shape with at least one value."""
    total = 0.0
    characters = 0
    remaining = np.empty(0, np.float32)
    means: list[float] = []
    for block in blocks:
        total += float(block.sum(dtype=np.float64))
        characters += block.size
        remaining = np.concatenate([remaining, block.ravel()])
        end = len(remaining) // ERROR_BLOCK * ERROR_BLOCK
        means += remaining[:end].reshape(-1, ERROR_BLOCK).mean(1, dtype=np.float64).tolist()
        remaining = remaining[end:]
    return Score(total / characters, characters, tuple(means))


def bits(nats: float) -> float:
    """Convert nats to bits."""
    return nats / math.log(2)


def perplexity(nats: float) -> float:
    """Return exp(nats), or infinity if it is too large for a float."""
    return math.exp(nats) if nats < 700 else math.inf


def score_ids(
    parameters: Parameters,
    ids: Ids,
    *,
    protocol: ScoringProtocol,
    window: int,
    state: State | None = None,
) -> Iterator[Floats]:
    """Score a text according to a protocol.

    Args:
        parameters: The weights.
        ids: Integers [n], n >= 2.
        protocol: `stream` reads the text from start to end; `windows` reads each window from the
            zero state.
        window: Number of characters in a window, 1 or more, for the protocol `windows`.
        state: The state before the first id of a stream, [1, H] for each layer; None = zeros.

    Yields:
        The nats of ids 1 to n - 1, float32 arrays in text order.

    Raises:
        CharlmError: Immediately if the protocol is unknown, n < 2, or the window is less than 1;
            while iterating if the nats are not finite.

    """
    check_name("protocol", protocol, get_args(ScoringProtocol))
    if len(ids) < 2:
        raise CharlmError(
            f"a text of {counted(len(ids), 'character')}: at least 2 are needed for a score"
        )
    check_whole("window", window, 1)
    if protocol == "stream":
        return only_finite(score_stream(parameters, ids, state=state))
    return only_finite(score_windows(parameters, ids, window=window))


def only_finite(blocks: Iterable[Floats]) -> Iterator[Floats]:
    """Yield blocks of nats, arrays of any shape; raise CharlmError if a sum is not finite."""
    for block in blocks:
        total = float(block.sum(dtype=np.float64))
        if not math.isfinite(total):
            raise CharlmError(
                f"the loss is {total}: the weights are too large; use an earlier checkpoint"
            )
        yield block


def score_stream(
    parameters: Parameters, ids: Ids, *, state: State | None = None
) -> Iterator[Floats]:
    """Score a text that is read from start to end: each id is scored given all ids before it.

    The memory does not grow with n.

    Args:
        parameters: The weights.
        ids: Integers [n], n >= 2.
        state: The state before the first id, [1, H] for each layer; None = zeros.

    Yields:
        The nats of ids 1 to n - 1, float32 arrays in text order.

    """
    if state is None:
        state = parameters.zero_state(1)
    first = 1
    for logits, _ in read_blocks(parameters, ids[:-1, None], state):
        yield nats(logits[:, 0], ids[first : first + len(logits)])
        first += len(logits)


def score_windows(parameters: Parameters, ids: Ids, *, window: int) -> Iterator[Floats]:
    """Score consecutive windows, each read from the zero state, as nanoGPT does.

    The window at s = 0, W, 2W, ... reads ids s to s + W - 1 and scores ids s + 1 to s + W, each
    given the 1 to W ids before it in the window. The last window may be shorter.

    Args:
        parameters: The weights.
        ids: Integers [n], n >= 2.
        window: W, the number of ids in a window, 1 or more.

    Yields:
        The nats of ids 1 to n - 1, float32 arrays in text order.

    """
    window = min(window, len(ids) - 1)
    # Neither the ids of the windows, nor their logits for one character, exceed VALUES_AT_ONCE.
    rows = parameters.rows_at_once(VALUES_AT_ONCE)
    span = window * max(1, min(WINDOWS_AT_ONCE, VALUES_AT_ONCE // window, rows))
    for start in range(0, len(ids) - 1, span):
        part = ids[start : start + span + 1]
        segments = cut_segments(part, length=window, warm_up=0)
        yield _nats_of_segments(part, segments, partial(_read_nats, parameters), parameters)


def score_texts(parameters: Parameters, texts: Sequence[Ids]) -> list[Floats]:
    """Score many texts side by side, each read from the zero state.

    Args:
        parameters: The weights.
        texts: Integers [n] for each text, n >= 0.

    Returns:
        For each text, the nats of ids 1 to n - 1, float32 [n - 1], or [0] if n is 0.

    Raises:
        CharlmError: The nats are not finite.

    """
    scores = [np.empty(0, np.float32)] * len(texts)
    for group in _similar_lengths(texts, most=parameters.rows_at_once(VALUES_AT_ONCE)):
        ids = np.zeros((len(texts[group[-1]]), len(group)), np.int64)
        for column, index in enumerate(group):
            ids[: len(texts[index]), column] = texts[index]
        losses, _ = _read_nats(parameters, ids, parameters.zero_state(len(group)))
        for column, index in enumerate(group):
            (scores[index],) = only_finite([losses[: len(texts[index]) - 1, column]])
    return scores


def _similar_lengths(texts: Sequence[Ids], *, most: int) -> Iterator[list[int]]:
    """Yield the indices of texts of at least two ids, in groups of limited size."""
    group: list[int] = []
    for index in sorted(range(len(texts)), key=lambda index: len(texts[index])):
        length = len(texts[index])
        is_full = len(group) >= min(most, WINDOWS_AT_ONCE, VALUES_AT_ONCE // max(1, length))
        if group and is_full:
            yield group
            group = []
        if length > 1:
            group.append(index)
    if group:
        yield group


ReadNats = Callable[[Ids, State], tuple[Floats, State]]
"""A function that reads ids, [T + 1, B], from a state, and returns the nats of ids 1 to T, float32
[T, B], and the state after id T - 1."""


def estimate_stream(parameters: Parameters, ids: Ids, *, read: ReadNats | None = None) -> Score:
    """Estimate the score of `score_stream` much faster, by reading segments side by side.

    The segments are about twice as long as the warm-up, or longer; the last one may be shorter.

    Args:
        parameters: The weights.
        ids: Integers [n], n >= 2.
        read: Function that computes the nats with the same weights; None = with NumPy.

    Returns:
        The score of ids 1 to n - 1.

    """
    last = len(ids) - 1
    count = max(1, min(STREAMS, last // (2 * WARM_UP)))
    segments = cut_segments(ids, length=-(-last // count), warm_up=WARM_UP)
    read = read or partial(_read_nats, parameters)
    return mean_score([_nats_of_segments(ids, segments, read, parameters)])


def _nats_of_segments(
    ids: Ids, segments: Segments, read: ReadNats, parameters: Parameters
) -> Floats:
    """Return the nats of all ids [n] except the first, float32 [n - 1]."""
    state = parameters.zero_state(len(segments.starts))
    if segments.before is not None:
        _, state = read(segments.before, state)
        for output in state:
            output[0] = 0  # the first segment has no warm-up
    losses, _ = read(segments.ids, state)
    return losses.T.ravel()[: len(ids) - 1]


def _read_nats(parameters: Parameters, ids: Ids, state: State) -> tuple[Floats, State]:
    """Compute nats with NumPy; see `ReadNats`."""
    losses: list[Floats] = []
    time = 1
    for logits, last in read_blocks(parameters, ids[:-1], state):
        losses.append(nats(logits, ids[time : time + len(logits)]))
        time += len(logits)
        state = last
    return np.concatenate(losses), state
