"""Which units of a network follow a feature of the text, compared with what chance gives.

`charlm.inspection.association` has the statistics. Axes: T the characters of the text, H the units of a layer, N those
of all layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.inspection.association import (
    MIN_COUNT,
    Ranked,
    associate,
    chance_level,
    label_characters,
    rank_outputs,
    shift_feature,
)
from charlm.inspection.features import Feature, Kind, features_of
from charlm.network.rnn import State
from charlm.text.vocabulary import Vocabulary

Values = NDArray[np.float64]

MIN_POSITIONS = 200
SHIFTS = 200
BEST = 3
"""How many units are named for a feature."""
MOST_INTERPRETABLE = 12
EXCERPT = (64, 400)
"""The least and the most characters of the excerpt."""
EXCERPT_VALUES = 200_000
"""How many outputs the excerpt has in all, unless that makes it shorter than the least."""


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
    """Those that vary in the text; a yes/no feature occurs, and is missing, MIN_COUNT times or more. None if the text
    has fewer than MIN_POSITIONS characters."""
    interpretable: tuple[UnitScore, ...]
    """The strongest score of each of the most interpretable units, strongest first; all are beyond chance."""
    excerpt_start: int
    """The position of the excerpt's first character in the text."""
    excerpt: NDArray[np.int64]
    """The ids of the excerpt, int64 [T]; `layers` has the outputs of every unit after each."""
    layers: tuple[LayerOutputs, ...]


def score_units(
    outputs: State,
    ids: NDArray[Any],
    vocabulary: Vocabulary,
    *,
    features: Sequence[Feature] | None = None,
    shifts: int = SHIFTS,
    seed: int = 0,
) -> Units:
    """Score every unit of a network on every feature of a text.

    Args:
        outputs: The outputs of each layer on the text, [T, H]; T may be 0.
        ids: The text, integers [T].
        vocabulary: The characters by id.
        features: The features, each [T]; None = those of `features_of`.
        shifts: How many circular shifts, and as many random labels, chance is estimated from; 1 or more.
        seed: Of the shifts and labels.

    """
    found = features_of(ids, vocabulary) if features is None else features
    rng = np.random.default_rng(seed)
    ranked = _rank(outputs, ids)
    scores = [_score(feature, ranked, count=shifts, rng=rng) for feature in found if _is_frequent(feature)]
    widths = [output.shape[1] for output in outputs]
    start, length = _choose_excerpt(ids, vocabulary, units=sum(widths))
    return Units(
        positions=len(ids),
        shifts=shifts,
        features=tuple(_summarize(score, widths) for score in scores),
        interpretable=_most_interpretable(scores, widths),
        excerpt_start=start,
        excerpt=ids[start : start + length],
        layers=_layers([output[start : start + length] for output in outputs], scores),
    )


def _is_frequent(feature: Feature) -> bool:
    if len(feature.values) < MIN_POSITIONS:
        return False
    count = int(np.count_nonzero(feature.values))
    return feature.kind == "number" or MIN_COUNT <= count <= len(feature.values) - MIN_COUNT


@dataclass(frozen=True, eq=False)
class _Scores:
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


def _rank(outputs: State, ids: NDArray[Any]) -> tuple[Ranked, Ranked]:
    """Rank the outputs of all units over the whole text, and among the positions with the same character."""
    joined = np.concatenate(outputs, 1).T
    return rank_outputs(joined, np.zeros(len(ids), np.int64)), rank_outputs(joined, ids)


def _score(
    feature: Feature,
    units: tuple[Ranked, Ranked],
    *,
    count: int,
    rng: np.random.Generator,
) -> _Scores:
    """Score all units on a feature; chance is estimated from `count` circular shifts, and as many random labels."""
    alone, by_character = units
    association, given = (associate(ranked, feature.values[None], feature.kind)[:, 0] for ranked in units)
    strength, given = np.abs(association), np.abs(given)
    shifted = shift_feature(feature.values, count=count, rng=rng)
    labels = label_characters(feature.values, by_character.groups, count=count, rng=rng)
    chance = Chance(
        shifted=chance_level(alone, shifted, feature.kind),
        random_labels=chance_level(alone, labels, feature.kind),
        shifted_given_character=chance_level(by_character, shifted, feature.kind),
    )
    is_beyond = (strength > chance.shifted) & (
        (strength > chance.random_labels) | (given > chance.shifted_given_character)
    )
    return _Scores(feature, chance, association, strength, given, is_beyond)


