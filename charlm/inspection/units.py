"""The association of single units with features of the text, compared with chance.

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
from charlm.inspection.reading import MOST_STATES, Reading
from charlm.inspection.section import Chart, Content, Sample, Section, Table
from charlm.network.rnn import State
from charlm.text.vocabulary import Vocabulary
from charlm.wording import counted

Ranks = NDArray[np.float32]


def centred_ranks(values: NDArray[Any], groups: NDArray[Any]) -> Ranks:
    """Return the rank of each value in its row and group minus the mean rank; ties share a rank.

    Args:
        values: Any finite numbers, [N, T].
        groups: Integers [T].

    """
    sizes = np.bincount(groups)
    middle = (np.cumsum(sizes) - (sizes + 1) / 2)[
        groups
    ]  # of the places of a group, if one comes after the other
    ranks = np.empty(values.shape, np.float32)
    for row, found in zip(values, ranks, strict=True):
        number = np.unique(row, return_inverse=True)[1]
        _, inverse, counts = np.unique(
            groups.astype(np.int64) * len(row) + number, return_inverse=True, return_counts=True
        )
        found[:] = (np.cumsum(counts) - (counts + 1) / 2)[inverse] - middle
    return ranks


def associate(
    ranks: Ranks, groups: NDArray[Any], features: NDArray[np.float64], kind: Kind
) -> NDArray[np.float64]:
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
        having = np.array(
            [np.bincount(groups, weights=feature, minlength=len(sizes)) for feature in features]
        )
        others, sizes_of_rows = features.astype(np.float32), np.ones(len(ranks))
        varying = (having * (sizes - having)).sum(1) / 2
    else:
        others = centred_ranks(features, groups)
        sizes_of_rows, varying = (
            np.linalg.norm(each.astype(np.float64), axis=1) for each in (ranks, others)
        )
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


def chance_level(
    ranks: Ranks, groups: NDArray[Any], features: NDArray[np.float64], kind: Kind
) -> float:
    """Return the 99th percentile, over K variants of a feature, of the association of the best output.

    NaN if the feature does not vary within any group.
    """
    return float(
        np.percentile(np.abs(associate(ranks, groups, features, kind)).max(0), CHANCE_PERCENTILE)
    )


MIN_POSITIONS = 200
"""The fewest characters of a text whose features are scored."""
MIN_COUNT = 20
"""Smallest number of positions with a yes/no feature, and of positions without it. With fewer, some unit separates them
by chance."""
SHIFTS = 200
"""Number of circular shifts of a feature that give the level of chance."""
BEST = 3
"""Number of units that are listed for a feature."""
CHANCE_PERCENTILE = 99
"""Percentile over the shifts that counts as the level of chance."""


@dataclass(frozen=True)
class UnitScore:
    """The association of a unit with a feature."""

    layer: int
    """Index of the layer, 0 is the lowest."""
    unit: int
    """Index of the unit in its layer, from 0."""
    score: float
    """For a yes/no feature the AUC, from 0 to 1: the probability that the output of the unit is higher at a position
    with the feature than at one without. For a number the rank correlation, from -1 to 1."""
    strength: float
    """|2 AUC - 1| or |correlation|, from 0 to 1."""
    strength_given_character: float | None
    """Strength among positions with the same character, from 0 to 1. The character does not explain it. None if the
    character decides the feature."""
    is_beyond_chance: bool | None
    """Whether both strengths exceed what chance gives; None if the character decides the feature."""


@dataclass(frozen=True)
class FeatureScores:
    """A feature, what chance gives on it, and the units that follow it most closely."""

    feature: str
    """The name of the feature."""
    kind: Kind
    """Whether it is a yes/no feature or a number."""
    chance: float
    """The strength that the best unit of the network reaches by chance, from 0 to 1: the 99th percentile over circular
    shifts of the feature against the text."""
    chance_given_character: float | None
    """The strength given the character that the best unit reaches by chance, over shifts among the positions with the
    same character; None if the character decides the feature."""
    best: tuple[UnitScore, ...]
    """The strongest units of all layers, strongest first."""
    units_beyond_chance: int | None
    """Number of units beyond chance; None if the character decides the feature."""


@dataclass(frozen=True, eq=False)
class Units:
    """The associations of all units with all features."""

    positions: Sample
    """Characters that were read before each output of the units."""
    shifts: int
    """Number of circular shifts that gave the level of chance."""
    units: int
    """The number of units of all layers."""
    features: tuple[FeatureScores, ...]
    """The features that vary in the text; a yes/no feature occurs, and is missing, at least MIN_COUNT times. Empty for
    a text of fewer than MIN_POSITIONS characters."""


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
    rng = np.random.default_rng(seed)
    joined = np.concatenate(outputs, 1).T
    places = [
        (layer, unit) for layer, output in enumerate(outputs) for unit in range(output.shape[1])
    ]
    whole_text = np.zeros(len(ids), np.int64)
    ranked = [(centred_ranks(joined, groups), groups) for groups in (whole_text, ids)]
    scores = []
    for feature in features_of(ids, vocabulary) if features is None else features:
        if not _is_frequent(feature):
            continue
        strengths, chances = [], []
        for ranks, groups in ranked:
            association = associate(ranks, groups, feature.values[None], feature.kind)[:, 0]
            variants = shift_within(feature.values, groups, count=shifts, rng=rng)
            strengths.append(association)
            chances.append(chance_level(ranks, groups, variants, feature.kind))
        scores.append(_best_units(feature, places, strengths, chances))
    return Units(Sample.of(range(len(ids))), shifts, len(places), tuple(scores))


def _is_frequent(feature: Feature) -> bool:
    """Return whether a feature can be scored: the text is long enough, and a yes/no feature is not too rare."""
    if len(feature.values) < MIN_POSITIONS:
        return False
    present = np.count_nonzero(feature.values)
    rarest = min(present, len(feature.values) - present)
    return bool(feature.kind == "number" or rarest >= MIN_COUNT)


def _best_units(
    feature: Feature,
    places: Sequence[tuple[int, int]],
    associations: Sequence[NDArray[np.float64]],
    chances: Sequence[float],
) -> FeatureScores:
    """Return the units that follow a feature most closely.

    Args:
        feature: The feature.
        places: The layer and the unit of each output, [N].
        associations: The association of each output with the feature, float64 [N]: on the whole text, and among
            positions with the same character; the second is NaN if the character decides the feature.
        chances: What chance gives for each of the two.

    """
    association, given = associations
    strength = np.abs(association)
    strength_given = np.abs(given)
    chance, chance_given = chances
    is_decided = bool(np.isnan(chance_given))
    is_beyond = (strength > chance) & (strength_given > chance_given)
    best = []
    for index in np.argsort(-strength, kind="stable")[:BEST].tolist():
        layer, unit = places[index]
        score = (association[index] + 1) / 2 if feature.kind == "yes/no" else association[index]
        unit_score = UnitScore(
            layer=layer,
            unit=unit,
            score=float(score),
            strength=float(strength[index]),
            strength_given_character=None if is_decided else float(strength_given[index]),
            is_beyond_chance=None if is_decided else bool(is_beyond[index]),
        )
        best.append(unit_score)
    return FeatureScores(
        feature=feature.name,
        kind=feature.kind,
        chance=chance,
        chance_given_character=None if is_decided else chance_given,
        best=tuple(best),
        units_beyond_chance=None if is_decided else int(is_beyond.sum()),
    )


def make_units(reading: Reading) -> Content:
    """Score the units on features of the text."""
    units = score_units(reading.states, reading.ids[:MOST_STATES], reading.trained.vocabulary)
    if not units.features:
        return Content(units, basis=f"No feature occurs often enough in {units.positions}.")
    return Content(
        units,
        basis=f"Based on the outputs of {counted(units.units, 'unit')} after {units.positions}.",
        figure=units_chart(units),
        table=units_table(units),
    )


def units_table(units: Units) -> Table:
    """List the best unit on each feature."""
    features = units.features
    best = [feature.best[0] for feature in features]
    return Table(
        "The best unit on each feature. A dash: the character alone determines the feature, so there is nothing left "
        "to compare among positions with the same character. Units beyond chance are all units with both strengths "
        "above chance.",
        {
            "feature": [feature.feature for feature in features],
            "best unit": [f"rnn.{unit.layer}, unit {unit.unit}" for unit in best],
            "AUC or correlation": [unit.score for unit in best],
            "strength": [unit.strength for unit in best],
            "by chance": [feature.chance for feature in features],
            "strength given the character": [unit.strength_given_character for unit in best],
            "given the character, by chance": [
                feature.chance_given_character for feature in features
            ],
            "units beyond chance": [feature.units_beyond_chance for feature in features],
        },
    )


def units_chart(units: Units) -> Chart:
    """Draw how closely the best unit follows each feature, and what chance gives."""
    features = units.features
    names = [feature.feature for feature in features]
    best = [feature.best[0] for feature in features]
    panel = Panel(
        "The best unit on each feature",
        ("|2 AUC \N{MINUS SIGN} 1| or |correlation|", ""),
        {
            "strength": Curve(names, [unit.strength for unit in best]),
            "strength given the character": Curve(
                names, [unit.strength_given_character for unit in best]
            ),
        },
        {
            "chance": Curve(names, [feature.chance for feature in features]),
            "chance, given the character": Curve(
                names, [feature.chance_given_character for feature in features]
            ),
        },
        x_scale="names",
    )
    return Chart(
        [panel],
        f"The unit with the highest strength of {counted(units.units, 'unit')} on each feature, and the strength of "
        "the same unit among positions with the same character, unless the character alone determines the feature.",
        f"Circle and diamond: these two strengths. Cross and stroke: the {CHANCE_PERCENTILE}th percentile of each over "
        f"{units.shifts} random shifts of the feature. A unit follows a feature if its circle lies to the right of the "
        "cross and its diamond to the right of the stroke.",
    )


SECTION = Section(
    name="units",
    title="What single units follow",
    equation="strength = |2 AUC - 1| of h_t[unit] for a feature of the text, or |rank correlation|",
    text=(
        "The figure shows the unit that follows each feature of the text most closely. AUC is the probability that "
        "the output is higher at a character with the feature than at one without; for a number, such as the position "
        "in the line, it is a rank correlation. Given the character, only positions with the same character are "
        "compared, so that knowing the character just read is not enough. The outputs are those after the character "
        "was read. Chance is the strength that the best of all units reaches on the feature shifted along the text by "
        "a random distance. The position in the word counts from 1 and is 0 outside words. A word is letters, with "
        "apostrophes between them. A heading is a line of up to 40 characters that follows an empty line and ends "
        "with a colon. Quotes and brackets extend to their closing sign, or to an empty line."
    ),
    make=make_units,
)
