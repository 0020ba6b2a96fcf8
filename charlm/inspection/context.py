"""The usable context: how many earlier characters help to predict the next one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.evaluation.baselines import count_ngrams, score_ngrams
from charlm.network.rnn import Parameters, State, nats, step, zero_state

Values = NDArray[np.float64]

CONTEXTS = tuple(1 << power for power in range(10))
"""1, 2, 4, ... 512 characters."""
ELSEWHERE = 64
"""How many characters of another place are read to get a state from there."""


@dataclass(frozen=True, eq=False)
class UsableContext:
    """The mean loss if only the last k characters are given; the same characters are scored for every k."""

    characters: NDArray[np.int64]
    """k = 1, 2, 4, ..., int64 [n]."""
    nats: Values
    """Nats per character from the zero state, float64 [n]."""
    nats_other_state: Values
    """Nats per character from the state that another place of the text has left, float64 [n]."""
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
    training_ids: NDArray[Any] | None = None,
    highest_order: int = 9,
) -> UsableContext:
    """Score characters of a text given only the last k before each.

    Args:
        parameters: The weights.
        ids: Integers [n], n >= 2.
        characters: The k, rising, each 1 or more. Those that leave fewer than a quarter of the text to score are left
            out.
        positions: How many characters to score at most, 1 or more, evenly spaced.
        training_ids: The text to count the n-grams of, integers [m]; None = no n-grams.
        highest_order: The longest n-grams to count, 2 or more.

    Returns:
        The mean losses. `nats_other_state` begins at the state that 64 characters leave, half a text away.

    """
    reach = [k for k in characters if k <= max(1, 3 * (len(ids) - 1) // 4)]
    targets = np.unique(np.linspace(reach[-1], len(ids) - 1, min(positions, len(ids) - reach[-1])).astype(np.int64))
    zero = zero_state(parameters, len(targets))
    other = _state_elsewhere(parameters, ids, targets)
    from_zero, from_other = ([_nats(parameters, ids, targets, k, state) for k in reach] for state in (zero, other))
    orders = [] if training_ids is None else [k + 1 for k in reach if k < highest_order]
    counted = ids[:0] if training_ids is None else training_ids
    ngrams = _ngram_nats(ids, targets, training_ids=counted, orders=orders, vocabulary_size=parameters.vocabulary_size)
    return UsableContext(
        characters=np.array(reach),
        nats=np.array(from_zero),
        nats_other_state=np.array(from_other),
        bits_saved=-np.diff(from_zero) / np.log(2),
        ngram_order=np.array(orders, np.int64),
        ngram_nats=np.array(ngrams),
        positions=len(targets),
    )


def _nats(parameters: Parameters, ids: NDArray[Any], targets: NDArray[np.int64], k: int, state: State) -> float:
    """Return the mean loss of the targets, each given the k characters before it and a state, [P, H] for each layer."""
    for back in range(k, 0, -1):
        logits, state = step(parameters, ids[targets - back], state)
    return float(nats(logits, ids[targets].astype(np.int64)).mean(dtype=np.float64))


def _state_elsewhere(parameters: Parameters, ids: NDArray[Any], targets: NDArray[np.int64]) -> State:
    """Return the state after 64 characters, or fewer, that begin half a text away from each target."""
    length = min(ELSEWHERE, len(ids) // 2)
    starts = (targets + len(ids) // 2) % (len(ids) - length)
    state = zero_state(parameters, len(targets))
    for offset in range(length):
        _, state = step(parameters, ids[starts + offset], state)
    return state


def _ngram_nats(
    ids: NDArray[Any],
    targets: NDArray[np.int64],
    *,
    training_ids: NDArray[Any],
    orders: Sequence[int],
    vocabulary_size: int,
) -> list[float]:
    """Return the mean loss of the targets by the n-grams of each order."""
    models = (count_ngrams(training_ids, vocabulary_size=vocabulary_size, order=order) for order in orders)
    scores = (np.concatenate([*score_ngrams(model, ids)]) for model in models)
    return [float(score[targets - 1].mean()) for score in scores]
