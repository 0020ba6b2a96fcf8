"""A map of the characters: which ones the network reads alike, and which ones it predicts alike.

Axes: V the characters on the map.
"""

import unicodedata
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.inspection.components import fit_plane
from charlm.inspection.features import is_vowel
from charlm.network.rnn import Floats, Parameters
from charlm.text.vocabulary import Vocabulary

MAX_CHARACTERS = 200


@dataclass(frozen=True, eq=False)
class Projection:
    """Vectors of the characters in the two directions in which they differ most."""

    points: NDArray[np.float64]
    """[V, 2]."""
    explained: tuple[float, float]
    """The share of the variance that each direction has, from 0 to 1."""


@dataclass(frozen=True, eq=False)
class CharacterMap:
    """The characters by their weights."""

    ids: NDArray[np.int64]
    """Ascending, int64 [V]."""
    kinds: tuple[str, ...]
    """What each one is: vowel, consonant, digit, blank, punctuation, other or reserved, [V]."""
    counts: NDArray[np.int64]
    """How often each one occurs in the text, [V]."""
    by_input: Projection
    """By what the character adds to the lowest layer: its row of U, or of its embedding times U."""
    by_output: Projection
    """By what the character is predicted from: its column of W."""


def map_characters(
    parameters: Parameters, ids: NDArray[Any], vocabulary: Vocabulary, *, max_characters: int = MAX_CHARACTERS
) -> CharacterMap:
    """Place the characters of a vocabulary by the weights that read them and by those that predict them.

    Args:
        parameters: The weights.
        ids: A text that tells how often each character occurs, integers [T]; T may be 0.
        vocabulary: The characters by id.
        max_characters: If the vocabulary is larger, only its commonest characters are placed; 1 or more.

    """
    counts = np.bincount(ids, minlength=len(vocabulary)).astype(np.int64)
    chosen = np.sort(np.argsort(-counts, kind="stable")[:max_characters]).astype(np.int64)
    return CharacterMap(
        ids=chosen,
        kinds=tuple(map_kind(vocabulary.characters[index]) for index in chosen.tolist()),
        counts=counts[chosen],
        by_input=_project(parameters.input_tables[0][chosen]),
        by_output=_project(parameters.logits_kernel.T[chosen]),
    )


def map_kind(character: str | None) -> str:
    """Return what a character is: vowel, consonant, digit, blank, punctuation, other or, for None, reserved."""
    if character is None:
        return "reserved"
    checks = (
        ("vowel", is_vowel(character)),
        ("consonant", "LATIN" in unicodedata.name(character, "") and character.isalpha()),
        ("digit", character.isdigit()),
        ("blank", character.isspace()),
        ("punctuation", unicodedata.category(character).startswith("P")),
    )
    return next((name for name, is_kind in checks if is_kind), "other")


def _project(vectors: Floats) -> Projection:
    plane = fit_plane(vectors)
    return Projection(plane.project(vectors), plane.explained)
