"""The loss by kind of the predicted character, and by its place in the word.

The mean over the classes of a division, weighted by their characters, is the mean over the text.

Axes: T characters of the text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.evaluation.baselines import NGRAM, Comparison
from charlm.evaluation.ngrams import NGRAM_ORDER
from charlm.evaluation.scoring import ERROR_BLOCK, MIN_BLOCKS, mean_and_error, mean_score
from charlm.inspection.features import KINDS, RESERVED, character_kind, count_within, is_in_word
from charlm.inspection.figures import Panel, with_errors
from charlm.inspection.html import with_error
from charlm.inspection.reading import Reading
from charlm.inspection.section import Chart, Content, Sample, Section, Table
from charlm.text.vocabulary import Vocabulary

Nats = NDArray[np.floating[Any]]

WORD_PLACES = {
    0: "outside words",
    1: "letter 1",
    2: "letter 2",
    3: "letter 3",
    4: "letter 4",
    5: "letters 5 to 7",
    8: "letters from 8",
}
"""Names of the classes of places in a word, by their first place."""


@dataclass(frozen=True)
class ClassLoss:
    """The loss on the characters of one class."""

    name: str
    """Name of the class, as shown to the user."""
    characters: int
    """Number of scored characters in the class, 1 or more."""
    nats_per_char: float
    """Mean loss on these characters, in nats."""
    standard_error: float | None
    """Standard error of the mean, see `mean_and_error`; None if unknown."""
    ngram_nats_per_char: float
    """Mean loss of the 5-gram model on the same characters, in nats; NaN without such a model."""
    ngram_standard_error: float | None
    """Standard error of the mean loss of the 5-gram model; None if unknown."""
    share_of_loss: float
    """Total loss of the class as a share of the total loss on the text, from 0 to 1."""


@dataclass(frozen=True)
class LossByClass:
    """The loss on a text, divided in two ways."""

    positions: Sample
    """The characters that were scored."""
    nats_per_char: float
    """Mean loss on all scored characters, in nats."""
    standard_error: float | None
    """Standard error of the mean, see `Score`; None for fewer than 2,400 characters."""
    comparison: Comparison | None
    """The network compared with the 5-gram model; None if the training text is unknown."""
    by_class: tuple[ClassLoss, ...]
    """The loss by the kind of the character: lower case, upper case, ..."""
    by_word_place: tuple[ClassLoss, ...]
    """The loss by the number of the letter in its word."""


def divide_loss(
    nats: Nats,
    ids: NDArray[Any],
    vocabulary: Vocabulary,
    *,
    ngram_nats: Nats | None = None,
) -> LossByClass:
    """Divide the loss on a text by classes of the scored characters.

    Args:
        nats: The nats of ids 1 to T - 1, [T - 1].
        ids: The text, integers [T], T >= 2.
        vocabulary: The characters by id.
        ngram_nats: The nats of the same ids by the 5-gram model, [T - 1], if there is one.

    """
    kinds = [*KINDS, RESERVED]
    kind_of_id = [kinds.index(character_kind(each)) for each in vocabulary.characters]
    letters = count_within(is_in_word(vocabulary.spell(ids, end="\n")))[1:]
    places = np.searchsorted([*WORD_PLACES], letters, "right") - 1
    by_ngrams = np.full(len(nats), np.nan) if ngram_nats is None else ngram_nats
    score = mean_score([nats])
    comparison = None
    if ngram_nats is not None:
        comparison = Comparison.of(score, mean_score([ngram_nats]))
    return LossByClass(
        positions=Sample.of(range(1, len(ids))),
        nats_per_char=score.nats_per_char,
        standard_error=score.standard_error,
        comparison=comparison,
        by_class=_divide(nats, by_ngrams, np.array(kind_of_id)[ids[1:]], kinds),
        by_word_place=_divide(nats, by_ngrams, places, [*WORD_PLACES.values()]),
    )


def _divide(
    nats: Nats, by_ngrams: Nats, classes: NDArray[np.int64], names: Sequence[str]
) -> tuple[ClassLoss, ...]:
    """Return the loss of each class that occurs; `classes` [T - 1] are indices of `names`."""
    total = float(nats.sum(dtype=np.float64))
    losses = []
    for index in np.unique(classes).tolist():
        places = np.flatnonzero(classes == index)
        score = mean_and_error(nats[places], places)
        ngram_score = mean_and_error(by_ngrams[places], places)
        share = float(nats[places].sum(dtype=np.float64)) / total if total > 0 else 0.0
        losses.append(ClassLoss(names[index], len(places), *score, *ngram_score, share))
    return tuple(losses)


def make_loss(reading: Reading) -> Content:
    """Divide the losses of the network and of the 5-gram model by classes of characters."""
    ngram_nats = reading.ngram_nats.get(NGRAM_ORDER)
    loss = divide_loss(reading.nats, reading.ids, reading.trained.vocabulary, ngram_nats=ngram_nats)
    return Content(
        loss,
        basis=f"Based on the predictions of {loss.positions}.",
        figure=loss_chart(loss),
        table=loss_table(loss),
        summary=loss_summary(loss),
    )


def loss_summary(loss: LossByClass) -> str:
    """Return the loss, and its comparison with the 5-gram model if the error is known."""
    score = f"scores {with_error(loss.nats_per_char, loss.standard_error)} nats per character"
    if loss.comparison is None or loss.comparison.verdict == "not compared":
        return score
    return f"{score}, {loss.comparison}"


def loss_table(loss: LossByClass) -> Table:
    """List the loss of each class, the kinds of characters first."""
    classes = (*loss.by_class, *loss.by_word_place)
    columns: dict[str, Sequence[object]] = {
        "class": [each.name for each in classes],
        "characters": [each.characters for each in classes],
        "nats per character": [(each.nats_per_char, each.standard_error) for each in classes],
    }
    if loss.comparison is not None:
        columns["nats per character, 5-gram"] = [
            (each.ngram_nats_per_char, each.ngram_standard_error) for each in classes
        ]
    columns["share of the loss"] = [each.share_of_loss for each in classes]
    return Table(
        f"Loss by class. ± is a standard error from blocks of {ERROR_BLOCK} characters; it is "
        f"unknown for a class that occurs in fewer than {MIN_BLOCKS} blocks.",
        columns,
    )


def loss_chart(loss: LossByClass) -> Chart:
    """Draw the losses of the network and of the 5-gram model for each class."""
    comparison = loss.comparison
    whole = ClassLoss(
        name="all characters",
        characters=loss.positions.count,
        nats_per_char=loss.nats_per_char,
        standard_error=loss.standard_error,
        ngram_nats_per_char=np.nan if comparison is None else comparison.ngram_nats_per_char,
        ngram_standard_error=None,
        share_of_loss=1.0,
    )
    details = f"Bars: ±1 standard error from blocks of {ERROR_BLOCK} characters."
    if comparison is not None:
        lower = "the diamond is to the left of the circle"
        details = f"Where {lower}, the 5-gram model has the lower loss. {details}"
    return Chart(
        [
            _loss_panel("Loss by kind of character", [whole, *loss.by_class], comparison),
            _loss_panel("Loss by place in the word", [whole, *loss.by_word_place], comparison),
        ],
        "Mean loss by the kind of the predicted character, and by its place in the word.",
        details,
    )


def _loss_panel(title: str, rows: Sequence[ClassLoss], comparison: Comparison | None) -> Panel:
    names = [row.name for row in rows]
    table = [
        (row.nats_per_char, row.standard_error, row.ngram_nats_per_char, row.ngram_standard_error)
        for row in rows
    ]
    losses, errors, ngram_losses, ngram_errors = np.array(table, np.float64).T
    ngrams = with_errors(names, ngram_losses, ngram_errors)
    return Panel(
        title,
        ("nats per character", ""),
        {"": with_errors(names, losses, errors)},
        {} if comparison is None else {NGRAM: ngrams},
        x_scale="names",
        label="network",
    )


SECTION = Section(
    name="loss_by_class",
    title="Where the loss comes from",
    equation="L = sum over classes of (characters of the class / characters) L_{class}",
    text=(
        "The loss is broken down by the kind of the predicted character and by its place in the "
        "word. The first letters of words usually cost most, because the spelling of a word is "
        "easier to predict than the next word. A 5-gram model predicts a character from the 4 "
        "characters before it, using counts from the training text."
    ),
    make=make_loss,
)
