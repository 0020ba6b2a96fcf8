"""The usable context of a network: its loss when it reads only the last k characters.

Array dimensions: n = number of values of k tried, m = number of n-gram orders.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.evaluation.scoring import ERROR_BLOCK, mean_and_error
from charlm.inspection.figures import Curve, Panel, clipping_note, with_errors
from charlm.inspection.html import with_error
from charlm.inspection.reading import Reading
from charlm.inspection.section import Chart, Content, Sample, Section, Table
from charlm.network.reading import VALUES_AT_ONCE
from charlm.network.rnn import Parameters, State, advance
from charlm.network.rnn import nats as character_nats
from charlm.wording import counted

Values = NDArray[np.float64]

MOST_CONTEXT = 512
"""Largest k that is tried."""
USED = 0.01
"""Largest gain, in nats per character, from characters that do not count as used."""
FLAT = 0.001
"""Gain, in nats per character, below which no larger k is tried."""
MAX_ERROR = USED / 2
"""Standard error of the last gain above which gains of USED cannot be measured."""
MIN_SHOWN = 0.0001
"""Smallest gain, in nats per character, that the summary shows."""


@dataclass(frozen=True, eq=False)
class UsableContext:
    """The mean loss of a network that reads only the last k characters before each prediction.

    At the beginning of the text, where there are fewer than k characters, the network reads all of
    them.
    """

    characters: NDArray[np.int64]
    """k = 0, 1, 2, ..., int64 [n]: up to the first k with a gain below FLAT, or to the largest
    k."""
    nats: Values
    """Loss in nats per character, each prediction starting from the zero state, float64 [n]."""
    standard_errors: Values
    """Standard error of each loss, see `mean_and_error`, float64 [n]; NaN if unknown."""
    gains: Values
    """Decrease of the loss when all earlier characters are read, in nats per character, float64
    [n]."""
    gain_errors: Values
    """Standard error of each gain, from the paired differences, float64 [n]; NaN if unknown."""
    ngram_order: NDArray[np.int64]
    """Orders k + 1 of the n-gram models of the training text, int64 [m]; empty if the text is
    unknown."""
    ngram_nats: Values
    """Loss of each n-gram model on the same characters, in nats per character, float64 [m]."""
    ngram_standard_errors: Values
    """Standard error of each of these losses, float64 [m]; NaN if unknown."""
    whole_nats: float
    """Loss when the text is read from its beginning, in nats per character."""
    used: int | None
    """The smallest k such that the gains at k and at every larger k are at most USED, or at most
    two standard errors; None if there is no such k, an error is unknown, the error of the last gain
    is above MAX_ERROR and the k is not 0, or the text has fewer than 4 k characters."""
    positions: Sample
    """The characters that were predicted."""


def usable_context(
    parameters: Parameters,
    ids: NDArray[Any],
    nats: NDArray[np.floating[Any]],
    *,
    most: int = MOST_CONTEXT,
    ngram_nats: Mapping[int, NDArray[np.floating[Any]]] | None = None,
) -> UsableContext:
    """Score the characters of a text, predicting each from the k characters before it.

    One batch holds a reading from every character of the text, each from the zero state. After k
    steps, each reading predicts the character k places further on, so one pass gives every k.

    Args:
        parameters: The weights.
        ids: The text, integers [n], n >= 2.
        nats: The nats of ids 1 to n - 1 when the text is read as one stream, [n - 1].
        most: The largest k, 1 or more.
        ngram_nats: The nats of ids 1 to n - 1 by n-gram models, [n - 1], by rising order.

    """
    places = np.arange(len(nats))
    state = parameters.zero_state(len(nats))
    scores = []
    for k in range(min(most, len(nats)) + 1):
        if k:
            readings = len(ids) - k  # whose next character is still in the text
            state = tuple(layer[:readings] for layer in state)
            state = advance(parameters, ids[k - 1 : -1], state)
        predicted = _nats_of_next(parameters, state, ids[max(1, k) :])
        losses = np.concatenate([nats[: max(0, k - 1)], predicted])
        gain, gain_error = mean_and_error(losses - nats, places)
        scores.append((*mean_and_error(losses, places), gain, gain_error))
        if abs(gain) < FLAT:
            break
    # an unknown error becomes NaN
    means, errors, gains, gain_errors = np.array(scores, np.float64).T
    ngram_scores = [mean_and_error(each, places) for each in (ngram_nats or {}).values()]
    ngram_means, ngram_errors = np.array(ngram_scores, np.float64).reshape(-1, 2).T
    return UsableContext(
        characters=np.arange(len(scores)),
        nats=means,
        standard_errors=errors,
        gains=gains,
        gain_errors=gain_errors,
        ngram_order=np.array([*(ngram_nats or {})], np.int64),
        ngram_nats=ngram_means,
        ngram_standard_errors=ngram_errors,
        whole_nats=float(np.mean(nats, dtype=np.float64)),
        used=context_used(gains, gain_errors, characters=len(ids)),
        positions=Sample.of(range(1, len(ids))),
    )


def _nats_of_next(
    parameters: Parameters, state: State, targets: NDArray[Any]
) -> NDArray[np.floating[Any]]:
    """Return the nats of the character after each of n states, [n], from states of [n, H]."""
    rows = parameters.rows_at_once(VALUES_AT_ONCE)
    parts = []
    for start in range(0, len(targets), rows):
        block = slice(start, start + rows)
        logits = parameters.logits([layer[block] for layer in state])
        parts.append(character_nats(logits, targets[block]))
    return np.concatenate(parts)


def context_used(gains: Values, errors: Values, *, characters: int) -> int | None:
    """Return the context that a network uses, see `UsableContext.used`.

    Args:
        gains: The gains at k = 0, 1, 2, ..., in nats per character, float64 [n].
        errors: The standard error of each gain, float64 [n]; NaN if unknown.
        characters: The length of the text, which must be 4 times the context.

    """
    is_small = gains <= np.maximum(USED, 2 * errors)  # False where the error is NaN
    used = int(np.flatnonzero(~is_small).max(initial=-1)) + 1
    if used and errors[-1] > MAX_ERROR:
        return None
    return used if used < len(gains) and 4 * used <= characters else None


def make_context(reading: Reading) -> Content:
    """Measure the loss by the number of characters that the network reads."""
    ids = reading.ids[: reading.limits.context]
    scored = len(ids) - 1
    ngram_nats = {order: nats[:scored] for order, nats in reading.ngram_nats.items()}
    context = usable_context(reading.parameters, ids, reading.nats[:scored], ngram_nats=ngram_nats)
    return Content(
        context,
        basis=f"Based on the predictions of {context.positions}.{why_unknown(context)}",
        figure=context_chart(context),
        table=context_table(context),
        summary=context_summary(context),
    )


def context_summary(context: UsableContext) -> str:
    """Return how many characters the network uses, and the gain from earlier characters."""
    if context.used is None:
        return ""
    used = counted(context.used, "character")
    gain = float(context.gains[context.used])
    if abs(gain) < MIN_SHOWN:
        effect = f"changes the loss by less than {MIN_SHOWN}"
        return f"uses {used} of context: reading further back {effect} nats per character"
    size = with_error(abs(gain), float(context.gain_errors[context.used]))
    effect = f"improves the loss by only {size}" if gain >= 0 else f"worsens the loss by {size}"
    return f"uses {used} of context: reading further back {effect} nats per character"


def why_unknown(context: UsableContext) -> str:
    """Return a sentence about why the context used is unknown, after a space; "" if it is known."""
    if context.used is not None:
        return ""
    last_error = float(context.gain_errors[-1])
    if np.isnan(context.gain_errors).any():
        reason = "the text is too short for standard errors"
    elif last_error > MAX_ERROR:
        reason = f"the gain has a standard error of {last_error:.4f} nats"
    else:
        reason = "the text is too short, or the network uses more than was tried"
    return f" The context that the network uses is not known: {reason}."


def context_table(context: UsableContext) -> Table:
    """List the loss and the gain for each k."""
    losses = zip(context.nats.tolist(), context.standard_errors.tolist(), strict=True)
    gains = zip(context.gains.tolist(), context.gain_errors.tolist(), strict=True)
    return Table(
        "Loss from the last k characters, and how much lower it is when all earlier characters are "
        "read, in nats per character. ± is a standard error from blocks of "
        f"{ERROR_BLOCK} characters.",
        {
            "k": context.characters.tolist(),
            "loss from the last k": [*losses],
            "gain from all": [*gains],
        },
    )


def context_chart(context: UsableContext) -> Chart:
    """Draw the loss by the number of characters read, and the gain from reading all."""
    k = context.characters
    labels = ("k, characters read", "nats per character")
    loss = Panel(
        "Loss from the last k characters",
        labels,
        {"": with_errors(k, context.nats, context.standard_errors)},
        _extra_curves(context),
        label="network",
        x_scale="doublings",
    )
    gain = Panel(
        "Gain from all earlier characters",
        labels,
        {"": with_errors(k, context.gains, context.gain_errors)},
        label="network",
        x_scale="doublings",
        y_scale="log",
        rule=USED,
    )
    panels = [loss, gain]
    ngrams = ""
    if len(context.ngram_nats):
        ngrams = (
            "Where the line of the n-gram models is lower, they predict better from k characters. "
        )
    return Chart(
        panels,
        "Top: the loss when only the last k characters are read. Bottom: how much lower the loss "
        "is when all earlier characters are read, on a logarithmic axis; the thin line is at "
        f"{USED} nats.",
        f"Bands: ±1 standard error from blocks of {ERROR_BLOCK} characters; the error of the gain "
        "is paired, from the differences on the same characters. "
        f"{ngrams}{clipping_note(panels)}".rstrip(),
    )


def _extra_curves(context: UsableContext) -> dict[str, Curve]:
    """Return the curves of a single run for comparison with its loss."""
    k = context.characters
    extras = {"all earlier characters read": Curve(k, np.full(len(k), context.whole_nats))}
    if len(context.ngram_nats):
        extras["n-gram, n = k + 1"] = with_errors(
            context.ngram_order - 1, context.ngram_nats, context.ngram_standard_errors
        )
    if context.used is not None:
        extras["context used"] = Curve([context.used], [context.nats[context.used]])
    return extras


SECTION = Section(
    name="usable_context",
    title="How much context it uses",
    equation="L(k) = mean of -log p(id_t | id_{t-k}, ..., id_{t-1}), gain(k) = L(k) - L(all)",
    text=(
        "The network starts from the zero state, reads only the last k characters, and predicts "
        "the next one. Where the loss stops falling, the network makes no use of earlier "
        "characters. The context that it uses is the smallest k from which on the gain is at most "
        f"{USED} nats, or at most two standard errors. For small k the comparison with n-grams is "
        "unfair to the network, which rarely starts from the zero state in training."
    ),
    make=make_context,
)
