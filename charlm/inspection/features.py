"""Features of a text, a value for each character, and how closely other values follow one.

For a yes/no feature the association is 2 AUC - 1, AUC the probability that an output is higher at a position with the
feature than at one without (Mann and Whitney 1947); pairs are compared only within a group (van Elteren 1960):

    2 AUC - 1 = sum of R over the positions with the feature / (sum over groups of with * without / 2)

R is the rank of the output in its group, less the mean rank. For a number it is the correlation of R with the ranks of
the feature, made in the same way. Ties share their mean rank, and their pairs count as half. The groups are the whole
text, or the positions with the same character: then the association is what the character itself does not explain.

Axes: T the characters of the text, N rows of values, K variants of a feature.
"""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from charlm.text.vocabulary import Vocabulary

Kind = Literal["yes/no", "number"]
Ranks = NDArray[np.float32]

VOWELS = frozenset("aeiou")
APOSTROPHES = frozenset("'\N{RIGHT SINGLE QUOTATION MARK}")
PAIRS = {"(": ")", "[": "]", "{": "}", "“": "”", "„": "“", "«": "»", '"': '"'}
"""The closing sign of each opening one."""
KINDS = (
    *("lower case", "upper case", "other letter", "digit", "blank", "line break", "punctuation", "other", "reserved"),
)
"""Of characters."""
MAX_HEADING = 40
"""The most characters of a line that counts as a heading, for instance the name of a speaker."""


@dataclass(frozen=True, eq=False)
class Feature:
    """A property of each character of a text."""

    name: str
    """What is true of the character, or what is counted, for instance `inside a word`."""
    kind: Kind
    values: NDArray[np.float64]
    """[T]: 0 or 1 if the kind is yes/no."""


def features_of(ids: NDArray[Any], vocabulary: Vocabulary) -> tuple[Feature, ...]:
    """Return all features of a text; those that are the same at every character are left out.

    Args:
        ids: The text, integers [T].
        vocabulary: The characters by id.

    """
    text = readable_text(ids, vocabulary)
    found = [
        Feature(name, kind, np.array(function(text), np.float64))
        for kind, functions in FEATURES.items()
        for name, function in functions.items()
    ]
    return tuple(feature for feature in found if feature.values.size and np.ptp(feature.values) > 0)


def readable_text(ids: NDArray[Any], vocabulary: Vocabulary) -> str:
    """Return a text with one character for each of its ids [T].

    The end-of-text id becomes a line break, the unknown id U+FFFD.
    """
    return "".join([vocabulary.glyphs[index] or "\n" for index in ids.tolist()])


def is_vowel(character: str) -> bool:
    """Return whether a character is a vowel of the Latin alphabet, with or without accents."""
    return unicodedata.normalize("NFD", character)[:1].lower() in VOWELS


def character_kind(character: str | None) -> str:
    """Return which of KINDS a character is; None is a reserved id."""
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


def is_in_word(text: str) -> list[bool]:
    """Return for each character whether it is part of a word: a letter with its marks, or an apostrophe between two."""
    letters: list[bool] = []
    for character in text:
        is_mark = not character.isascii() and unicodedata.category(character)[0] == "M"
        letters.append(character.isalpha() or (is_mark and letters[-1:] == [True]))
    around = [False, *letters, False]
    return [
        letter or (character in APOSTROPHES and around[index] and around[index + 2])
        for index, (character, letter) in enumerate(zip(text, letters, strict=True))
    ]


def count_within(marks: Sequence[bool]) -> list[int]:
    """Return for each position how many marks in a row end there, 0 where there is no mark."""
    counts, count = [], 0
    for mark in marks:
        count = count + 1 if mark else 0
        counts.append(count)
    return counts


def line_places(text: str) -> list[int]:
    """Return the number of each character in its line, from 1; 0 for a line break."""
    return count_within([character != "\n" for character in text])


def _is_in_heading(text: str) -> list[bool]:
    """Mark a line after a blank one, or the first one, if it ends with a colon; the colon is not marked."""
    marks: list[bool] = []
    is_after_blank = True
    for line in text.split("\n"):
        is_name = is_after_blank and line.endswith(":") and 1 < len(line) <= MAX_HEADING
        marks += [is_name] * max(0, len(line) - 1) + [False] * (len(line) > 0) + [False]
        is_after_blank = not line.strip()
    return marks[:-1]  # split sees one line break more than there is


def _is_enclosed(text: str) -> list[bool]:
    """Mark what lies between an opening sign and its closing one; a blank line ends what was not closed."""
    marks: list[bool] = []
    closing, before = "", ""
    for character in text:
        is_opened = bool(closing)
        if is_opened and (character == closing or character == before == "\n"):
            closing = ""
        elif not is_opened:
            closing = PAIRS.get(character, "")
        marks.append(is_opened and bool(closing))
        before = character
    return marks


