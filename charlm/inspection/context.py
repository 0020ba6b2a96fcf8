"""How many earlier characters help to predict the next one, and how many of them the state still holds.

Memory is what a linear read-out (ridge regression) tells of the character k steps back from the state: more than the
predictions use of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.network.gradients import Trace
from charlm.network.rnn import Parameters, advance, nats

Values = NDArray[np.float64]

CONTEXTS = tuple(1 << power for power in range(10))
"""1, 2, 4, ... 512 characters."""
HIGHEST_ORDER = 9
"""The longest n-grams that are counted."""
LAGS = (*range(16), *range(16, 33, 2), 40, 48, 64)
RIDGES = (1e-6, 1e-4, 1e-2)


@dataclass(frozen=True, eq=False)
class UsableContext:
    """The mean loss if only the last k characters are given; the same characters are scored for every k."""

    characters: NDArray[np.int64]
    """k = 1, 2, 4, ..., int64 [n]."""
    nats: Values
    """Nats per character from the zero state, float64 [n]."""
    bits_saved: Values
    """Bits per character that each doubling of k saves, from the zero state: float64 [n - 1]."""
    ngram_order: NDArray[np.int64]
    """k + 1 of the n-gram models that were counted on the training text, int64 [m]; empty without that text."""
    ngram_nats: Values
    """Their nats per character on the same characters, float64 [m]."""
    positions: int
    """How many characters were scored."""


def usable_context(
    parameters: Parameters,
    ids: NDArray[Any],
    *,
    characters: Sequence[int] = CONTEXTS,
    positions: int = 512,
    ngram_nats: Callable[[int], Values] | None = None,
) -> UsableContext:
    """Score characters of a text given only the last k before each.

    Args:
        parameters: The weights.
        ids: Integers [n], n >= 2.
        characters: The k, rising, each 1 or more. Those that leave fewer than a quarter of the text to score are left
            out.
        positions: How many characters to score at most, 1 or more, evenly spaced.
        ngram_nats: Returns the nats of ids 1 to n - 1 by the n-grams of an order, float64 [n - 1]; None = no n-grams.

    """
    reach = [k for k in characters if k <= max(1, 3 * (len(ids) - 1) // 4)]
    targets = np.unique(np.linspace(reach[-1], len(ids) - 1, min(positions, len(ids) - reach[-1])).astype(np.int64))
    from_zero = [_nats(parameters, ids, targets, k) for k in reach]
    orders = [k + 1 for k in reach if ngram_nats is not None and k < HIGHEST_ORDER]
    by_ngrams = [float(ngram_nats(order)[targets - 1].mean()) for order in orders if ngram_nats is not None]
    return UsableContext(
        characters=np.array(reach),
        nats=np.array(from_zero),
        bits_saved=-np.diff(from_zero) / np.log(2),
        ngram_order=np.array(orders, np.int64),
        ngram_nats=np.array(by_ngrams),
        positions=len(targets),
    )


def _nats(parameters: Parameters, ids: NDArray[Any], targets: NDArray[np.int64], k: int) -> float:
    """Return the mean loss of the targets, each given only the k characters before it."""
    state = parameters.zero_state(len(targets))
    for back in range(k, 0, -1):
        _, state = advance(parameters, ids[targets - back], state)
    return float(nats(parameters.logits(state), ids[targets].astype(np.int64)).mean(dtype=np.float64))


@dataclass(frozen=True, eq=False)
class Memory:
    """How often the read-out names the right character, by lag, on text that it was not fitted to."""

    lag: NDArray[np.int64]
    """k = 0 (the character just read), 1, ..., int64 [K]."""
    accuracy: Values
    """Share of right answers from the state of all layers, float64 [K]."""
    commonest: Values
    """Share of right answers of always guessing the commonest character, float64 [K]."""
    memory: Values
    """(accuracy - commonest) / (1 - commonest), at least 0; 1 = perfect memory: float64 [K]."""
    ridge: Values
    """The penalty that was best on a part of the text of its own, relative to the states' variance: float64 [K]."""
    fitted: int
    """How many characters the read-out was fitted to."""
    tested: int
    """How many characters it was tested on."""


