"""The states of a network on a text: how they are spread; and a map of the characters.

Axes: T the characters of a text, H units, V the characters on the map.
"""

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.inspection.features import is_vowel
from charlm.network.gradients import SATURATED_BELOW
from charlm.network.rnn import Floats, Parameters, State, read_outputs
from charlm.text.vocabulary import Vocabulary

Values = NDArray[np.float64]

BINS = 40
BOUNDED: Mapping[str, tuple[float, float]] = {"tanh": (-1, 1), "softsign": (-1, 1), "sigmoid": (0, 1)}
"""The activations whose outputs have a size of at most 1, with their ranges."""
BORDERS: Mapping[str, tuple[float, float]] = {
    "tanh": (-math.sqrt(1 - SATURATED_BELOW), math.sqrt(1 - SATURATED_BELOW)),  # f' = 1 - h^2
    "softsign": (math.sqrt(SATURATED_BELOW) - 1, 1 - math.sqrt(SATURATED_BELOW)),  # f' = (1 - |h|)^2
    "sigmoid": (0.5 - math.sqrt(1 - SATURATED_BELOW) / 2, 0.5 + math.sqrt(1 - SATURATED_BELOW) / 2),  # f' = h (1 - h)
}
"""The outputs below and above which f' is less than SATURATED_BELOW of its largest."""
MAX_CHARACTERS = 200
"""The most characters on the map."""


def read_states(parameters: Parameters, ids: NDArray[Any]) -> State:
    """Read a text as one stream from the zero state.

    Args:
        parameters: The weights.
        ids: Integers [T], 0 to V - 1; T may be 0.

    Returns:
        The outputs h_1 to h_T of each layer, float32 [T, H], lowest first; `outputs[t]` follows the character `ids[t]`.

    Raises:
        CharlmError: an output is not finite, as the activations relu and linear can make it.

    """
    first = tuple(layer[0] for layer in parameters.zero_state(1))
    with np.errstate(over="ignore", invalid="ignore"):
        outputs = read_outputs(parameters, ids, first)
    if not all(np.isfinite(output).all() for output in outputs):
        raise CharlmError("the outputs of the network are not finite on this text: there is nothing to inspect in them")
    return outputs


@dataclass(frozen=True, eq=False)
class LayerSaturation:
    """How the outputs of a layer are spread over a text."""

    layer: int
    units: int
    """H."""
    saturated_share: float | None
    """Share of outputs at which f' is below `threshold`, from 0 to 1; None if the outputs are not bounded by 1."""
    always_saturated_units: int | None
    """Units whose output is saturated at every position; None as above."""
    dead_units: int | None
    """Units whose output is 0 at every position; None if the activation cannot be flat at 0 (relu can)."""
    participation_ratio: float
    """(sum of l_i)^2 / sum of l_i^2 of the eigenvalues l of the covariance of h, from 1 to H: how many dimensions the
    states fill; 0 if the states do not vary."""
    counts: NDArray[np.int64]
    """A histogram of all outputs: how many lie in each bin, [bins]."""
    edges: Values
    """The borders of the bins, [bins + 1]."""


@dataclass(frozen=True)
class Saturation:
    """How the outputs of all layers are spread over a text."""

    positions: int
    """T."""
    threshold: float
    """The share of the largest f' below which an output is saturated: where tanh has |h| > 0.9."""
    borders: tuple[float, float] | None
    """The outputs below and above which that is so; None if the outputs are not bounded by 1."""
    layers: tuple[LayerSaturation, ...]


def measure_saturation(outputs: State, activation: str) -> Saturation:
    """Measure how the outputs of each layer are spread over a text.

    Args:
        outputs: The outputs of each layer, [T, H], T >= 1.
        activation: The name of f.

    """
    layers = (_measure(layer, output, activation) for layer, output in enumerate(outputs))
    return Saturation(len(outputs[0]), SATURATED_BELOW, BORDERS.get(activation), tuple(layers))


def _measure(layer: int, outputs: Floats, activation: str) -> LayerSaturation:
    borders = BORDERS.get(activation)
    is_saturated = None if borders is None else (outputs < borders[0]) | (outputs > borders[1])
    limits = BOUNDED.get(activation) or (float(outputs.min()), float(outputs.max()))
    counts, edges = np.histogram(outputs, BINS, range=limits)
    return LayerSaturation(
        layer=layer,
        units=outputs.shape[1],
        saturated_share=None if is_saturated is None else float(is_saturated.mean()),
        always_saturated_units=None if is_saturated is None else int(is_saturated.all(0).sum()),
        dead_units=int((outputs == 0).all(0).sum()) if activation == "relu" else None,
        participation_ratio=participation_ratio(outputs),
        counts=counts.astype(np.int64),
        edges=edges.astype(np.float64),
    )


def participation_ratio(states: Floats) -> float:
    """Return how many dimensions states [T, H] fill, from 1 to H: trace(C)^2 / |C|_F^2 of their covariance C.

    0 if the states do not vary (Gao et al. 2017, "A theory of multineuronal dimensionality").
    """
    centred = states - states.mean(0, dtype=np.float64)
    small = centred if len(centred) < centred.shape[1] else centred.T  # both products have the same eigenvalues
    covariance = small @ small.T
    square = float((covariance**2).sum())
    return float(np.trace(covariance)) ** 2 / square if square > 0 else 0.0


@dataclass(frozen=True, eq=False)
class Plane:
    """The plane in which some vectors differ most: their first two principal components."""

    mean: Values
    """[H]."""
    axes: Values
    """Two orthonormal directions, [2, H]; zeros if the vectors differ in fewer."""
    explained: tuple[float, float]
    """The share of the variance along each, from 0 to 1; the larger one first."""

    def project(self, vectors: Floats) -> Values:
        """Return the coordinates [N, 2] of vectors [N, H]."""
        return np.asarray((vectors - self.mean) @ self.axes.T)


def fit_plane(vectors: Floats) -> Plane:
    """Return the first two principal components of vectors [N, H], N >= 1.

    The largest coordinate of each direction is positive, so that equal vectors give equal pictures.
    """
    mean = vectors.mean(0, dtype=np.float64)
    centred = vectors - mean
    is_wide = centred.shape[0] < centred.shape[1]
    variances, directions = np.linalg.eigh(centred @ centred.T if is_wide else centred.T @ centred)
    total = max(float(variances.sum()), 0.0)
    axes = np.zeros((2, centred.shape[1]))
    shares = [0.0, 0.0]
    for index, (variance, direction) in enumerate(zip(variances[:-3:-1], directions.T[:-3:-1], strict=True)):
        if variance > total * 1e-12 and total > 0:
            axis = direction @ centred if is_wide else direction
            axes[index] = axis / np.linalg.norm(axis) * np.sign(axis[np.abs(axis).argmax()])
            shares[index] = float(variance) / total
    return Plane(mean, axes, (shares[0], shares[1]))


@dataclass(frozen=True, eq=False)
class Projection:
    """Vectors of the characters in the two directions in which they differ most."""

    points: Values
    """[V, 2]."""
    explained: tuple[float, float]
    """The share of the variance that each direction has, from 0 to 1."""


@dataclass(frozen=True, eq=False)
class CharacterMap:
    """The characters by their weights: which ones the network reads alike, and which ones it predicts alike."""

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
