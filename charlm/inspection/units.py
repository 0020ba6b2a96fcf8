"""Which units of a network follow a feature of the text, compared with what chance gives.

For a yes/no feature the association is 2 AUC - 1, AUC the probability that an output is higher at a position with the
feature than at one without (Mann and Whitney 1947); pairs are compared only within a group (van Elteren 1960):

    2 AUC - 1 = sum of R over the positions with the feature / (sum over groups of with * without / 2)

R is the rank of the output in its group, less the mean rank. For a number it is the correlation of R with the ranks of
the feature, made in the same way. Ties share their mean rank, and their pairs count as half. The groups are the whole
text, or the positions with the same character: then the association is what the character itself does not explain.

Axes: T the characters of the text, H the units of a layer, N those of all layers, K variants of a feature.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.inspection.features import Feature, Kind, features_of
from charlm.network.rnn import State
from charlm.text.vocabulary import Vocabulary

Values = NDArray[np.float64]
Ranks = NDArray[np.float32]

MIN_POSITIONS = 200
MIN_COUNT = 20
"""Yes/no features that occur less often are not scored: by chance, some unit tells a few positions from all others."""
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

    It is the 99th percentile over circular shifts of the feature against the text. A strength is |2 AUC - 1| for a
    yes/no feature and the size of a rank correlation for a number.
    """

    shifted: float
    shifted_given_character: float
    """For strengths among positions with the same character."""


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
    """Whether the strength exceeds `shifted`, and the character just read does not explain it: the strength given the
    character exceeds `shifted_given_character`."""


@dataclass(frozen=True)
class FeatureScores:
    """A feature, what chance gives on it, and the units that follow it most closely."""

    feature: str
    kind: Kind
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
    """How many circular shifts `chance` was estimated from."""
    features: tuple[FeatureScores, ...]
    """Those that vary in the text; a yes/no feature occurs, and is missing, MIN_COUNT times or more. None if the text
    has fewer than MIN_POSITIONS characters."""
    interpretable: tuple[UnitScore, ...]
    """The strongest score of each of the most interpretable units, strongest first; all are beyond chance."""
    excerpt: NDArray[np.int64]
    """The ids of the excerpt, the beginning of the text, int64 [T]; `layers` has the outputs of every unit after
    each."""
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
        shifts: How many circular shifts chance is estimated from; 1 or more.
        seed: Of the shifts.

    """
    found = features_of(ids, vocabulary) if features is None else features
    rng = np.random.default_rng(seed)
    joined = np.concatenate(outputs, 1).T
    ranked = [(centred_ranks(joined, groups), groups) for groups in (np.zeros(len(ids), np.int64), ids)]
    places = [(layer, unit) for layer, output in enumerate(outputs) for unit in range(output.shape[1])]
    scores = [
        _score(feature, ranked, shift_feature(feature.values, count=shifts, rng=rng), places)
        for feature in found
        if _is_frequent(feature)
    ]
    length = min(max(EXCERPT_VALUES // len(places), EXCERPT[0]), EXCERPT[1])
    return Units(
        positions=len(ids),
        shifts=shifts,
        features=tuple(feature for feature, _ in scores),
        interpretable=_most_interpretable([feature for feature, _ in scores]),
        excerpt=ids[:length],
        layers=_layers([output[:length] for output in outputs], scores),
    )


def _is_frequent(feature: Feature) -> bool:
    if len(feature.values) < MIN_POSITIONS:
        return False
    count = int(np.count_nonzero(feature.values))
    return feature.kind == "number" or MIN_COUNT <= count <= len(feature.values) - MIN_COUNT


def _score(
    feature: Feature, ranked: Sequence[tuple[Ranks, NDArray[Any]]], shifted: Values, places: Sequence[tuple[int, int]]
) -> tuple[FeatureScores, Values]:
    """Score all units on a feature.

    Args:
        feature: The feature.
        ranked: The ranks and the groups: over the whole text, and among the positions with the same character.
        shifted: The shifted feature, [K, T].
        places: The layer and the number of each unit, [N].

    Returns:
        What is worth telling of the feature; and the strength of each unit, [N], 0 if it is not beyond chance.

    """
    association, given = (associate(*each, feature.values[None], feature.kind)[:, 0] for each in ranked)
    strength, given = np.abs(association), np.abs(given)
    chance = Chance(*(chance_level(*each, shifted, feature.kind) for each in ranked))
    is_beyond = (strength > chance.shifted) & (given > chance.shifted_given_character)
    best = tuple(
        UnitScore(
            layer=places[index][0],
            unit=places[index][1],
            feature=feature.name,
            score=float((association[index] + 1) / 2 if feature.kind == "yes/no" else association[index]),
            strength=float(strength[index]),
            strength_given_character=float(given[index]),
            is_beyond_chance=bool(is_beyond[index]),
        )
        for index in np.argsort(-strength, kind="stable")[:BEST].tolist()
    )
    found = FeatureScores(feature.name, feature.kind, chance, best, int(is_beyond.sum()))
    return found, np.where(is_beyond, strength, 0)


def _most_interpretable(features: Sequence[FeatureScores]) -> tuple[UnitScore, ...]:
    """Return the best score of each of the named units that follow a feature, at most MOST_INTERPRETABLE."""
    beyond = [score for feature in features for score in feature.best if score.is_beyond_chance]
    chosen: dict[tuple[int, int], UnitScore] = {}
    for score in sorted(beyond, key=lambda score: -score.strength):
        chosen.setdefault((score.layer, score.unit), score)
    return tuple(chosen.values())[:MOST_INTERPRETABLE]


def _layers(excerpt: Sequence[Any], scores: Sequence[tuple[FeatureScores, Values]]) -> tuple[LayerOutputs, ...]:
    widths = [output.shape[1] for output in excerpt]
    names = [None, *(feature.feature for feature, _ in scores)]
    strengths = np.stack([np.zeros(sum(widths)), *(strength for _, strength in scores)])
    borders = np.cumsum(widths)[:-1]
    best, highest = (np.split(values, borders) for values in (strengths.argmax(0), strengths.max(0)))
    return tuple(
        LayerOutputs(
            layer=layer,
            values=np.asarray(np.round(output.astype(np.float64), 2), np.float64),
            features=tuple(names[index] for index in best[layer].tolist()),
            strengths=highest[layer],
        )
        for layer, output in enumerate(excerpt)
    )


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
        [N, K], from -1 to 1; 0 if the feature or the output does not vary within any group.

    """
    if kind == "yes/no":
        sums = ranks @ features.T.astype(np.float32)
        scales = np.broadcast_to(_pairs(features, groups) / 2, sums.shape)
    else:
        others = centred_ranks(features, groups)
        sums = ranks @ others.T
        scales = np.outer(*(np.linalg.norm(each.astype(np.float64), axis=1) for each in (ranks, others)))
    found = np.divide(sums, scales, out=np.zeros(sums.shape, np.float64), where=scales > 0)
    return np.clip(found, -1, 1)


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


def chance_level(ranks: Ranks, groups: NDArray[Any], features: NDArray[np.float64], kind: Kind) -> float:
    """Return the 99th percentile, over K variants of a feature, of the association of the best output."""
    return float(np.percentile(np.abs(associate(ranks, groups, features, kind)).max(0), 99))