def _summarize(scores: _Scores, widths: Sequence[int]) -> FeatureScores:
    """Return the scores of a feature worth naming; `widths` are the units of each layer."""
    return FeatureScores(
        feature=scores.feature.name,
        kind=scores.feature.kind,
        mean=float(scores.feature.values.mean()),
        chance=scores.chance,
        best=_best(scores, widths),
        units_beyond_chance=int(scores.is_beyond_chance.sum()),
    )


def _best(scores: _Scores, widths: Sequence[int]) -> tuple[UnitScore, ...]:
    """Return the scores of the strongest units on a feature."""
    places = [(layer, unit) for layer, width in enumerate(widths) for unit in range(width)]
    found = []
    for index in np.argsort(-scores.strength, kind="stable")[:BEST].tolist():
        association = float(scores.association[index])
        score = UnitScore(
            layer=places[index][0],
            unit=places[index][1],
            feature=scores.feature.name,
            score=(association + 1) / 2 if scores.feature.kind == "yes/no" else association,
            strength=float(scores.strength[index]),
            strength_given_character=float(scores.given_character[index]),
            is_beyond_chance=bool(scores.is_beyond_chance[index]),
        )
        found.append(score)
    return tuple(found)


def _most_interpretable(scores: Sequence[_Scores], widths: Sequence[int]) -> tuple[UnitScore, ...]:
    """Return the best score of each unit that follows a feature, at most MOST_INTERPRETABLE.

    Only the BEST units of each feature are considered.
    """
    chosen: dict[tuple[int, int], UnitScore] = {}
    for found in scores:
        for score in _best(found, widths):
            place = score.layer, score.unit
            if score.is_beyond_chance:
                chosen[place] = max(chosen.get(place, score), score, key=lambda each: each.strength)
    return tuple(sorted(chosen.values(), key=lambda score: -score.strength)[:MOST_INTERPRETABLE])


def _choose_excerpt(ids: NDArray[np.int64], vocabulary: Vocabulary, *, units: int) -> tuple[int, int]:
    """Return the start and the length of the excerpt: from the first line that begins after a quarter of the text."""
    shortest, longest = EXCERPT
    length = min(max(EXCERPT_VALUES // units, shortest), longest)
    quarter = len(ids) // 4
    breaks = [index for index, glyph in enumerate(vocabulary.glyphs) if glyph == "\n"]
    after = np.flatnonzero(np.isin(ids[quarter:], breaks))
    start = quarter + (int(after[0]) + 1 if len(after) else 0)
    return max(0, min(start, len(ids) - length)), length


def _layers(excerpt: State | Sequence[Any], scores: Sequence[_Scores]) -> tuple[LayerOutputs, ...]:
    widths = [output.shape[1] for output in excerpt]
    strengths = np.array([np.where(found.is_beyond_chance, found.strength, 0) for found in scores])
    strengths = strengths if len(scores) else np.zeros((1, sum(widths)))
    best = strengths.argmax(0)
    highest = strengths.max(0)
    names = [scores[index].feature.name if high else None for index, high in zip(best, highest, strict=True)]
    borders = np.cumsum(widths)[:-1]
    return tuple(
        LayerOutputs(
            layer=layer,
            values=np.asarray(np.round(output.astype(np.float64), 2), np.float64),
            features=tuple(names[sum(widths[:layer]) : sum(widths[: layer + 1])]),
            strengths=part,
        )
        for layer, (output, part) in enumerate(zip(excerpt, np.split(highest, borders), strict=True))
    )
