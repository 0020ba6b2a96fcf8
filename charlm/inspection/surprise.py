"""Where the loss comes from: each character's surprise, by the kind of the character, and by the place in the word.

    nats_t = -log softmax(logits_{t-1})[id_t]

The mean of a table weighted by its counts is the mean over the text.

Axes: N scored characters, V vocabulary, T = N + 1 the characters of the text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.evaluation.baselines import NGRAM, NGRAM_ORDER, Comparison
from charlm.evaluation.scoring import mean_and_error, mean_score, only_finite
from charlm.inspection.features import KINDS, RESERVED, character_kind, count_within, is_in_word
from charlm.inspection.figures import Curve, Panel
from charlm.inspection.reading import Found, Reading
from charlm.network.gradients import Trace, follow_back, through_inputs
from charlm.network.rnn import nats, probabilities
from charlm.text.markup import LEVELS, NATS_PER_LEVEL, coloured_text, number, script_json, to_plain, visible, with_error
from charlm.text.vocabulary import Vocabulary

Nats = NDArray[np.floating[Any]]
Values = NDArray[np.float64]

LIKELIEST = 5


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions of characters 1 to N of a text, read as one stream from the zero state."""

    ids: NDArray[np.int64]
    """The characters that came, int64 [N]."""
    nats: Values
    """The surprise of each, float64 [N]."""
    likeliest: NDArray[np.int64]
    """The ids that the network thought likeliest before each character, likeliest first: int64 [N, 5 or V]."""
    probabilities: Values
    """Their probabilities, float64 [N, 5 or V]."""
    influence: Values
    """|dL_t / dx_s| of the prediction at t by the input x_s, for the characters s = t - 1, t - 2, ... before it.

    float64 [N, lags], divided by the largest of its row; 0 before the beginning of the text, and if all are 0.
    """


def predict(trace: Trace, *, lags: int = 32, rows: int = 256) -> Predictions:
    """Score every character of a text but the first, and follow each prediction back to the characters behind it.

    Args:
        trace: One text, read from the zero state; T >= 2.
        lags: How many characters before each one `influence` reaches back, 1 or more.
        rows: How many predictions to follow side by side, 1 or more.

    """
    steps, ids = np.arange(len(trace.ids) - 1), trace.ids[1:, 0]
    logits = trace.logits[:-1, 0].astype(np.float64)
    chances = probabilities(logits)
    likeliest = np.argsort(-chances, axis=-1, kind="stable")[:, :LIKELIEST]
    influence = np.empty((len(steps), lags))
    for start in range(0, len(steps), rows):
        for lag, (_, changes) in enumerate(follow_back(trace, steps[start : start + rows], lags=lags)):
            inputs = through_inputs(trace.parameters, changes)
            influence[start : start + rows, lag] = np.linalg.norm(inputs, axis=-1)
    peaks = influence.max(-1, keepdims=True)
    return Predictions(
        ids=ids,
        nats=np.asarray(nats(logits, ids), np.float64),
        likeliest=likeliest,
        probabilities=np.take_along_axis(chances, likeliest, -1),
        influence=np.divide(influence, peaks, out=np.zeros_like(influence), where=peaks > 0),
    )


def make_surprise(reading: Reading) -> Found:
    """Predict the text that is coloured by surprise; raises CharlmError if the losses are not finite."""
    found, characters = predict(reading.trace), reading.characters
    next(only_finite([found.nats.astype(np.float32)]))
    return Found(
        list_characters(found, characters), html=reader(found, characters), positions=range(1, len(found.ids) + 1)
    )


def list_characters(found: Predictions, characters: Sequence[str | None]) -> list[dict[str, Any]]:
    """Return an object for each character: position, character, nats, likeliest, influence."""
    rows = zip(*(column.tolist() for column in vars(found).values()), strict=True)
    return [
        {
            "position": position,
            "character": characters[index],
            "nats": nats,
            "likeliest": [
                {"character": characters[guess], "probability": probability}
                for guess, probability in zip(guesses, chances, strict=True)
            ],
            "influence": influence,
        }
        for position, (index, nats, guesses, chances, influence) in enumerate(rows, 1)
    ]


def reader(found: Predictions, characters: Sequence[str | None]) -> str:
    """Return the text coloured by surprise, with a panel for the likeliest characters, and the data of its script."""
    text = coloured_text([characters[index] for index in found.ids], found.nats.tolist())
    shades = np.rint(LEVELS * np.nan_to_num(found.influence)).astype(np.int64)
    data = to_plain(found) | {
        "labels": [*map(visible, characters)],
        "influence": ["".join(map(str, row)) for row in shades.tolist()],  # as levels: a tenth of the size
    }
    steps = "".join(
        f'<span class="l{level}">\N{NO-BREAK SPACE}{number(level * NATS_PER_LEVEL)}\N{NO-BREAK SPACE}</span>'
        for level in range(0, LEVELS + 1, 3)
    )
    return (
        f'<div class="reader"><div class="legend">nats, at least <p class="passage">{steps}</p></div>'
        f'<p class="passage" tabindex="0" role="group" aria-label="text coloured by surprise">{text}</p>'
        f'<div class="panel" aria-live="polite"><p class="help">Point at a character, or use Tab and the arrow '
        f"keys: the likeliest characters appear here, and those before it turn blue, the more the loss depends on them."
        f'</p></div><script type="application/json">{script_json(data)}</script></div>'
    )


