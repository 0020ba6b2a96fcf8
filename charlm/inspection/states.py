"""The states of a network on a text: how they are spread; and a map of the characters.

Axes: T the characters of a text, H units, V the characters on the map.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.inspection.features import character_kind, is_vowel
from charlm.network.gradients import LARGEST_SLOPES, SATURATED_BELOW, Trace
from charlm.network.rnn import Floats, Parameters
from charlm.text.vocabulary import Vocabulary

Values = NDArray[np.float64]

BINS = 40
MAX_CHARACTERS = 200
"""The most characters on the map."""


@dataclass(frozen=True, eq=False)
class LayerSaturation:
    """How the outputs of a layer are spread over a text."""

    layer: int
    units: int
    """H."""
    saturated_share: float
    """Share of outputs at which f' is below `threshold`, from 0 to 1."""
    always_saturated_units: int
    """Units that are saturated at every position; with relu these are dead."""
    participation_ratio: float
    """(sum of l_i)^2 / sum of l_i^2 of the eigenvalues l of the covariance of h, from 1 to H: how many dimensions the
    states fill; 0 if the states do not vary."""
    counts: NDArray[np.int64]
    """A histogram of all outputs: how many lie in each bin, [bins]."""
    saturated_counts: NDArray[np.int64]
    """How many of them are saturated, [bins]."""
    edges: Values
    """The borders of the bins, [bins + 1]."""


@dataclass(frozen=True)
class Saturation:
    """How the outputs of all layers are spread over a text."""

    positions: int
    """T."""
    threshold: float
    """The share of the largest f' below which an output is saturated: where tanh has |h| > 0.9."""
    layers: tuple[LayerSaturation, ...]


def measure_saturation(trace: Trace) -> Saturation:
    """Measure how the outputs of each layer are spread over a text.

    Args:
        trace: One text, read; T >= 1.

    Raises:
        CharlmError: an output is not finite, as the activations relu and linear can make it.

    """
    if not all(np.isfinite(output).all() for output in trace.outputs):
        raise CharlmError("the outputs of the network are not finite on this text")
    limit = SATURATED_BELOW * LARGEST_SLOPES.get(trace.parameters.activation, 1.0)
    pairs = zip(trace.outputs, trace.slopes, strict=True)
    layers = (_measure(layer, output[:, 0], slope[:, 0] < limit) for layer, (output, slope) in enumerate(pairs))
    return Saturation(len(trace.ids), SATURATED_BELOW, tuple(layers))


def _measure(layer: int, outputs: Floats, is_saturated: NDArray[np.bool_]) -> LayerSaturation:
    counts, edges = np.histogram(outputs, BINS)
    return LayerSaturation(
        layer=layer,
        units=outputs.shape[1],
        saturated_share=float(is_saturated.mean()),
        always_saturated_units=int(is_saturated.all(0).sum()),
        participation_ratio=participation_ratio(outputs),
        counts=counts.astype(np.int64),
        saturated_counts=np.histogram(outputs[is_saturated], edges)[0].astype(np.int64),
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
class Projection:
    """Vectors of the characters in the two directions in which they differ most: their principal components."""

    points: Values
    """[V, 2]."""
    explained: tuple[float, float]
    """The share of the variance that each direction has, from 0 to 1; the larger one first."""


@dataclass(frozen=True, eq=False)
class CharacterMap:
    """The characters by their weights: which ones the network reads alike, and which ones it predicts alike."""

    ids: NDArray[np.int64]
    """Ascending, int64 [V]."""
    kinds: tuple[str, ...]
    """What each one is: vowel, or one of `charlm.inspection.features.KINDS`, [V]."""
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
    counts = np.bincount(ids, minlength=len(vocabulary))
    chosen = np.sort(np.argsort(-counts, kind="stable")[:max_characters]).astype(np.int64)
    characters = [vocabulary.characters[index] for index in chosen.tolist()]
    return CharacterMap(
        ids=chosen,
        kinds=tuple("vowel" if is_vowel(character or "") else character_kind(character) for character in characters),
        by_input=project(parameters.input_tables[0][chosen]),
        by_output=project(parameters.logits_kernel.T[chosen]),
    )


def project(vectors: Floats) -> Projection:
    """Return vectors [N, H] in their first two principal components; N >= 1.

    The largest coordinate of each direction is positive, so that equal vectors give equal pictures.
    """
    centred = vectors - vectors.mean(0, dtype=np.float64)
    places, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(directions[np.arange(len(sizes)), np.abs(directions).argmax(1)])
    points = np.zeros((len(vectors), 2))
    points[:, : len(sizes)] = (places * sizes * signs)[:, :2]
    shares = sizes**2 / max(float((sizes**2).sum()), np.finfo(np.float64).tiny)
    first, second = np.append(shares, 0.0)[:2].tolist()
    return Projection(points, (first, second))
