"""How much context a network uses: the loss if only the last k characters are given, beside n-grams that know as many.

Axes: k the characters given.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.evaluation.scoring import mean_and_error
from charlm.inspection.figures import Curve, Panel, with_errors
from charlm.inspection.reading import Found, Reading, items_of
from charlm.network.rnn import Parameters, advance
from charlm.network.rnn import nats as character_nats
from charlm.text.markup import with_error
from charlm.wording import counted

Values = NDArray[np.float64]

MOST_CONTEXT = 512
"""The most characters that are given."""
USED, FLAT = 0.01, 0.001
"""Nats per character: what lies further back and gives less is not used; below FLAT, no more characters are given."""


@dataclass(frozen=True, eq=False)
class UsableContext:
    """The mean loss if only the last k characters are given, or all of them where there are fewer."""

    characters: NDArray[np.int64]
    """k = 0, 1, 2, ..., int64 [n]; what lies before the last k gives less than FLAT, or it is the largest tried."""
    nats: Values
    """Nats per character from the zero state, float64 [n]."""
    standard_errors: Values
    """Of these, see `charlm.evaluation.scoring.mean_and_error`, float64 [n]; NaN if they are not known."""
    gains: Values
    """By how much all characters give a lower loss than the last k alone, float64 [n]."""
    gain_errors: Values
    """The standard error of each gain, paired: of the differences of the same characters, float64 [n]."""
    ngram_order: NDArray[np.int64]
    """k + 1 of the n-gram models that were counted on the training text, int64 [m]; empty without that text."""
    ngram_nats: Values
    """Their nats per character on the same characters, float64 [m]."""
    ngram_standard_errors: Values
    """Of these, float64 [m]; NaN if they are not known."""
    whole_nats: float
    """Nats per character, given all characters from the beginning of the text."""
    used: int | None
    """The smallest k whose gain is not more than USED, or not more than 2 standard errors above 0; None if there is
    none, its error is not known, or the text has fewer than 4 k characters."""
    positions: range
    """Of the characters that were scored."""


def usable_context(
    parameters: Parameters,
    ids: NDArray[Any],
    nats: NDArray[np.floating[Any]],
    *,
    most: int = MOST_CONTEXT,
    ngram_nats: Mapping[int, NDArray[np.floating[Any]]] | None = None,
) -> UsableContext:
    """Score the characters of a text given only the last k before each.

    One reading from every character of the text gives all k: after k steps it predicts the character k further on.

    Args:
        parameters: The weights.
        ids: Integers [n], n >= 2.
        nats: The nats of ids 1 to n - 1, the text read as one stream, [n - 1].
        most: The largest k, 1 or more.
        ngram_nats: The nats of ids 1 to n - 1 by n-grams, [n - 1] by their order, rising; None = no n-grams.

    """
    places, scores, state = np.arange(len(nats)), [], parameters.zero_state(len(nats))
    for k in range(min(most, len(nats)) + 1):
        if k:
            begun = len(ids) - k  # the readings whose next character is in the text
            state = advance(parameters, ids[k - 1 : -1], tuple(layer[:begun] for layer in state))
        losses = np.concatenate([nats[: max(0, k - 1)], character_nats(parameters.logits(state), ids[max(1, k) :])])
        gain = mean_and_error(losses - nats, places)
        scores.append((*mean_and_error(losses, places), *gain))
        if abs(gain[0]) < FLAT:
            break
    table = np.array(scores, np.float64).T  # an error that is not known becomes NaN
    small = np.flatnonzero(table[2] <= np.maximum(USED, 2 * table[3]))  # NaN is larger than everything
    by_ngrams = [(order, *mean_and_error(each, places)) for order, each in (ngram_nats or {}).items()]
    orders, ngram_means, ngram_errors = np.array(by_ngrams, np.float64).reshape(-1, 3).T
    return UsableContext(
        characters=np.arange(len(scores)),
        nats=table[0],
        standard_errors=table[1],
        gains=table[2],
        gain_errors=table[3],
        ngram_order=orders.astype(np.int64),
        ngram_nats=ngram_means,
        ngram_standard_errors=ngram_errors,
        whole_nats=float(np.mean(nats, dtype=np.float64)),
        used=int(small[0]) if len(small) and 4 * small[0] <= len(ids) else None,
        positions=range(1, len(ids)),
    )


def make_context(reading: Reading) -> Found:
    """Measure the loss by the number of characters that are given."""
    ids = reading.ids[: reading.limits.context]
    scored = len(ids) - 1
    ngram_nats = {order: nats[:scored] for order, nats in reading.ngram_nats.items()}
    found = usable_context(reading.parameters, ids, reading.nats[:scored], ngram_nats=ngram_nats)
    items = items_of(found, "characters", "nats", "standard_errors", "gains", "gain_errors")
    sentence = context_sentence(found)
    return Found(found, panels=[context_panel(found)], items=items, sentence=sentence, positions=found.positions)


def context_sentence(context: UsableContext) -> str:
    """Return how many characters of context the network uses, and what those before them give."""
    if context.used is None:
        return ""
    gain, error = float(context.gains[context.used]), float(context.gain_errors[context.used])
    used, gives = counted(context.used, "character"), "gives" if gain >= 0 else "costs"
    return (
        f"uses {used} of context (all that is further back {gives} {with_error(abs(gain), error)} nats per character)"
    )


def context_panel(context: UsableContext) -> Panel:
    """Show the loss by the number of characters given, with standard errors."""
    given, nats = context.characters, context.nats
    besides = {"all characters given": Curve(given, np.full(len(given), context.whole_nats))}
    if len(context.ngram_nats):
        ngrams = with_errors(context.ngram_order - 1, context.ngram_nats, context.ngram_standard_errors)
        besides["n-gram, n = k + 1"] = ngrams
    if context.used is not None:
        besides["context that is used"] = Curve([context.used], [nats[context.used]])
    return Panel(
        "Loss, given k characters",
        ("k, characters given", "nats per character"),
        {"network": with_errors(given, nats, context.standard_errors)},
        besides,
        scale="doublings",
    )