WORD_PLACES = ("outside words", "letter 1", "letter 2", "letter 3", "letter 4", "letters 5 to 7", "letters from 8")
WORD_STARTS = (0, 1, 2, 3, 4, 5, 8)
"""The first place of each of WORD_PLACES."""


@dataclass(frozen=True)
class ClassLoss:
    """The loss on the characters of one class."""

    name: str
    characters: int
    """How many scored characters the class has, 1 or more."""
    nats_per_char: float
    standard_error: float | None
    """Of it, see `charlm.evaluation.scoring.mean_and_error`."""
    ngram_nats_per_char: float
    """The same for the 5-gram model; NaN if there is none."""
    ngram_standard_error: float | None
    share_of_loss: float
    """The nats of the class as a share of all nats, from 0 to 1."""


@dataclass(frozen=True)
class LossByClass:
    """The loss on a text, divided in two ways."""

    positions: range
    """Of the characters that were scored."""
    nats_per_char: float
    standard_error: float | None
    """Of it, as `charlm evaluate` prints it, see `charlm.evaluation.scoring.Score`."""
    comparison: Comparison | None
    """The network compared with the 5-gram model; None if the training text is not known."""
    by_class: tuple[ClassLoss, ...]
    """By what the character is: lower case, upper case, ..."""
    by_word_place: tuple[ClassLoss, ...]
    """By the number of the letter in its word."""


def divide_loss(
    nats: Nats,
    ids: NDArray[Any],
    vocabulary: Vocabulary,
    *,
    ngram_nats: Nats | None = None,
) -> LossByClass:
    """Divide the loss on a text by classes of the scored characters.

    Args:
        nats: The nats of ids 1 to T - 1, as `charlm.evaluation.scoring` yields them, [T - 1].
        ids: The text, integers [T], T >= 2.
        vocabulary: The characters by id.
        ngram_nats: The nats of the same ids by the 5-gram model, [T - 1]; None = there is none.

    """
    names = (*KINDS, RESERVED)
    kinds = np.array([names.index(character_kind(character)) for character in vocabulary.characters])[ids[1:]]
    places = count_within(is_in_word(vocabulary.spell(ids, end="\n")))[1:]
    by_ngrams = np.full(len(nats), np.nan) if ngram_nats is None else ngram_nats
    score = mean_score([nats])
    comparison = None if ngram_nats is None else Comparison.of(score, mean_score([ngram_nats]))
    return LossByClass(
        positions=range(1, len(ids)),
        nats_per_char=score.nats_per_char,
        standard_error=score.standard_error,
        comparison=comparison,
        by_class=_divide(nats, by_ngrams, kinds, names),
        by_word_place=_divide(nats, by_ngrams, np.searchsorted(WORD_STARTS, places, "right") - 1, WORD_PLACES),
    )


def _divide(nats: Nats, by_ngrams: Nats, classes: NDArray[np.int64], names: Sequence[str]) -> tuple[ClassLoss, ...]:
    """Return the loss of each class that occurs; `classes` [T - 1] are indices of `names`."""
    total, found = float(nats.sum(dtype=np.float64)), []
    for kind in np.unique(classes).tolist():
        places = np.flatnonzero(classes == kind)
        pairs = (*mean_and_error(nats[places], places), *mean_and_error(by_ngrams[places], places))
        share = float(nats[places].sum(dtype=np.float64)) / total if total > 0 else 0.0
        found.append(ClassLoss(names[kind], len(places), *pairs, share_of_loss=share))
    return tuple(found)


def make_loss(reading: Reading) -> Found:
    """Divide the loss on the text by classes of its characters, next to that of the 5-gram model."""
    ngram_nats = reading.ngram_nats.get(NGRAM_ORDER)
    loss = divide_loss(reading.nats, reading.ids, reading.trained.vocabulary, ngram_nats=ngram_nats)
    items = (*loss.by_class, *loss.by_word_place)
    sentence = loss_sentence(loss)
    return Found(loss, panels=loss_panels(loss), items=items, sentence=sentence, positions=loss.positions)


def loss_sentence(loss: LossByClass) -> str:
    """Return the loss, and how it compares with that of the 5-gram model if the error of the difference is known."""
    score = f"scores {with_error(loss.nats_per_char, loss.standard_error)} nats per character"
    if loss.comparison is None or loss.comparison.verdict == "not compared":
        return score
    return f"{score}, {loss.comparison}"


def loss_panels(loss: LossByClass) -> list[Panel]:
    """Show the loss on each class of characters next to that of the 5-gram model."""
    divisions = {"Loss by what the character is": loss.by_class, "Loss by the place in the word": loss.by_word_place}
    panels = []
    for title, classes in divisions.items():
        names, besides = ["all characters", *(each.name for each in classes)], {}
        if loss.comparison is not None:
            losses = [loss.comparison.ngram_nats_per_char, *(each.ngram_nats_per_char for each in classes)]
            besides[NGRAM] = Curve(names, losses)
        losses = [loss.nats_per_char, *(each.nats_per_char for each in classes)]
        curves = {"network": Curve(names, losses)}
        panels.append(Panel(title, ("nats per character", "class"), curves, besides, scale="names"))
    return panels
