"""Where the loss is: by the kind of character, and by the place in the word.

The mean of a table weighted by its counts is the mean over the text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.inspection.features import KINDS, character_kind, count_within, is_in_word, readable_text
from charlm.text.vocabulary import Vocabulary

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
    ngram_nats_per_char: float | None
    """The same for the n-gram model; None if there is none."""
    share_of_loss: float
    """The nats of the class as a share of all nats, from 0 to 1."""


@dataclass(frozen=True)
class LossByClass:
    """The loss on a text, divided in two ways."""

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
    kinds = np.array([KINDS.index(character_kind(character)) for character in vocabulary.characters])
    places = count_within(is_in_word(readable_text(ids, vocabulary)))[1:]
    word_places = np.searchsorted(WORD_STARTS, places, "right") - 1
    return LossByClass(
        characters=len(nats),
        nats_per_char=float(np.mean(nats, dtype=np.float64)),
        ngram_order=ngram_order,
        ngram_nats_per_char=None if ngram_nats is None else float(np.mean(ngram_nats, dtype=np.float64)),
        by_class=_divide(nats, ngram_nats, kinds[ids[1:]], KINDS),
        by_word_place=_divide(nats, ngram_nats, word_places, WORD_PLACES),
    )


def _divide(
    nats: NDArray[np.floating[Any]],
    ngram_nats: NDArray[np.floating[Any]] | None,
    classes: NDArray[np.int64],
    names: Sequence[str],
) -> tuple[ClassLoss, ...]:
    """Return the loss of each class that occurs; `classes` [T - 1] are indices of `names`."""
    counts = np.bincount(classes, minlength=len(names))
    sums = np.bincount(classes, weights=nats, minlength=len(names))
    ngram_sums = None if ngram_nats is None else np.bincount(classes, weights=ngram_nats, minlength=len(names))
    total = float(sums.sum())
    return tuple(
        ClassLoss(
            name=name,
            characters=int(counts[number]),
            nats_per_char=float(sums[number] / counts[number]),
            ngram_nats_per_char=None if ngram_sums is None else float(ngram_sums[number] / counts[number]),
            share_of_loss=float(sums[number]) / total if total > 0 else 0.0,
        )
        for number, name in enumerate(names)
        if counts[number]
    )
