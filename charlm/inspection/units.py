"""Which units of a network follow a feature of the text, how closely, and how closely they would by chance.

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
from charlm.inspection.figures import Curve, Panel
from charlm.inspection.reading import MOST_STATES, Found, Reading
from charlm.network.rnn import State
from charlm.text.vocabulary import Vocabulary

Ranks = NDArray[np.float32]


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
        sizes = np.bincount(groups)
        having = np.array([np.bincount(groups, weights=feature, minlength=len(sizes)) for feature in features])
        others, sizes_of_rows = features.astype(np.float32), np.ones(len(ranks))
        varying = (having * (sizes - having)).sum(1) / 2
    else:
        others = centred_ranks(features, groups)
        sizes_of_rows, varying = (np.linalg.norm(each.astype(np.float64), axis=1) for each in (ranks, others))
    sums, scales = ranks @ others.T, np.outer(sizes_of_rows, varying)
    found = np.divide(sums, scales, out=np.zeros(sums.shape, np.float64), where=scales > 0)
    return np.where(varying > 0, np.clip(found, -1, 1), np.nan)


def shift_within(
    values: NDArray[np.float64], groups: NDArray[Any], *, count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return a feature moved round the positions of each group by random distances, [count, T].

    Each group keeps its values, so that as many pairs are compared as with the feature itself. A distance is a
    twentieth of the group or more, in both directions.

    Args:
        values: The feature, [T].
        groups: Of each position, integers [T], 0 or more.
        count: How many variants to return.
        rng: Draws the distances.

    """
    order = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups)
    least = -(-sizes // 20)
    size, start = (each[groups[order]] for each in (sizes, np.cumsum(sizes) - sizes))
    place = np.arange(len(values)) - start
    moved = np.empty((count, len(values)))
    for row in moved:
        distance = rng.integers(least, np.maximum(sizes - least, least) + 1)[groups[order]]
        row[order] = values[order][start + (place + distance) % size]
    return moved


def chance_level(ranks: Ranks, groups: NDArray[Any], features: NDArray[np.float64], kind: Kind) -> float:
    """Return the 99th percentile, over K variants of a feature, of the association of the best output."""
    return float(np.percentile(np.abs(associate(ranks, groups, features, kind)).max(0), 99))


MIN_POSITIONS = 200
MIN_COUNT = 20
"""Yes/no features that occur less often are not scored: by chance, some unit tells a few positions from all others."""
SHIFTS = 200
BEST = 3
"""How many units are named for a feature."""


@dataclass(frozen=True)
class UnitScore:
    """How closely a unit follows a feature."""

    layer: int
    """The index of the layer, 0 is the lowest."""
    unit: int
    score: float
    """For a yes/no feature the AUC, from 0 to 1: the probability that the output of the unit is higher at a position
    with the feature than at one without. For a number the rank correlation, from -1 to 1."""
    strength: float
    """|2 AUC - 1| or |correlation|, from 0 to 1."""
    strength_given_character: float | None
    """The same among positions with the same character: what the character itself does not explain; None if the
    character decides the feature."""
    is_beyond_chance: bool
    """Whether the strength exceeds `chance`, and the character just read does not explain it: the strength given the
    character exceeds `chance_given_character`."""


@dataclass(frozen=True)
class FeatureScores:
    """A feature, what chance gives on it, and the units that follow it most closely."""

    feature: str
    kind: Kind
    chance: float
    """The strength that the strongest unit of the network reaches by chance, from 0 to 1: the 99th percentile over
    circular shifts of the feature against the text."""
    chance_given_character: float | None
    """The same of the strength given the character, over shifts among the positions with the same character; None if
    the character decides the feature."""
    best: tuple[UnitScore, ...]
    """The strongest units of all layers, strongest first."""
    units_beyond_chance: int
    """How many units of the network are beyond chance."""


@dataclass(frozen=True, eq=False)
class Units:
    """What the units of a network follow."""

    positions: range
    """Of the characters that the scores are computed on."""
    shifts: int
    """How many circular shifts chance was estimated from."""
    features: tuple[FeatureScores, ...]
    """Those that vary in the text; a yes/no feature occurs, and is missing, MIN_COUNT times or more. None if the text
    has fewer than MIN_POSITIONS characters."""


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
    rng, joined = np.random.default_rng(seed), np.concatenate(outputs, 1).T
    ranked = [(centred_ranks(joined, groups), groups) for groups in (np.zeros(len(ids), np.int64), ids)]
    places = [(layer, unit) for layer, output in enumerate(outputs) for unit in range(output.shape[1])]
    scores = []
    for feature in features_of(ids, vocabulary) if features is None else features:
        values, kind = feature.values, feature.kind
        rare = min(np.count_nonzero(values), np.count_nonzero(values == 0))
        if len(values) < MIN_POSITIONS or (kind == "yes/no" and rare < MIN_COUNT):
            continue
        association, given = (associate(*each, values[None], kind)[:, 0] for each in ranked)
        strength, given = np.abs(association), np.abs(given)
        chance, chance_given = (
            chance_level(*each, shift_within(values, each[1], count=shifts, rng=rng), kind) for each in ranked
        )
        is_beyond = (strength > chance) & (given > chance_given)  # not if it is NaN
        best = tuple(
            UnitScore(
                layer=places[index][0],
                unit=places[index][1],
                score=float((association[index] + 1) / 2 if kind == "yes/no" else association[index]),
                strength=float(strength[index]),
                strength_given_character=_known(given[index]),
                is_beyond_chance=bool(is_beyond[index]),
            )
            for index in np.argsort(-strength, kind="stable")[:BEST].tolist()
        )
        scores.append(FeatureScores(feature.name, kind, chance, _known(chance_given), best, int(is_beyond.sum())))
    return Units(range(len(ids)), shifts, tuple(scores))


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def make_units(reading: Reading) -> Found:
    """Score the units on features of the text."""
    units = score_units(reading.states, reading.ids[:MOST_STATES], reading.trained.vocabulary)
    items = [
        {"feature": each, "best": best, "unit": f"rnn.{best.layer}, unit {best.unit}"}
        for each in units.features
        for best in each.best[:1]
    ]
    panels = [units_panel(units)] if items else []
    return Found(units, panels=panels, items=items, positions=units.positions)


def units_panel(units: Units) -> Panel:
    """Show how closely the best unit follows each feature, beside what chance gives."""
    names, best = [each.feature for each in units.features], [each.best[0] for each in units.features]
    return Panel(
        "The best unit on each feature",
        ("|2 AUC \N{MINUS SIGN} 1| or |correlation|", "feature"),
        {
            "strength": Curve(names, [each.strength for each in best]),
            "given the character": Curve(names, [each.strength_given_character for each in best]),
        },
        {
            "chance": Curve(names, [each.chance for each in units.features]),
            "chance, given the character": Curve(names, [each.chance_given_character for each in units.features]),
        },
        scale="names",
    )
