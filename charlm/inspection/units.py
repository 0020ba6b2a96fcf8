"""Which units of a network follow a feature of the text, compared with what chance gives.

Axes: T the characters of the text, H the units of a layer, N those of all layers, K variants of a feature.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from charlm.inspection.features import (
    Feature,
    Kind,
    Ranks,
    associate,
    centred_ranks,
    chance_level,
    features_of,
    shift_feature,
    shift_within,
)
from charlm.inspection.figures import BLUE, INK, ORANGE, PURPLE, canvas, legend, room_for
from charlm.inspection.section import MOST_STATES, Chart, Reading, Rows, Section, Table, layer_name
from charlm.network.rnn import State
from charlm.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Values = NDArray[np.float64]

MIN_POSITIONS = 200
MIN_COUNT = 20
"""Yes/no features that occur less often are not scored: by chance, some unit tells a few positions from all others."""
SHIFTS = 200
BEST = 3
"""How many units are named for a feature."""
MOST_INTERPRETABLE = 12


@dataclass(frozen=True)
class Chance:
    """What strength the strongest unit of the network reaches on a feature by chance, from 0 to 1.

    It is the 99th percentile over circular shifts of the feature against the text, or, given the character, against the
    positions with the same character. A strength is |2 AUC - 1| for a
    yes/no feature and the size of a rank correlation for a number.
    """

    shifted: float
    shifted_given_character: float | None
    """For strengths among positions with the same character; None if the character decides the feature."""


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
    strength_given_character: float | None
    """The same among positions with the same character: what the character itself does not explain; None if the
    character decides the feature."""
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
class Units:
    """What the units of a network follow."""

    positions: range
    """Of the characters that the scores are computed on."""
    shifts: int
    """How many circular shifts `chance` was estimated from."""
    features: tuple[FeatureScores, ...]
    """Those that vary in the text; a yes/no feature occurs, and is missing, MIN_COUNT times or more. None if the text
    has fewer than MIN_POSITIONS characters."""
    interpretable: tuple[UnitScore, ...]
    """The strongest score of each of the most interpretable units, strongest first; all are beyond chance."""


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
    frequent = [feature for feature in found if _is_frequent(feature)]
    scores = [
        _score(
            feature,
            ranked,
            (
                shift_feature(feature.values, count=shifts, rng=rng),
                shift_within(feature.values, ids, count=shifts, rng=rng),
            ),
            places,
        )
        for feature in frequent
    ]
    return Units(
        positions=range(len(ids)),
        shifts=shifts,
        features=tuple(scores),
        interpretable=_most_interpretable(scores),
    )


def _is_frequent(feature: Feature) -> bool:
    if len(feature.values) < MIN_POSITIONS:
        return False
    count = int(np.count_nonzero(feature.values))
    return feature.kind == "number" or MIN_COUNT <= count <= len(feature.values) - MIN_COUNT


def _score(
    feature: Feature,
    ranked: Sequence[tuple[Ranks, NDArray[Any]]],
    shifted: Sequence[Values],
    places: Sequence[tuple[int, int]],
) -> FeatureScores:
    """Score all units on a feature.

    Args:
        feature: The feature.
        ranked: The ranks and the groups: over the whole text, and among the positions with the same character.
        shifted: The shifted feature, [K, T], for each of these.
        places: The layer and the number of each unit, [N].

    """
    association, given = (associate(*each, feature.values[None], feature.kind)[:, 0] for each in ranked)
    strength, given = np.abs(association), np.abs(given)
    pairs = zip(ranked, shifted, strict=True)
    shifted, shifted_given = (chance_level(*each, variants, feature.kind) for each, variants in pairs)
    chance = Chance(shifted, None if np.isnan(shifted_given) else shifted_given)
    is_beyond = (strength > shifted) & (given > shifted_given)
    best = tuple(
        UnitScore(
            layer=places[index][0],
            unit=places[index][1],
            feature=feature.name,
            score=float((association[index] + 1) / 2 if feature.kind == "yes/no" else association[index]),
            strength=float(strength[index]),
            strength_given_character=None if np.isnan(given[index]) else float(given[index]),
            is_beyond_chance=bool(is_beyond[index]),
        )
        for index in np.argsort(-strength, kind="stable")[:BEST].tolist()
    )
    return FeatureScores(feature.name, feature.kind, chance, best, int(is_beyond.sum()))


def _most_interpretable(features: Sequence[FeatureScores]) -> tuple[UnitScore, ...]:
    """Return the best score of each of the named units that follow a feature, at most MOST_INTERPRETABLE."""
    beyond = [score for feature in features for score in feature.best if score.is_beyond_chance]
    chosen: dict[tuple[int, int], UnitScore] = {}
    for score in sorted(beyond, key=lambda score: -score.strength):
        chosen.setdefault((score.layer, score.unit), score)
    return tuple(chosen.values())[:MOST_INTERPRETABLE]


def make_units(reading: Reading) -> Units:
    """Score the units on features of the text."""
    return score_units(reading.states, reading.ids[:MOST_STATES], reading.vocabulary)


def draw_features(units: Units) -> "Figure":
    """Draw how closely the best unit follows each feature, beside what chance gives."""
    names = [each.feature for each in units.features]
    figure, (axes,) = canvas("The best unit on each feature", height=0.28 * max(3, len(names)), left=room_for(names))
    rows = np.arange(len(names))
    best = [each.best[0].strength for each in units.features]
    given = [each.best[0].strength_given_character for each in units.features]
    chance = [each.chance.shifted for each in units.features]
    chance_given = [each.chance.shifted_given_character for each in units.features]
    axes.barh(rows, best, height=0.6, color=BLUE, alpha=0.3, label="best unit")
    for values, marker, size, colour, label in (
        (given, "o", 4.5, BLUE, "given the character"),
        (chance, "|", 11.0, ORANGE, "chance"),
        (chance_given, "x", 5.5, PURPLE, "chance, given the character"),
    ):
        style: dict[str, Any] = {"linestyle": "", "marker": marker, "markersize": size, "markeredgewidth": 1.6}
        axes.plot(np.array(values, np.float64), rows, label=label, color=colour, **style)
    axes.set_yticks(rows, names, color=INK)
    axes.set(xlabel="strength, |2 AUC \N{MINUS SIGN} 1| or |correlation|", ylabel="feature", xlim=(0, 1.02))
    axes.set_ylim(len(units.features) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    legend(figure)
    return figure


def feature_rows(units: Units, _: object) -> Rows:
    """Return a row for the best unit on each feature."""
    return [
        (
            *(each.feature, f"{layer_name(best.layer)}, unit {best.unit}"),
            *(best.score, best.strength, best.strength_given_character),
            *(each.chance.shifted, each.chance.shifted_given_character),
            each.units_beyond_chance,
        )
        for each in units.features
        for best in each.best[:1]
    ]


UNITS = Section(
    "units",
    "What single units follow",
    "strength = |2 AUC \N{MINUS SIGN} 1| of h_t[unit] for a feature of the text, or |rank correlation|",
    "AUC is the probability that the unit is higher at a character with the feature than at one without. The dot "
    "compares characters of one kind alone: what the character just read does not explain; there is none if it decides "
    "the feature. Chance is the strength that the strongest of all units reaches on the feature moved round the text "
    "by a random distance, for the dot round the places of each character: the 99th percentile of 200 such moves. A "
    "unit follows a feature if its bar ends right of the stroke and its dot lies right of the cross.",
    make_units,
    Chart(
        "units",
        "strength of the best unit on each feature: bar, on the whole text; dot, among positions with the same "
        "character; stroke and cross, what chance gives for the bar and for the dot",
        lambda units: draw_features(units) if units.features else None,
    ),
    Table(
        "The best unit on each feature",
        (
            *("feature", "best unit", "score", "strength", "strength given the character", "strength by chance"),
            *("by chance, given the character", "units beyond chance"),
        ),
        feature_rows,
    ),
)
