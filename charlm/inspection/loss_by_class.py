"""Where the loss is: by the kind of character, by the place in the word, and by the place in the line.

The mean of a table weighted by its counts is the mean over the text.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.inspection.features import count_within, is_in_word, line_places, readable_text
from charlm.text.vocabulary import Vocabulary

KINDS = (
    *("lower case", "upper case", "other letter", "digit", "blank", "line break", "punctuation", "other", "reserved"),
)
WORD_PLACES = ((0, "outside words"), (1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (5, "5th to 7th"), (8, "8th on"))
LINE_PLACES = (
    *((0, "line break"), (1, "1st"), (2, "2nd"), (3, "3rd to 5th"), (6, "6th to 10th"), (11, "11th to 20th")),
    *((21, "21st to 40th"), (41, "41st to 80th"), (81, "81st on")),
)
"""The first place of each range, and its name."""


@dataclass(frozen=True)
class ClassLoss:
    """The loss on the characters of one class."""

    name: str
    characters: int
    """How many scored characters the class has, 1 or more."""
    nats_per_char: float
    ngram_nats_per_char: float | None
    """The same for the n-gram model; None if there is none."""
    share_of_loss: float
    """The nats of the class as a share of all nats, from 0 to 1."""


@dataclass(frozen=True)
class LossByClass:
    """The loss on a text, divided in three ways."""

    characters: int
    """How many characters were scored."""
    nats_per_char: float
    ngram_order: int | None
    """The order of the n-gram model; None if there is none."""
    ngram_nats_per_char: float | None
    by_class: tuple[ClassLoss, ...]
    """By what the character is: lower case, upper case, ..."""
    by_word_place: tuple[ClassLoss, ...]
    """By the number of the letter in its word."""
    by_line_place: tuple[ClassLoss, ...]
    """By the number of the character in its line."""


def divide_loss(
    nats: NDArray[np.floating[Any]],
    ids: NDArray[Any],
    vocabulary: Vocabulary,
    *,
    ngram_nats: NDArray[np.floating[Any]] | None = None,
    ngram_order: int | None = None,
) -> LossByClass:
    """Divide the loss on a text by classes of the scored characters.

    Args:
        nats: The nats of ids 1 to T - 1, as `charlm.evaluation.scoring` yields them, [T - 1].
        ids: The text, integers [T], T >= 2.
        vocabulary: The characters by id.
        ngram_nats: The nats of the same ids by an n-gram model, [T - 1]; None = there is none.
        ngram_order: The order of that model; None = there is none.

    """
    text = readable_text(ids, vocabulary)
    words, lines = count_within(is_in_word(text)), line_places(text)
    kinds = [character_kind(vocabulary, index) for index in range(len(vocabulary))]

    def divide(classes: Sequence[str], order: Sequence[str]) -> tuple[ClassLoss, ...]:
        return _divide(nats, ngram_nats, classes, order)

    return LossByClass(
        characters=len(nats),
        nats_per_char=float(np.mean(nats, dtype=np.float64)),
        ngram_order=ngram_order,
        ngram_nats_per_char=None if ngram_nats is None else float(np.mean(ngram_nats, dtype=np.float64)),
        by_class=divide([kinds[index] for index in ids[1:].tolist()], KINDS),
        by_word_place=divide([_range_name(place, WORD_PLACES) for place in words[1:]], _range_names(WORD_PLACES)),
        by_line_place=divide([_range_name(place, LINE_PLACES) for place in lines[1:]], _range_names(LINE_PLACES)),
    )


def character_kind(vocabulary: Vocabulary, index: int) -> str:
    """Return which of KINDS an id is; at level byte, the byte counts as the character of Latin-1."""
    character = vocabulary.characters[index]
    if character is None:
        return "reserved"
    checks = (
        ("line break", character == "\n"),
        ("blank", character.isspace()),
        ("digit", character.isdigit()),
        ("upper case", character.isupper()),
        ("lower case", character.islower()),
        ("other letter", character.isalpha()),
        ("punctuation", unicodedata.category(character).startswith("P")),
    )
    return next((name for name, is_kind in checks if is_kind), "other")


def _divide(
    nats: NDArray[np.floating[Any]],
    ngram_nats: NDArray[np.floating[Any]] | None,
    classes: Sequence[str],
    order: Sequence[str],
) -> tuple[ClassLoss, ...]:
    """Return the loss of each class that occurs, in an order of their names."""
    numbers = {name: number for number, name in enumerate(order)}
    index = np.array([numbers[name] for name in classes])
    counts = np.bincount(index, minlength=len(order))
    sums = np.bincount(index, weights=nats, minlength=len(order))
    ngram_sums = None if ngram_nats is None else np.bincount(index, weights=ngram_nats, minlength=len(order))
    total = float(sums.sum())
    return tuple(
        ClassLoss(
            name=name,
            characters=int(counts[number]),
            nats_per_char=float(sums[number] / counts[number]),
            ngram_nats_per_char=None if ngram_sums is None else float(ngram_sums[number] / counts[number]),
            share_of_loss=float(sums[number]) / total if total > 0 else 0.0,
        )
        for number, name in enumerate(order)
        if counts[number]
    )


def _range_names(starts: Sequence[tuple[int, str]]) -> list[str]:
    return [name for _, name in starts]


def _range_name(place: int, starts: Sequence[tuple[int, str]]) -> str:
    """Return the name of the range with the largest start that is not above a place."""
    return next(name for start, name in reversed(starts) if start <= place)
