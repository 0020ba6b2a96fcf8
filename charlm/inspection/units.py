"""Which units of a network follow a feature of the text, compared with what chance gives.

Axes: T the characters of the text, H units of a layer.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.inspection.features import Kind


@dataclass(frozen=True)
class Chance:
    """What strength the strongest unit of the network reaches on a feature by chance, from 0 to 1.

    A strength is |2 AUC - 1| for a yes/no feature and the size of a rank correlation for a number.
    """

    shifted: float
    """The 99th percentile of the strongest unit, over circular shifts of the feature against the text."""
    random_labels: float
    """The 99th percentile of the strongest unit, over random labels of the characters: what a unit reaches that only
    tells one character from another."""
    shifted_given_character: float
    """As `shifted`, for strengths among positions with the same character."""
    untrained: float | None
    """The strength of the strongest unit of the network before training; None if it is not known."""


@dataclass(frozen=True)
class UnitScore:
    """How closely a unit follows a feature."""

    layer: int
    """The index of the layer, 0 is the lowest."""
    unit: int
    feature: str
    score: float
    """For a yes/no feature the AUC, from 0 to 1: the probability that the output of the unit is higher at a position
    with the feature than at one without. For a number the rank correlation, from -1 to 1."""
    strength: float
    """|2 AUC - 1| or |correlation|, from 0 to 1."""
    strength_given_character: float
    """The same among positions with the same character: what the character itself does not explain."""
    is_beyond_chance: bool
    """Whether the strength exceeds `shifted` and `random_labels`, and the strength given the character exceeds
    `shifted_given_character`."""


@dataclass(frozen=True)
class FeatureScores:
    """A feature, what chance gives on it, and the units that follow it most closely."""

    feature: str
    kind: Kind
    mean: float
    """The share of positions with the feature if it is yes/no, else its mean."""
    chance: Chance
    best: tuple[UnitScore, ...]
    """The strongest units of all layers, strongest first."""
    units_beyond_chance: int
    """How many units of the network are beyond chance."""


@dataclass(frozen=True, eq=False)
class LayerOutputs:
    """The outputs of a layer on an excerpt, for a browser of its units."""

    layer: int
    values: NDArray[np.float64]
    """h_t, [T, H], rounded to two decimals."""
    features: tuple[str | None, ...]
    """The feature that each unit follows most closely; None if it is not beyond chance on any."""
    strengths: NDArray[np.float64]
    """The strength of each unit on that feature, [H]; 0 if there is none."""


@dataclass(frozen=True, eq=False)
class Units:
    """What the units of a network follow."""

    positions: int
    """How many characters the scores are computed on."""
    shifts: int
    """How many circular shifts, and as many random labels, `chance` was estimated from."""
    features: tuple[FeatureScores, ...]
    """Those that occur in the text."""
    interpretable: tuple[UnitScore, ...]
    """The strongest score of each of the most interpretable units, strongest first; all are beyond chance."""
    excerpt_start: int
    """The position of the excerpt's first character in the text."""
    excerpt: NDArray[np.int64]
    """The ids of the excerpt, int64 [T]; `layers` has the outputs of every unit after each."""
    layers: tuple[LayerOutputs, ...]
