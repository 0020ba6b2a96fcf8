"""The usable context of a network: its loss when it reads only the last k characters.

Array dimensions: n = number of values of k tried, m = number of n-gram orders.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from charlm.core.reading import VALUES_AT_ONCE
from charlm.core.rnn import Floats, Integers, Parameters, State, Values, advance
from charlm.core.rnn import nats as character_nats
from charlm.core.scoring import ERROR_BLOCK
from charlm.core.vocabulary import Ids
from charlm.inspection.reading import Reading, SampledCharacters
from charlm.inspection.style import (
    INK,
    MUTED,
    Figure,
    Line,
    Section,
    add_axes,
    curve,
    fit_logarithmic,
)
from charlm.measures.estimates import as_arrays, mean_at, student

MOST_CONTEXT = 512
"""Largest k that is tried."""
USED = 0.01
"""Largest gain, in nats per character, from characters that do not count as used."""
FLAT = 0.001
"""Gain, in nats per character, below which no larger k is tried."""


@dataclass(frozen=True, eq=False)
class UsableContext:
    """The mean loss of a network that reads only the last k characters before each prediction.

    At the beginning of the text, where there are fewer than k characters, the network reads all of
    them.
    """

    characters: Integers
    """k = 0, 1, 2, ..., int64 [n]: up to the first k with a gain below FLAT, or to the largest
    k."""
    nats: Values
    """Loss in nats per character, each prediction starting from the zero state, float64 [n]."""
    standard_errors: Values
    """Standard error of each loss, see `mean_at`, float64 [n]; NaN if unknown."""
    gains: Values
    """Decrease of the loss when all earlier characters are read, in nats per character, float64
    [n]."""
    gain_errors: Values
    """Standard error of each gain, from the paired differences, float64 [n]; NaN if unknown."""
    ngram_order: Integers
    """Orders k + 1 of the n-gram models of the training text, int64 [m]; empty if the text is
    unknown."""
    ngram_nats: Values
    """Loss of each n-gram model on the same characters, in nats per character, float64 [m]."""
    whole_nats: float
    """Loss when the text is read from its beginning, in nats per character."""
    used: int | None
    """The smallest k such that the gains at k and at every larger k are at most USED, or chance
    explains them (95%); None if there is no such k, an error is unknown, chance explains gains of
    USED at the last k and the k is not 0, or the text has fewer than 4 k characters."""
    positions: SampledCharacters
    """The characters that were predicted."""


def usable_context(
    parameters: Parameters,
    ids: Ids,
    nats: Floats,
    ngram_nats: Mapping[int, Values],
) -> UsableContext:
    """Score the characters of a text, predicting each from the k characters before it.

    One batch holds a reading from every character of the text, each from the zero state. After k
    steps, each reading predicts the character k places further on, so one pass gives every k.

    Args:
        parameters: The weights.
        ids: The text, integers [n], n >= 2.
        nats: The nats of ids 1 to n - 1 when the text is read as one stream, [n - 1].
        ngram_nats: The nats of ids 1 to n - 1 by n-gram models, [n - 1], by rising order.

    """
    places = np.arange(len(nats))
    state = parameters.zero_state(len(nats))
    losses = []
    gains = []
    for k in range(min(MOST_CONTEXT, len(nats)) + 1):
        if k:
            readings = len(ids) - k  # whose next character is still in the text
            state = tuple(layer[:readings] for layer in state)
            state = advance(parameters, ids[k - 1 : -1], state)
        predicted = _nats_of_next(parameters, state, ids[max(1, k) :])
        short = np.concatenate([nats[: max(0, k - 1)], predicted])
        losses.append(mean_at(short, places))
        gains.append(mean_at(short - nats, places))
        gain = gains[-1].value
        if gain is not None and abs(gain) < FLAT:
            break
    means, errors = as_arrays(losses)
    mean_gains, gain_errors = as_arrays(gains)
    return UsableContext(
        characters=np.arange(len(losses)),
        nats=means,
        standard_errors=errors,
        gains=mean_gains,
        gain_errors=gain_errors,
        ngram_order=np.array([*ngram_nats], np.int64),
        ngram_nats=np.array([each.mean() for each in ngram_nats.values()]),
        whole_nats=float(np.mean(nats, dtype=np.float64)),
        used=context_used(mean_gains, gain_errors, characters=len(ids)),
        positions=SampledCharacters.of(range(1, len(ids))),
    )


def _nats_of_next(parameters: Parameters, state: State, targets: Ids) -> Floats:
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
    if np.isnan(errors).any():
        return None
    by_chance = student(2, freedom=max(1, characters // ERROR_BLOCK - 1)) * errors
    is_small = gains <= np.maximum(USED, by_chance)
    used = int(np.flatnonzero(~is_small).max(initial=-1)) + 1
    if used and by_chance[-1] > USED:
        return None
    return used if used < len(gains) and 4 * used <= characters else None


def measure(reading: Reading) -> UsableContext:
    """Measure the loss by the number of characters that the network reads."""
    ids = reading.ids[: reading.limits.context]
    scored = len(ids) - 1
    ngram_nats = {order: nats[:scored] for order, nats in reading.ngram_nats.items()}
    return usable_context(reading.parameters, ids, reading.nats[:scored], ngram_nats)


# The page

TEXT = (
    "The network starts from the zero state, reads only the last k characters, and predicts the "
    "next one. Where the loss stops falling, the network makes no use of earlier characters. The "
    "context that it uses, marked by a dot, is the smallest k from which on the gain is at most "
    f"{USED} nats, or so small that chance explains it (two standard errors). A network that "
    "rarely starts from the zero state in training (training.state_reset near 0) is at a "
    "disadvantage for small k."
)
UNKNOWN = (
    "The context used is not known, because the text is too short, or because the network uses "
    "more than was tried."
)


def plot(figure: Figure, results: Mapping[Line, UsableContext]) -> None:
    """Draw the loss by the number of characters read, and the gain from reading all."""
    titles = ("Loss from the last k characters", "Gain from all earlier characters")
    loss, gain = add_axes(figure, *titles)
    for each in (loss, gain):
        each.set_xscale("symlog", base=2, linthresh=1)
        each.xaxis.set_major_formatter("{x:g}")
        each.set(xlabel="k, characters read", ylabel="nats per character")
    gain.set_yscale("log")
    gain.axhline(USED, color=MUTED)
    is_alone = len(results) == 1
    for line, context in results.items():
        k = context.characters
        band = _band(context.nats, context.standard_errors) if is_alone else None
        gain_band = _band(context.gains, context.gain_errors) if is_alone else None
        curve(loss, k, context.nats, band, colour=line.colour, label=line.group or "network")
        positive = np.where(context.gains > 0, context.gains, np.nan)
        curve(gain, k, positive, gain_band, colour=line.colour)
        if context.used is not None:
            loss.plot(context.used, context.nats[context.used], "o", color=line.colour)
    if is_alone:
        loss.axhline(context.whole_nats, color=MUTED, label="all earlier characters read")
        known = context.ngram_order - 1
        curve(loss, known, context.ngram_nats, colour=INK, dashes=":", label="n-gram, n = k + 1")
    fit_logarithmic(gain)


def _band(values: Values, errors: Values) -> tuple[Values, Values]:
    return values - errors, values + errors


def caption(results: Mapping[Line, UsableContext]) -> str:
    """Return a description of the figure and of its sample, in full sentences."""
    context = next(iter(results.values()))
    sentences = [
        f"Based on the predictions of {context.positions}. The thin line of the gain is at {USED} "
        "nats.",
    ]
    if len(results) == 1:
        sentences.append(
            f"Bands: \N{PLUS-MINUS SIGN}1 standard error over the text, from blocks of "
            f"{ERROR_BLOCK} characters; that of the gain is paired, from the differences on the "
            "same characters. Where the dotted line is lower, n-gram models of the training text "
            "predict better from k characters."
        )
    unknown = [line.label for line, each in results.items() if each.used is None]
    if unknown:
        sentences.append(f"{UNKNOWN} {', '.join(unknown)}".rstrip())
    return " ".join(sentences)


SECTION = Section(
    name="usable_context",
    title="How much context it uses",
    equation=(
        "L(k) = mean of &minus;log p(id<sub>t</sub> | id<sub>t&minus;k</sub>, ..., "
        "id<sub>t&minus;1</sub>), gain(k) = L(k) &minus; L(all)"
    ),
    text=TEXT,
    measure=measure,
    plot=plot,
    caption=caption,
)
