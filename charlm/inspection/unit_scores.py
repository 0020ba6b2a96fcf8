"""The score of every unit on one feature of a text, and the scores worth naming.

`charlm.inspection.association` has the statistics. Axes: T the characters of the text, N the units of all layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.inspection.association import Ranked, associate, chance_level, label_characters, rank_outputs, shift_feature
from charlm.inspection.features import Feature, Kind
from charlm.network.rnn import Floats

Values = NDArray[np.float64]

BEST = 3
"""How many units are named for a feature."""
MOST_INTERPRETABLE = 12


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
    untrained_given_character: float | None
    """As `untrained`, for strengths among positions with the same character."""


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
    """Whether the strength exceeds `shifted`, and the character just read does not explain it: the strength also
    exceeds `random_labels`, or the strength given the character exceeds `shifted_given_character`."""
    is_learnt: bool | None
    """Whether it is beyond chance, and closer than before training: the strength exceeds `untrained`, or the strength
    given the character exceeds `untrained_given_character`. None if these are not known."""


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
class Scores:
    """The scores of all units on one feature."""

    feature: Feature
    chance: Chance
    association: Values
    """2 AUC - 1 or the rank correlation, from -1 to 1, [N]."""
    strength: Values
    """Its size, [N]."""
    given_character: Values
    """The strength among positions with the same character, [N]."""
    is_beyond_chance: NDArray[np.bool_]
    """As in UnitScore, [N]."""
    is_learnt: NDArray[np.bool_] | None
    """As in UnitScore, [N]."""


@dataclass(frozen=True, eq=False)
class RankedUnits:
    """The outputs of all units of a network, ranked twice."""

    alone: Ranked
    """Over the whole text."""
    by_character: Ranked
    """Among the positions with the same character; its groups are the ids."""


def rank_units(outputs: Sequence[Floats], ids: NDArray[np.int64]) -> RankedUnits:
    """Rank the outputs of all layers, float32 [T, H] each, after the characters `ids`, int64 [T]."""
    joined = np.concatenate(outputs, 1).T
    return RankedUnits(rank_outputs(joined, np.zeros(len(ids), np.int64)), rank_outputs(joined, ids))


def score_feature(
    feature: Feature, units: RankedUnits, untrained: RankedUnits | None, *, count: int, rng: np.random.Generator
) -> Scores:
    """Score all units on a feature, and estimate what chance gives.

    Args:
        feature: The feature, [T].
        units: The outputs of the units.
        untrained: The same of the network before training; None = there is none.
        count: How many circular shifts, and as many random labels, chance is estimated from; 1 or more.
        rng: Draws them.

    """
    association, strength, given = _strengths(units, feature)
    before = None if untrained is None else _strengths(untrained, feature)
    chance = _estimate_chance(feature, units, count=count, rng=rng, before=before)
    is_beyond = (strength > chance.shifted) & (
        (strength > chance.random_labels) | (given > chance.shifted_given_character)
    )
    is_learnt = None
    if before is not None:
        is_learnt = is_beyond & ((strength > before[1].max()) | (given > before[2].max()))
    return Scores(feature, chance, association, strength, given, is_beyond, is_learnt)


def _strengths(units: RankedUnits, feature: Feature) -> tuple[Values, Values, Values]:
    """Return the association of all units with a feature, its size, and its size given the character, [N] each."""
    association = associate(units.alone, feature.values[None], feature.kind)[:, 0]
    given = associate(units.by_character, feature.values[None], feature.kind)[:, 0]
    return association, np.abs(association), np.abs(given)


def _estimate_chance(
    feature: Feature,
    units: RankedUnits,
    *,
    count: int,
    rng: np.random.Generator,
    before: tuple[Values, Values, Values] | None,
) -> Chance:
    shifted = shift_feature(feature.values, count=count, rng=rng)
    labels = label_characters(feature.values, units.by_character.groups, count=count, rng=rng)
    return Chance(
        shifted=chance_level(units.alone, shifted, feature.kind),
        random_labels=chance_level(units.alone, labels, feature.kind),
        shifted_given_character=chance_level(units.by_character, shifted, feature.kind),
        untrained=None if before is None else float(before[1].max()),
        untrained_given_character=None if before is None else float(before[2].max()),
    )


def summarize_scores(scores: Scores, widths: Sequence[int]) -> FeatureScores:
    """Return the scores of a feature worth naming.

    Args:
        scores: Of all units.
        widths: How many units each layer has.

    """
    strongest = np.argsort(-scores.strength, kind="stable")[:BEST]
    return FeatureScores(
        feature=scores.feature.name,
        kind=scores.feature.kind,
        mean=float(scores.feature.values.mean()),
        chance=scores.chance,
        best=tuple(_unit_score(scores, int(index), widths) for index in strongest),
        units_beyond_chance=int(scores.is_beyond_chance.sum()),
    )


def most_interpretable(scores: Sequence[Scores], widths: Sequence[int]) -> tuple[UnitScore, ...]:
    """Return the best score of each unit that is beyond chance, at most MOST_INTERPRETABLE; see `Units.interpretable`.

    Args:
        scores: Of all units on each feature; only the BEST units of a feature are considered.
        widths: How many units each layer has.

    """
    chosen: dict[tuple[int, int], UnitScore] = {}
    for found in scores:
        for index in np.argsort(-found.strength, kind="stable")[:BEST].tolist():
            score = _unit_score(found, index, widths)
            known = chosen.get((score.layer, score.unit))
            if score.is_beyond_chance and (known is None or _order(score) < _order(known)):
                chosen[score.layer, score.unit] = score
    return tuple(sorted(chosen.values(), key=_order)[:MOST_INTERPRETABLE])


def _unit_score(scores: Scores, index: int, widths: Sequence[int]) -> UnitScore:
    """Return the score of the unit at an index among those of all layers."""
    association = float(scores.association[index])
    layer, unit = _place(index, widths)
    return UnitScore(
        layer=layer,
        unit=unit,
        feature=scores.feature.name,
        score=(association + 1) / 2 if scores.feature.kind == "yes/no" else association,
        strength=float(scores.strength[index]),
        strength_given_character=float(scores.given_character[index]),
        is_beyond_chance=bool(scores.is_beyond_chance[index]),
        is_learnt=None if scores.is_learnt is None else bool(scores.is_learnt[index]),
    )


def _place(index: int, widths: Sequence[int]) -> tuple[int, int]:
    starts = np.cumsum([0, *widths])
    layer = int(np.searchsorted(starts, index, "right")) - 1
    return layer, index - int(starts[layer])


def _order(score: UnitScore) -> tuple[bool, float]:
    return score.is_learnt is False, -score.strength
