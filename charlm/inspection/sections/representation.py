"""What the units and states of a network stand for."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from charlm.inspection.look import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, YELLOW, canvas, legend, rule
from charlm.inspection.passages import browser, gallery, visible
from charlm.inspection.reading import FEW_STATES, MOST_STATES, Reading
from charlm.inspection.sections.section import Chart, Quantity, Report, Rows, Section, Table, layer_name
from charlm.inspection.states import (
    CharacterMap,
    LayerSaturation,
    Projection,
    Saturation,
    Trajectory,
    follow_state,
    map_characters,
    measure_saturation,
)
from charlm.inspection.units import Units, score_units

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KIND_COLOURS = {
    **{"vowel": ORANGE, "consonant": BLUE, "digit": GREEN, "blank": PURPLE, "punctuation": YELLOW},
    **{"other": INK, "reserved": MUTED},
}
"""Of the characters on the map."""


def make_units(reading: Reading) -> Units:
    """Score the units on features of the text, beside those of an untrained network."""
    ids = reading.ids[:MOST_STATES]
    return score_units(reading.states, ids, reading.vocabulary, untrained=reading.initial_states)


def draw_features(units: Units) -> "Figure":
    """Draw how closely the best unit follows each feature, beside what chance gives."""
    figure, ((axes,),) = canvas(height=1.2 + 0.28 * max(3, len(units.features)))
    rows = np.arange(len(units.features))
    best = [each.best[0].strength if each.best else np.nan for each in units.features]
    given = [each.best[0].strength_given_character if each.best else np.nan for each in units.features]
    chances = [each.chance for each in units.features]
    untrained = [np.nan if each.untrained is None else each.untrained for each in chances]
    axes.barh(rows, best, height=0.6, color=BLUE, alpha=0.3, label="best unit")
    _mark(axes, given, rows, marker="o", colour=BLUE, label="given the character")
    _mark(axes, [each.shifted for each in chances], rows, marker="|", colour=ORANGE, label="chance: shifted")
    _mark(axes, [each.random_labels for each in chances], rows, marker="x", colour=PURPLE, label="chance: labels")
    _mark(axes, untrained, rows, marker="D", colour=GREEN, label="untrained network")
    axes.set_yticks(rows, [each.feature for each in units.features], color=INK)
    axes.set(xlabel="strength, |2 AUC \N{MINUS SIGN} 1| or |correlation|", xlim=(0, 1.02))
    axes.set_ylim(len(units.features) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    legend(figure)
    return figure


def _mark(axes: "Axes", values: Sequence[float], rows: ArrayLike, *, marker: str, colour: str, label: str) -> None:
    if np.isfinite(values).any():
        size = {"|": 11.0, "x": 5.5}.get(marker, 4.5)
        style: dict[str, Any] = {
            "linestyle": "",
            "marker": marker,
            "markersize": size,
            "markeredgewidth": 1.6,
            "color": colour,
        }
        axes.plot(values, rows, label=label, **style)


def draw_saturation(saturation: Saturation) -> "Figure":
    """Draw a histogram of the outputs of each layer."""
    count = len(saturation.layers)
    figure, rows = canvas(count, height=0.6 + 1.35 * count)
    for (axes,), layer in zip(rows, saturation.layers, strict=True):
        _draw_histogram(axes, layer, saturation.borders)
    rows[-1][0].set_xlabel("output h")
    return figure


def _draw_histogram(axes: "Axes", layer: LayerSaturation, borders: tuple[float, float] | None) -> None:
    share = layer.counts / max(1, layer.counts.sum())
    centres, widths = (layer.edges[1:] + layer.edges[:-1]) / 2, np.diff(layer.edges)
    low, high = borders or (-np.inf, np.inf)
    is_extreme = (centres < low) | (centres > high)
    for chosen, colour in ((~is_extreme, BLUE), (is_extreme, ORANGE)):
        if chosen.any():
            axes.bar(centres[chosen], share[chosen], width=widths[chosen], color=colour, alpha=0.85)
    axes.set_title(layer_name(layer.layer), loc="left")
    axes.set_ylabel("share")


def draw_trajectory(path: Trajectory, characters: Sequence[str | None]) -> "Figure":
    """Draw the path of the state through a sentence, each point with the character just read."""
    figure, ((axes,),) = canvas(height=4.2)
    if len(path.background):
        axes.plot(*path.background.T, linestyle="", marker=".", markersize=2.5, color=MUTED, alpha=0.45)
    axes.plot(*path.points.T, color=BLUE, linewidth=0.9, alpha=0.75)
    for (x, y), index in zip(path.points, path.ids, strict=True):
        axes.text(x, y, visible(characters[index]), ha="center", va="center", fontsize=9, clip_on=True)
    if len(path.points):
        axes.plot(*path.points[0], marker="o", markersize=11, markerfacecolor="none", markeredgecolor=ORANGE)
    low, high = np.percentile(np.concatenate([path.points, path.background]), [2, 98], axis=0)
    low, high = np.minimum(low, path.points[0]), np.maximum(high, path.points[0])  # the ring is always in view
    for limit, start, end in ((axes.set_xlim, low[0], high[0]), (axes.set_ylim, low[1], high[1])):
        margin = (end - start) / 8 or 1.0  # outliers are cut off
        limit(start - margin, end + margin)
    first, second = (f"{100 * share:.4g}%" for share in path.explained)
    axes.set(xlabel=f"first component ({first} of the variance)", ylabel=f"second component ({second})")
    return figure


def draw_character_map(found: CharacterMap, characters: Sequence[str | None]) -> "Figure":
    """Draw the characters by their input rows and by their output columns, close if their weights are alike.

    Args:
        found: The map.
        characters: The character of each id.

    """
    figure, ((upper,), (lower,)) = canvas(2, height=7.2)
    for axes, projection, title in (
        (upper, found.by_input, "as input: rows of U"),
        (lower, found.by_output, "as output: columns of W"),
    ):
        _draw_map(axes, found, projection, characters)
        axes.set_title(title, loc="left")
    for kind in dict.fromkeys(found.kinds):
        upper.plot([], [], linestyle="", marker="s", markersize=5, color=KIND_COLOURS.get(kind, INK), label=kind)
    legend(figure, columns=4)
    return figure


def _draw_map(axes: "Axes", found: CharacterMap, projection: Projection, characters: Sequence[str | None]) -> None:
    axes.plot(*projection.points.T, linestyle="", marker="", color=INK)  # sets the limits
    rule(axes, x=0, y=0)
    for (x, y), index, kind in zip(projection.points, found.ids, found.kinds, strict=True):
        colour = KIND_COLOURS.get(kind, INK)
        axes.text(x, y, visible(characters[index]), ha="center", va="center", fontsize=9, color=colour, clip_on=True)
    first, second = (f"{100 * share:.4g}%" for share in projection.explained)
    axes.set(xlabel=f"first component ({first})", ylabel=f"second component ({second})")
    axes.margins(0.06)


def feature_rows(units: Units) -> Rows:
    """Return a row for the best unit on each feature."""
    return [
        (
            *(each.feature, f"{layer_name(best.layer)}, unit {best.unit}"),
            *(best.score, best.strength, best.strength_given_character),
            *(each.chance.shifted, each.chance.random_labels, each.chance.shifted_given_character),
            *(each.chance.untrained, each.chance.untrained_given_character, each.units_beyond_chance),
        )
        for each in units.features
        for best in each.best[:1]
    ]


def saturation_rows(saturation: Saturation) -> Rows:
    """Return a row for each layer."""
    return [
        (
            *(layer_name(each.layer), each.units, each.saturated_share, each.always_saturated_units),
            *(each.dead_units, each.participation_ratio),
        )
        for each in saturation.layers
    ]


def view_units(report: Report, run: int) -> str:
    """Return the most interpretable units on the text, and a browser of all."""
    units: Units | None = report.get("units")
    if units is None:
        return ""
    return gallery(units, report.characters) + browser(units, report.characters, run=run)


UNITS = Section(
    "units",
    "What single units follow",
    "strength = |2 AUC \N{MINUS SIGN} 1| of h_t[unit] for a feature of the text, or |rank correlation|",
    "The units named here are beyond what shifted texts give, and closer than those of the untrained network; where "
    "random labels reach further than the bar, it is the round dot, which accounts for the character just read, that "
    "is beyond chance.",
    (Quantity("units", make_units),),
    (
        Chart(
            "units",
            "strength of the best unit on each feature, and what chance gives",
            lambda units: draw_features(units) if units.features else None,
        ),
    ),
    (
        Table(
            "The best unit on each feature",
            (
                *("feature", "unit", "score", "strength", "given the character", "shifted", "random labels"),
                *("shifted, given the character", "untrained", "untrained, given the character", "units beyond chance"),
            ),
            feature_rows,
        ),
    ),
    view_units,
)
SATURATION = Section(
    "saturation",
    "Saturation and dimension",
    "share of f'(a) < 0.19 max f'; participation ratio (sum l_i)^2 / sum l_i^2 of the covariance of h",
    "Outputs at the ends of the range pass no gradient, since f' is near 0 there; "
    "the participation ratio says how many directions the states fill.",
    (Quantity("saturation", lambda reading: measure_saturation(reading.few_states, reading.parameters.activation)),),
    (Chart("saturation", "histogram of the outputs of each layer", draw_saturation),),
    (
        Table(
            "By layer",
            ("layer", "units", "saturated", "always saturated", "dead", "participation ratio"),
            saturation_rows,
            is_folded=False,
        ),
    ),
)
TRAJECTORY = Section(
    "trajectory",
    "The state's path through a sentence",
    "z_t = (h_t \N{MINUS SIGN} mean h) P, P the first two principal components",
    "The path begins at the ring; where characters of one kind lie together, the state tells them from the others.",
    (
        Quantity(
            "trajectory",
            lambda reading: follow_state(reading.few_states, reading.ids[:FEW_STATES], reading.vocabulary),
        ),
    ),
    (
        Chart(
            "trajectory",
            "the state of the highest layer after each character of a sentence, and at other places of the text",
            draw_trajectory,
            ("trajectory", "characters"),
            shares_limits=False,
        ),
    ),
)
CHARACTER_MAP = Section(
    "character_map",
    "A map of the characters",
    "row c of U, column c of W, in two principal components",
    "Characters that lie together are read alike, or predicted alike: if vowels form a group, the network has found "
    "out by itself that there are vowels.",
    (Quantity("character_map", lambda reading: map_characters(reading.parameters, reading.ids, reading.vocabulary)),),
    (
        Chart(
            "character-map",
            "the characters by input row and by output column",
            draw_character_map,
            ("character_map", "characters"),
            shares_limits=False,
        ),
    ),
)