def linear_memory(trace: Trace, *, lags: Sequence[int] = LAGS, ridges: Sequence[float] = RIDGES) -> Memory:
    """Fit a linear read-out of the character k steps back to the state, for each k, and test it.

    The read-out is ridge regression of the one-hot character [V] on the outputs of all layers and a constant; its
    answer is the largest output. It is fitted to the first 6 tenths of the text, the penalty is chosen on the next 2,
    and the result is that on the last 2. It needs more characters than the state has dimensions.

    Args:
        trace: B texts of T characters, consecutive pieces of one text, read side by side.
        lags: The k, rising, each 0 or more; those above T / 2 are left out.
        ridges: The penalties to try, each above 0, relative to the mean variance of the outputs.

    Raises:
        CharlmError: the states are not finite, or their squares are not.

    Returns:
        The accuracy by lag. Always guessing the commonest character of the first 8 tenths is what it is compared with.

    """
    lags = [lag for lag in lags if lag <= len(trace.ids) // 2]
    states, wanted = _examples(trace, lags)
    borders = [len(states) * 6 // 10, len(states) * 8 // 10]
    answers = _answers(states, wanted[:, : borders[0]], int(wanted.max()) + 1, ridges)  # [ridges, K, N - fitted]
    is_right = answers == wanted[:, borders[0] :]
    tuning = borders[1] - borders[0]
    best = is_right[:, :, :tuning].mean(2).argmax(0)  # [K]
    accuracy = is_right[best, np.arange(len(lags)), tuning:].mean(1)
    commonest = np.array([_commonest(row[: borders[1]], row[borders[1] :]) for row in wanted])
    gain = np.clip((accuracy - commonest) / np.maximum(1 - commonest, 1e-9), 0, 1)
    ridge = np.array([ridges[index] for index in best])
    return Memory(np.array(lags), accuracy, commonest, gain, ridge, borders[0], len(states) - borders[1])


def _examples(trace: Trace, lags: Sequence[int]) -> tuple[Values, NDArray[np.int64]]:
    """Return the states, float64 [N, D], and for each lag the number of the character to name, int64 [K, N].

    Only characters that occur are numbered. The examples are ordered text by text.
    """
    first = lags[-1]
    states = np.concatenate([output[first:] for output in trace.outputs], axis=-1).astype(np.float64)
    numbers = np.unique(trace.ids, return_inverse=True)[1].reshape(trace.ids.shape)
    wanted = [numbers[first - lag : len(numbers) - lag].T.ravel() for lag in lags]
    return states.transpose(1, 0, 2).reshape(-1, states.shape[-1]), np.stack(wanted)


def _answers(states: Values, fitted: NDArray[np.int64], size: int, ridges: Sequence[float]) -> NDArray[np.int64]:
    """Fit the read-outs of all lags to the first states, and return their answers on the others.

    Args:
        states: [N, D].
        fitted: What to name at the first F states, [K, F].
        size: How many different characters there are.
        ridges: The penalties.

    Returns:
        int64 [ridges, K, N - F].

    """
    count = fitted.shape[1]
    centred = states - states[:count].mean(0)
    gram = centred[:count].T @ centred[:count]
    if not np.isfinite(gram).all():
        raise CharlmError("the states are not finite, or too large")
    variance = max(float(np.trace(gram)) / len(gram), 1e-12)
    inverses = [np.linalg.inv(gram + ridge * variance * np.eye(len(gram))) for ridge in ridges]
    answers = np.empty((len(ridges), len(fitted), len(states) - count), np.int64)
    for lag, wanted in enumerate(fitted):  # one lag at a time: a text may have thousands of characters
        targets = np.zeros((count, size))
        targets[np.arange(count), wanted] = 1
        along, constants = centred[:count].T @ targets, targets.mean(0)
        for number, inverse in enumerate(inverses):
            answers[number, lag] = (centred[count:] @ (inverse @ along) + constants).argmax(-1)
    return answers


def _commonest(seen: NDArray[np.int64], tested: NDArray[np.int64]) -> float:
    return float((tested == np.bincount(seen).argmax()).mean())