def _next(marks: Sequence[bool]) -> list[bool]:
    return [*marks[1:], False] if marks else []


def _is_last_of_word(text: str) -> list[bool]:
    inside = is_in_word(text)
    return [here and not after for here, after in zip(inside, _next(inside), strict=True)]


FEATURES: Mapping[Kind, Mapping[str, Callable[[str], Sequence[float]]]] = {
    "number": {
        "position in the line": line_places,
        "position in the word": lambda text: count_within(is_in_word(text)),
    },
    "yes/no": {
        "inside a word": is_in_word,
        "upper case": lambda text: [character.isupper() for character in text],
        "digit": lambda text: [character.isdigit() for character in text],
        "in a heading that ends with a colon": _is_in_heading,
        "in quotes or brackets": _is_enclosed,
        "vowel": lambda text: [is_vowel(character) for character in text],
        "vowel next": lambda text: _next([is_vowel(character) for character in text]),
        "end of a word next": _is_last_of_word,
        "line break next": lambda text: _next([character == "\n" for character in text]),
    },
}
"""The functions from a text to a value for each character, by kind and name."""


def centred_ranks(values: NDArray[Any], groups: NDArray[Any]) -> Ranks:
    """Return the rank of each value among those of its row and group, less the mean rank; ties share a rank.

    Args:
        values: Any finite numbers, [N, T].
        groups: Integers [T].

    """
    sizes = np.bincount(groups)
    middle = (np.cumsum(sizes) - (sizes + 1) / 2)[groups]  # of the places of a group, if one comes after the other
    ranks = np.empty(values.shape, np.float32)
    for row, found in zip(values, ranks, strict=True):
        number = np.unique(row, return_inverse=True)[1]
        _, inverse, counts = np.unique(
            groups.astype(np.int64) * len(row) + number, return_inverse=True, return_counts=True
        )
        found[:] = (np.cumsum(counts) - (counts + 1) / 2)[inverse] - middle
    return ranks


def associate(ranks: Ranks, groups: NDArray[Any], features: NDArray[np.float64], kind: Kind) -> NDArray[np.float64]:
    """Compute the association of every output with every variant of a feature.

    Args:
        ranks: R of N outputs within the groups, [N, T].
        groups: Of each position, integers [T], 0 or more.
        features: [K, T]; 0 or 1 if the kind is yes/no.
        kind: Of the feature.

    Returns:
        [N, K], from -1 to 1; 0 if the output does not vary within any group, NaN if the feature does not.

    """
    if kind == "yes/no":
        sums = ranks @ features.T.astype(np.float32)
        varying = _pairs(features, groups) / 2
        scales = np.broadcast_to(varying, sums.shape)
    elif kind == "number":
        others = centred_ranks(features, groups)
        sums = ranks @ others.T
        sizes, varying = (np.linalg.norm(each.astype(np.float64), axis=1) for each in (ranks, others))
        scales = np.outer(sizes, varying)
    else:
        assert_never(kind)
    found = np.divide(sums, scales, out=np.zeros(sums.shape, np.float64), where=scales > 0)
    return np.where(varying > 0, np.clip(found, -1, 1), np.nan)


def _pairs(features: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the number of pairs, with and without the feature, within groups, [K]."""
    sizes = np.bincount(groups)
    having = np.array([np.bincount(groups, weights=feature, minlength=len(sizes)) for feature in features])
    return np.asarray((having * (sizes - having)).sum(1))


def shift_feature(values: NDArray[np.float64], *, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a feature moved round the text by random distances, [count, T], none of them close to 0."""
    size = len(values)
    nearest = max(1, size // 20)
    shifts = rng.integers(nearest, max(nearest + 1, size - nearest), count)
    return np.asarray(values[(np.arange(size) + shifts[:, None]) % size])


def shift_within(
    values: NDArray[np.float64], groups: NDArray[np.int64], *, count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return a feature moved round the positions of each group by random distances, [count, T].

    Each group keeps its values, so that as many pairs are compared as with the feature itself.

    Args:
        values: The feature, [T].
        groups: Of each position, integers [T], 0 or more.
        count: How many variants to return.
        rng: Draws the distances.

    """
    order = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups)
    size = sizes[groups[order]]
    start = (np.cumsum(sizes) - sizes)[groups[order]]
    place = np.arange(len(values)) - start
    moved = np.empty((count, len(values)))
    for row in moved:
        distance = rng.integers(0, np.maximum(sizes, 1))[groups[order]]
        row[order] = values[order][start + (place + distance) % size]
    return moved


def chance_level(ranks: Ranks, groups: NDArray[Any], features: NDArray[np.float64], kind: Kind) -> float:
    """Return the 99th percentile, over K variants of a feature, of the association of the best output."""
    return float(np.percentile(np.abs(associate(ranks, groups, features, kind)).max(0), 99))
