"""Which units of a network follow a feature of the text, compared with what chance gives.

Axes: T the characters of the text, H the units of a layer, N those of all layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from charlm.inspection.association import associate, centred_ranks, chance_level, shift_within
from charlm.inspection.features import Feature, Kind, features_of
from charlm.inspection.figures import BLUE, ORANGE, PURPLE, bars, canvas, legend, room_for
from charlm.inspection.reading import MOST_STATES, Reading
from charlm.inspection.section import Found
from charlm.network.rnn import State
from charlm.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
    return Found(units, partial(draw_units, units) if items else None, items, positions=units.positions)


def draw_units(units: Units) -> "Figure":
    """Draw how closely the best unit follows each feature, beside what chance gives."""
    names, best = [each.feature for each in units.features], [each.best[0] for each in units.features]
    rows = max(3, len(names))
    figure, (axes,) = canvas("The best unit on each feature", height=0.28 * rows, left=room_for(names))
    bars(axes, names, [each.strength for each in best], rows=rows, label="best unit", alpha=0.3)
    for values, marker, size, colour, label in (
        ([each.strength_given_character for each in best], "o", 4.5, BLUE, "given the character"),
        ([each.chance for each in units.features], "|", 11.0, ORANGE, "chance"),
        ([each.chance_given_character for each in units.features], "x", 5.5, PURPLE, "chance, given the character"),
    ):
        style: dict[str, Any] = {"linestyle": "", "marker": marker, "markersize": size, "markeredgewidth": 1.6}
        axes.plot(np.array(values, np.float64), range(len(names)), label=label, color=colour, **style)
    axes.set(xlabel="strength, |2 AUC \N{MINUS SIGN} 1| or |correlation|", ylabel="feature", xlim=(0, 1.02))
    legend(figure)
    return figure
