"""Features of a text: yes/no properties of each character, and counts.

Axes: T the characters of the text.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from charlm.core.rnn import Values
from charlm.core.vocabulary import Ids, Vocabulary

Kind = Literal["yes/no", "number"]

VOWELS = frozenset("aeiou")
APOSTROPHES = frozenset("'\N{RIGHT SINGLE QUOTATION MARK}")
PAIRS = {"(": ")", "[": "]", "{": "}", "“": "”", "„": "“", "«": "»", '"': '"'}
"""Closing signs by their opening sign."""
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
"""Test for each kind of character; the first kind whose test succeeds applies."""
RESERVED = "end of text or unknown"
"""Kind of a reserved id."""
HEADING = re.compile(r"(?:\A|(?<=\n\n))([^\n]{1,39}):$", re.MULTILINE)
"""A short line that ends with a colon, at the start of the text or after an empty line, such as a
speaker's name."""
ENCLOSED = re.compile(
    "|".join(
        rf"{re.escape(first)}([^{re.escape(last)}]*?)(?:{re.escape(last)}|(?<=\n)\n|\Z)"
        for first, last in PAIRS.items()
    )
)
"""Text between an opening sign and its closing sign, or up to an empty line."""


@dataclass(frozen=True, eq=False)
class Feature:
    """A property of each character of a text."""

    name: str
    """Name for the user, for instance `inside a word`."""
    kind: Kind
    values: Values
    """Value at each position, [T]; 0 or 1 if the kind is yes/no."""


def features_of(ids: Ids, vocabulary: Vocabulary) -> tuple[Feature, ...]:
    """Return the features that vary within a text.

    Args:
        ids: The text, integers [T].
        vocabulary: The characters by id.

    """
    text = vocabulary.spell(ids, end="\n")
    words = is_in_word(text)
    breaks = [character == "\n" for character in text]
    # without accents
    vowels = [unicodedata.normalize("NFD", each)[:1].lower() in VOWELS for each in text]
    values: dict[Kind, dict[str, Sequence[float]]] = {
        "number": {
            "position in the line": count_within([not is_break for is_break in breaks]),
            "position in the word": count_within(words),
        },
        "yes/no": {
            "inside a word": words,
            "upper case": [character.isupper() for character in text],
            "digit": [character.isdigit() for character in text],
            "heading before a colon": _marked(HEADING, text),
            "in quotes or brackets": _marked(ENCLOSED, text),
            "vowel": vowels,
            "vowel next": _next(vowels),
            "end of a word next": [
                here and not after for here, after in zip(words, _next(words), strict=False)
            ],
            "line break next": _next(breaks),
        },
    }
    features = [
        Feature(name, kind, np.array(row, np.float64))
        for kind, rows in values.items()
        for name, row in rows.items()
    ]
    return tuple(feature for feature in features if len(set(feature.values.tolist())) > 1)


def character_kind(character: str | None) -> str:
    """Return which of KINDS a character is, or RESERVED for None."""
    if character is None:
        return RESERVED
    return next(name for name, is_kind in KINDS.items() if is_kind(character))


def is_in_word(text: str) -> list[bool]:
    """Return whether each character is part of a word.

    A word is letters with their combining marks, and apostrophes between two letters.
    """
    letters: list[bool] = []
    for character in text:
        is_mark = unicodedata.category(character)[0] == "M"
        letters.append(character.isalpha() or (is_mark and letters[-1:] == [True]))
    around = [False, *letters, False]
    return [
        letter or (character in APOSTROPHES and around[index] and around[index + 2])
        for index, (character, letter) in enumerate(zip(text, letters, strict=True))
    ]


def count_within(marks: Sequence[bool]) -> list[int]:
    """Return the number of marks in a row that end at each position, 0 where there is no mark."""
    counts = []
    count = 0
    for mark in marks:
        count = count + 1 if mark else 0
        counts.append(count)
    return counts


def _marked(pattern: re.Pattern[str], text: str) -> list[bool]:
    """Mark the characters in the last group of each match of a pattern."""
    marks = [False] * len(text)
    for match in pattern.finditer(text):
        start, end = match.span(match.lastindex or 0)
        marks[start:end] = [True] * (end - start)
    return marks


def _next(marks: Sequence[bool]) -> list[bool]:
    return [*marks[1:], False]
