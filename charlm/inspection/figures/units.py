"""Figures of the units: what they follow, how their outputs are spread, and a map of the characters."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from charlm.inspection.characters import CharacterMap, Projection
from charlm.inspection.figures.lines import layer_name, legend, rule
from charlm.inspection.figures.look import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, YELLOW, canvas
from charlm.inspection.saturation import LayerSaturation, Saturation
from charlm.inspection.units import Units
from charlm.inspection.visible import visible

KIND_COLOURS = {
    "vowel": ORANGE,
    "consonant": BLUE,
    "digit": GREEN,
    "blank": PURPLE,
    "punctuation": YELLOW,
    "other": INK,
    "reserved": MUTED,
}
"""Of the characters on the map."""


def draw_features(units: Units) -> Figure:
    """Draw how closely the best unit follows each feature, beside what chance gives."""
    figure, ((axes,),) = canvas(height=1.2 + 0.28 * max(3, len(units.features)))
    rows = np.arange(len(units.features))
    best = [each.best[0].strength if each.best else np.nan for each in units.features]
    given = [each.best[0].strength_given_character if each.best else np.nan for each in units.features]
    chances = [each.chance for each in units.features]
    axes.barh(rows, best, height=0.6, color=BLUE, alpha=0.3, label="best unit")
    _mark(axes, given, rows, marker="o", colour=BLUE, label="given the character")
    _mark(axes, [each.shifted for each in chances], rows, marker="|", colour=ORANGE, label="chance: shifted")
    _mark(axes, [each.random_labels for each in chances], rows, marker="x", colour=PURPLE, label="chance: labels")
    untrained = [np.nan if each.untrained is None else each.untrained for each in chances]
    _mark(axes, untrained, rows, marker="D", colour=GREEN, label="untrained network")
    axes.set_yticks(rows, [each.feature for each in units.features], color=INK)
    axes.set(xlabel="strength, |2 AUC \N{MINUS SIGN} 1| or |correlation|", xlim=(0, 1.02))
    axes.set_ylim(len(units.features) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    legend(figure)
    return figure


def _mark(axes: Axes, values: Sequence[float], rows: ArrayLike, *, marker: str, colour: str, label: str) -> None:
    if np.isfinite(values).any():
        size = {"|": 11.0, "x": 5.5}.get(marker, 4.5)
        axes.plot(
            values,
            rows,
            linestyle="",
            marker=marker,
            markersize=size,
            markeredgewidth=1.6,
            color=colour,
            label=label,
        )


def draw_saturation(saturation: Saturation) -> Figure:
    """Draw a histogram of the outputs of each layer."""
    count = len(saturation.layers)
    figure, rows = canvas(count, height=0.6 + 1.35 * count)
    for (axes,), layer in zip(rows, saturation.layers, strict=True):
        _draw_histogram(axes, layer, saturation.threshold)
    rows[-1][0].set_xlabel("output h")
    return figure


def _draw_histogram(axes: Axes, layer: LayerSaturation, threshold: float) -> None:
    share = layer.counts / max(1, layer.counts.sum())
    centres, widths = (layer.edges[1:] + layer.edges[:-1]) / 2, np.diff(layer.edges)
    is_extreme = (np.abs(centres) > threshold) if layer.saturated_share is not None else np.zeros(len(centres), bool)
    for chosen, colour in ((~is_extreme, BLUE), (is_extreme, ORANGE)):
        if chosen.any():
            axes.bar(centres[chosen], share[chosen], width=widths[chosen], color=colour, alpha=0.85)
    axes.set_title(layer_name(layer.layer), loc="left")
    axes.set_ylabel("share")


def draw_character_map(characters: CharacterMap, names: Sequence[str | None]) -> Figure:
    """Draw the characters by their input rows and by their output columns, close if their weights are alike.

    Args:
        characters: The map.
        names: The character of each id.

    """
    figure, ((upper,), (lower,)) = canvas(2, height=7.2)
    for axes, projection, title in (
        (upper, characters.by_input, "as input: rows of U"),
        (lower, characters.by_output, "as output: columns of W"),
    ):
        _draw_map(axes, characters, projection, names)
        axes.set_title(title, loc="left")
    for kind in dict.fromkeys(characters.kinds):
        upper.plot([], [], linestyle="", marker="s", markersize=5, color=KIND_COLOURS.get(kind, INK), label=kind)
    legend(figure, columns=4)
    return figure


def _draw_map(axes: Axes, characters: CharacterMap, projection: Projection, names: Sequence[str | None]) -> None:
    axes.plot(*projection.points.T, linestyle="", marker="", color=INK)  # sets the limits
    rule(axes, x=0, y=0)
    for (x, y), index, kind in zip(projection.points, characters.ids, characters.kinds, strict=True):
        colour = KIND_COLOURS.get(kind, INK)
        axes.text(x, y, visible(names[index]), ha="center", va="center", fontsize=9, color=colour, clip_on=True)
    first, second = (f"{100 * share:.4g}%" for share in projection.explained)
    axes.set(xlabel=f"first component ({first})", ylabel=f"second component ({second})")
    axes.margins(0.06)
