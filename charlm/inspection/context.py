"""How far back a network learns and predicts: the gradients by lag, which vanish or explode, and the usable context.

dh_t / dh_{t-1} = V D_t, D_t = diag f'(a_t)   (rows: v -> v V D_t)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.network.gradients import LagCurve, Trace, lag_curves
from charlm.network.rnn import Parameters, advance, nats, zero_state

Values = NDArray[np.float64]

CONTEXTS = tuple(1 << power for power in range(10))
"""1, 2, 4, ... 512 characters."""
HIGHEST_ORDER = 9
"""The longest n-grams that are counted."""


@dataclass(frozen=True, eq=False)
class GradientByLag:
    """How the gradients of a text's predictions reach each layer at earlier characters."""

    layers: tuple[LagCurve, ...]
    positions: int
    """How many predictions were followed back."""


def gradient_by_lag(trace: Trace, *, positions: int = 200, max_lag: int = 128) -> GradientByLag:
    """Follow the gradients of evenly spaced predictions of a text back, and compare their norms with those at t.

    Args:
        trace: One text, read; T >= 2.
        positions: How many predictions to follow at most, 1 or more. Those that have fewer characters before them than
            the largest lag are left out, half of a short text at most.
        max_lag: The largest k, at most; it is less for a short text.

    """
    last = len(trace.ids) - 2
    first = min(max_lag, last // 2)
    steps = np.unique(np.linspace(first, last, min(positions, last + 1 - first)).astype(np.int64))
    lags = min(max_lag, int(steps.min())) + 1
    return GradientByLag(lag_curves(trace, steps, lags=lags), len(steps))


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
    state = zero_state(parameters, len(targets))
    for back in range(k, 0, -1):
        _, state = advance(parameters, ids[targets - back], state)
    return float(nats(parameters.logits(state), ids[targets].astype(np.int64)).mean(dtype=np.float64))
