"""The association of single units with features of the text, compared with chance.

For a yes/no feature the association is 2 AUC - 1, where AUC is the probability that an output is
higher at a position with the feature than at one without (Mann and Whitney 1947). Pairs of
positions are compared only within a group (van Elteren 1960):

    2 AUC - 1 = sum of R over the positions with the feature / (sum over groups of with * without /
    2)

R is the rank of the output in its group, minus the mean rank. For a number, the association is the
correlation of R with the ranks of the feature in the same groups. Ties share their mean rank. The
groups are the whole text, or the positions with the same character; the second association is the
part that the character itself does not explain.

Axes: T characters of the text, H units of a layer, N units of all layers, K variants of a feature.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.core.rnn import State, Values
from charlm.core.vocabulary import Ids
from charlm.inspection.features import Feature, Kind, features_of
from charlm.inspection.reading import MOST_STATES, Reading, SampledCharacters
from charlm.inspection.style import MUTED, Figure, Line, Section, add_axes, table
from charlm.wording import counted

Ranks = NDArray[np.float32]
MIN_COUNT = 20
"""Minimum number of positions that have a yes/no feature, and of positions that do not; with fewer,
some unit separates the two groups by chance."""
SHIFTS = 200
"""Number of circular shifts of a feature that give the level of chance."""
BEST = 3
"""Number of units that are listed for a feature."""
CHANCE_PERCENTILE = 99
"""Percentile over the shifts that counts as the level of chance."""


def centred_ranks(values: NDArray[Any], groups: NDArray[Any]) -> Ranks:
    """Return the rank of each value in its row and group minus the mean rank; ties share a rank.

    Args:
        values: Any finite numbers, [N, T].
        groups: Integers [T].

    """
    sizes = np.bincount(groups)
    mean_ranks = (np.cumsum(sizes) - (sizes + 1) / 2)[groups]  # of groups one after the other
    ranks = np.empty(values.shape, np.float32)
    for index, row in enumerate(values):
        numbers = np.unique(row, return_inverse=True)[1]
        keys = groups.astype(np.int64) * len(row) + numbers
        _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
        ranks[index] = (np.cumsum(counts) - (counts + 1) / 2)[inverse] - mean_ranks
    return ranks


def associate(ranks: Ranks, groups: NDArray[Any], features: Values, kind: Kind) -> Values:
    """Compute the association of every output with every variant of a feature.

    Args:
        ranks: R of N outputs within the groups, [N, T].
        groups: The group of each position, integers [T], 0 or more.
        features: [K, T]; 0 or 1 if the kind is yes/no.
        kind: The kind of the feature.

    Returns:
        [N, K], from -1 to 1; 0 if the output does not vary within any group, NaN if the feature
        does not.

    """
    if kind == "yes/no":
        sizes = np.bincount(groups)
        counts = np.array([np.bincount(groups, row, minlength=len(sizes)) for row in features])
        varying = (counts * (sizes - counts)).sum(1) / 2
        weights = features.astype(np.float32)
        scales = np.tile(varying, (len(ranks), 1))
    else:
        weights = centred_ranks(features, groups)
        norms = np.linalg.norm(ranks.astype(np.float64), axis=1)
        varying = np.linalg.norm(weights.astype(np.float64), axis=1)
        scales = np.outer(norms, varying)
    sums = (ranks @ weights.T).astype(np.float64)
    association = np.divide(sums, scales, out=np.zeros_like(sums), where=scales > 0)
    return np.where(varying > 0, np.clip(association, -1, 1), np.nan)


def shift_within(
    values: Values, groups: NDArray[Any], *, count: int, rng: np.random.Generator
) -> Values:
    """Return a feature shifted round the positions of each group by random distances, [count, T].

    Each group keeps its values, so that as many pairs are compared as for the feature itself. A
    distance is at least 1/20 of the group in both directions.

    Args:
        values: The feature, [T].
        groups: The group of each position, integers [T], 0 or more.
        count: Number of variants.
        rng: Source of the distances.

    """
    order = np.argsort(groups, kind="stable")
    group = groups[order]
    sizes = np.bincount(groups)
    least = -(-sizes // 20)
    starts = (np.cumsum(sizes) - sizes)[group]
    places = np.arange(len(values)) - starts
    shifted = np.empty((count, len(values)))
    for row in shifted:
        distances = rng.integers(least, np.maximum(sizes - least, least) + 1)[group]
        row[order] = values[order][starts + (places + distances) % sizes[group]]
    return shifted


def chance_level(ranks: Ranks, groups: NDArray[Any], features: Values, kind: Kind) -> float:
    """Return the level of chance: a percentile of the best strength over K variants of a feature.

    The percentile is NaN if the feature does not vary within any group.
    """
    best = np.abs(associate(ranks, groups, features, kind)).max(0)
    return float(np.percentile(best, CHANCE_PERCENTILE))


@dataclass(frozen=True)
class UnitScore:
    """The association of a unit with a feature."""

    layer: int
    """Index of the layer, 0 is the lowest."""
    unit: int
    """Index of the unit in its layer, from 0."""
    score: float
    """The AUC of a yes/no feature, from 0 to 1: the probability that the output is higher at a
    position with the feature than at one without. The rank correlation of a number, from -1 to
    1."""
    strength: float
    """|2 AUC - 1| or |correlation|, from 0 to 1."""
    strength_given_character: float
    """Strength among positions with the same character, from 0 to 1: the part that the character
    does not explain. NaN if the character determines the feature."""
    is_beyond_chance: bool | None
    """Whether both strengths exceed chance; None if the character determines the feature."""


@dataclass(frozen=True)
class FeatureScores:
    """A feature, its level of chance, and the units that follow it most closely."""

    feature: str
    """Name of the feature."""
    kind: Kind
    """Whether it is a yes/no feature or a number."""
    chance: float
    """Strength that the best unit reaches by chance, from 0 to 1: the 99th percentile over circular
    shifts of the feature."""
    chance_given_character: float
    """Strength given the character that the best unit reaches by chance, over shifts among
    positions with the same character; NaN if the character determines the feature."""
    best: tuple[UnitScore, ...]
    """The strongest units of all layers, strongest first."""
    units_beyond_chance: int | None
    """Number of units beyond chance; None if the character determines the feature."""


@dataclass(frozen=True, eq=False)
class Units:
    """The associations of all units with all features."""

    positions: SampledCharacters
    """The characters read; the units have an output after each."""
    units: int
    """Number of units of all layers."""
    features: tuple[FeatureScores, ...]
    """Features that vary in the text. A yes/no feature occurs, and is missing, at least MIN_COUNT
    times."""


def score_units(outputs: State, ids: Ids, features: Sequence[Feature]) -> Units:
    """Score every unit of a network on every feature of a text.

    Args:
        outputs: The outputs of each layer on the text, [T, H]; T may be 0.
        ids: The text, integers [T].
        features: The features, each [T].

    """
    rng = np.random.default_rng(0)
    joined = np.concatenate(outputs, 1).T
    whole_text = np.zeros(len(ids), np.int64)
    ranked = [(centred_ranks(joined, groups), groups) for groups in (whole_text, ids)]
    scores = []
    for feature in features:
        absent = len(ids) - np.count_nonzero(feature.values)
        if feature.kind == "yes/no" and not MIN_COUNT <= absent <= len(ids) - MIN_COUNT:
            continue
        associations = []
        chances = []
        for ranks, groups in ranked:
            association = associate(ranks, groups, feature.values[None], feature.kind)[:, 0]
            variants = shift_within(feature.values, groups, count=SHIFTS, rng=rng)
            associations.append(association)
            chances.append(chance_level(ranks, groups, variants, feature.kind))
        scores.append(_best_units(feature, outputs[0].shape[1], associations, chances))
    return Units(SampledCharacters.of(range(len(ids))), len(joined), tuple(scores))


def _best_units(
    feature: Feature,
    layer_units: int,
    associations: Sequence[Values],
    chances: Sequence[float],
) -> FeatureScores:
    """Return the units that follow a feature most closely.

    Associations [N] and chances come in pairs: on the whole text, and among positions with the same
    character, where they are NaN if the character determines the feature.
    """
    association, given_character = associations
    chance, chance_given = chances
    strength = np.abs(association)
    strength_given = np.abs(given_character)
    is_beyond = (strength > chance) & (strength_given > chance_given)
    is_determined = bool(np.isnan(chance_given))
    best = []
    for index in np.argsort(-strength, kind="stable")[:BEST].tolist():
        score = association[index]
        if feature.kind == "yes/no":
            score = (score + 1) / 2
        unit = UnitScore(
            layer=index // layer_units,
            unit=index % layer_units,
            score=float(score),
            strength=float(strength[index]),
            strength_given_character=float(strength_given[index]),
            is_beyond_chance=None if is_determined else bool(is_beyond[index]),
        )
        best.append(unit)
    return FeatureScores(
        feature=feature.name,
        kind=feature.kind,
        chance=chance,
        chance_given_character=chance_given,
        best=tuple(best),
        units_beyond_chance=None if is_determined else int(is_beyond.sum()),
    )


def measure(reading: Reading) -> Units:
    """Score the units on features of the text."""
    ids = reading.ids[:MOST_STATES]
    return score_units(reading.states, ids, features_of(ids, reading.trained.vocabulary))


# The page

TEXT = (
    "For each feature of the text, the unit whose output follows it most closely; a unit is one "
    "number of the state. Its strength is 0 if it ignores the feature, and 1 if it tells exactly "
    "where the feature is: AUC is the probability that the output is higher at a character with "
    "the feature than at one without. For a feature that is a number, the strength is a rank "
    'correlation. "Given the character" compares only positions with the same character, so that '
    "recognising the character is not enough. For chance, the feature is shifted along the text by "
    "a random distance, and the best of all units is measured again."
)
MARKERS = {
    "strength": "o",
    "chance": "x",
    "strength given the character": "D",
    "chance given the character": "|",
}
"""Markers in the figure of the numbers in `strengths`."""


def strengths(feature: FeatureScores) -> dict[str, float]:
    """Return the strengths of the best unit on a feature, and their levels of chance."""
    best = feature.best[0]
    return {
        "strength": best.strength,
        "chance": feature.chance,
        "strength given the character": best.strength_given_character,
        "chance given the character": feature.chance_given_character,
    }


def plot(figure: Figure, results: Mapping[Line, Units]) -> None:
    """Draw how closely the best unit follows each feature, and the level of chance."""
    (points,) = add_axes(figure, "The best unit for each feature")
    scores = [(line, feature) for line, units in results.items() for feature in units.features]
    rows = [*dict.fromkeys(feature.feature for _, feature in scores)]
    for line, feature in scores:
        for name, value in strengths(feature).items():
            points.plot(
                [value],
                [rows.index(feature.feature)],
                marker=MARKERS[name],
                color=MUTED if name.startswith("chance") else line.colour,
                fillstyle="none",
                linestyle="",
                label=line.group if line.group and name == "strength" else name,
            )
    points.set_yticks(range(len(rows)), rows)
    points.set(xlim=(0, 1), ylim=(len(rows), -1), xlabel="strength, 0 to 1")


def caption(results: Mapping[Line, Units]) -> str:
    """Return a description of the figure and of its sample, in full sentences."""
    units = next(iter(results.values()))
    return (
        f"Based on the outputs of {counted(units.units, 'unit')} after each of {units.positions}. "
        "Circle: the strength of the best unit. Diamond: its strength given the character; there "
        "is none if the character alone determines the feature. Cross and stroke: the level of "
        f"chance for circle and diamond, the {CHANCE_PERCENTILE}th percentile over {SHIFTS} "
        "shifts of the feature. A unit follows a feature if its circle is to the right of the "
        "cross and its diamond to the right of the stroke. Features that occur fewer than "
        f"{MIN_COUNT} times are left out."
    )


def details(results: Mapping[Line, Units]) -> str:
    """Return a table of the best unit on each feature, for a single run."""
    if len(results) > 1:
        return ""
    (units,) = results.values()
    rows = []
    for feature in units.features:
        best = feature.best[0]
        unit = f"rnn.{best.layer}, unit {best.unit}"
        numbers = strengths(feature).values()
        rows.append((feature.feature, unit, best.score, *numbers, feature.units_beyond_chance))
    head = ("feature", "best unit", "AUC or correlation", *MARKERS, "units beyond chance")
    caption = (
        "Units beyond chance: all units with both strengths above chance. A dash: the character "
        "alone determines the feature. The position in the word counts from 1 and is 0 outside "
        "words. A heading is a line of up to 40 characters that follows an empty line and ends "
        "with a colon. Quotes and brackets extend to their closing sign, or to an empty line."
    )
    return table(head, rows, caption=caption, summary="The best unit for each feature")


SECTION = Section(
    name="units",
    title="What single units detect",
    equation="strength = |2 AUC &minus; 1| of h<sub>t</sub>[unit] or |rank correlation|",
    text=TEXT,
    measure=measure,
    details=details,
    plot=plot,
    caption=caption,
)
