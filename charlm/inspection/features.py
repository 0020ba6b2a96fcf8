"""Features of a text: properties that each of its characters has or has not, and counts.

Axes: T the characters of the text.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from charlm.text.vocabulary import Vocabulary

Kind = Literal["yes/no", "number"]

VOWELS = frozenset("aeiou")
APOSTROPHES = frozenset("'\N{RIGHT SINGLE QUOTATION MARK}")
PAIRS = (("(", ")"), ("[", "]"), ("{", "}"), ("“", "”"), ("„", "“"), ("«", "»"), ('"', '"'))
"""Opening signs, each with its closing one."""
KINDS: Mapping[str, Callable[[str], bool]] = {
    "lower case": str.islower,
    "upper case": str.isupper,
    "other letter": str.isalpha,
    "digit": str.isdigit,
    "space": lambda character: character.isspace() and character != "\n",
    "line break": lambda character: character == "\n",
    "punctuation": lambda character: unicodedata.category(character).startswith("P"),
    "other": lambda _: True,
}
"""The test for each kind of character; the first kind whose test succeeds applies."""
RESERVED = "end of text or unknown"
"""The kind of an id that is no character."""
HEADING = re.compile(r"(?:\A|(?<=\n\n))([^\n]{1,39}):$", re.MULTILINE)
"""A short line after a blank one, or the first one, that ends with a colon: for instance the name of a speaker."""
ENCLOSED = re.compile(
    "|".join(
        rf"{re.escape(first)}([^{re.escape(last)}]*?)(?:{re.escape(last)}|(?<=\n)\n|\Z)"
        for first, last in PAIRS
    )
)
"""Text between an opening sign and its closing sign; without a closing sign, it ends at an empty line."""


@dataclass(frozen=True, eq=False)
class Feature:
    """A property of each character of a text."""

    name: str
    """Name for the user, for instance `inside a word`."""
    kind: Kind
    values: NDArray[np.float64]
    """[T]: 0 or 1 if the kind is yes/no."""


def features_of(ids: NDArray[Any], vocabulary: Vocabulary) -> tuple[Feature, ...]:
    """Return the features that vary within a text.

    Args:
        ids: The text, integers [T].
        vocabulary: The characters by id.

    """
    text = vocabulary.spell(ids, end="\n")
    found = [
        Feature(name, kind, np.array(function(text), np.float64))
        for kind, functions in FEATURES.items()
        for name, function in functions.items()
    ]
    return tuple(feature for feature in found if feature.values.size and np.ptp(feature.values) > 0)


def is_vowel(character: str) -> bool:
    """Return whether a character is a vowel of the Latin alphabet, with or without accents."""
    return unicodedata.normalize("NFD", character)[:1].lower() in VOWELS


def character_kind(character: str | None) -> str:
    """Return which of KINDS a character is; None is RESERVED."""
    return (
        RESERVED
        if character is None
        else next(name for name, is_one in KINDS.items() if is_one(character))
    )


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


def _marked(pattern: re.Pattern[str], text: str) -> list[bool]:
    """Mark the characters in the last group of each match of a pattern."""
    marks = [False] * len(text)
    for found in pattern.finditer(text):
        start, end = found.span(found.lastindex or 0)
        marks[start:end] = [True] * (end - start)
    return marks


def _next(marks: Sequence[bool]) -> list[bool]:
    return [*marks[1:], False] if marks else []


def _is_last_of_word(text: str) -> list[bool]:
    inside = is_in_word(text)
    return [here and not after for here, after in zip(inside, _next(inside), strict=True)]


FEATURES: Mapping[Kind, Mapping[str, Callable[[str], Sequence[float]]]] = {
    "number": {
        "position in the line": lambda text: count_within(
            [character != "\n" for character in text]
        ),
        "position in the word": lambda text: count_within(is_in_word(text)),
    },
    "yes/no": {
        "inside a word": is_in_word,
        "upper case": lambda text: [character.isupper() for character in text],
        "digit": lambda text: [character.isdigit() for character in text],
        "heading before a colon": partial(_marked, HEADING),
        "in quotes or brackets": partial(_marked, ENCLOSED),
        "vowel": lambda text: [is_vowel(character) for character in text],
        "vowel next": lambda text: _next([is_vowel(character) for character in text]),
        "end of a word next": _is_last_of_word,
        "line break next": lambda text: _next([character == "\n" for character in text]),
    },
}
"""The functions from a text to a value for each character, by kind and name."""
