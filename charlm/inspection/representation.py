"""What the units and states of a network stand for."""

from typing import TYPE_CHECKING, Any

import numpy as np

from charlm.inspection.look import BLUE, INK, ORANGE, PURPLE, canvas, legend, room_for
from charlm.inspection.passages import browser
from charlm.inspection.reading import MOST_STATES, Reading
from charlm.inspection.section import Chart, Quantity, Report, Rows, Section, Table, layer_name
from charlm.inspection.states import Saturation, measure_saturation
from charlm.inspection.units import Units, score_units

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
        axes.plot(values, rows, label=label, color=colour, **style)
    axes.set_yticks(rows, names, color=INK)
    axes.set(xlabel="strength, |2 AUC \N{MINUS SIGN} 1| or |correlation|", ylabel="feature", xlim=(0, 1.02))
    axes.set_ylim(len(units.features) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    legend(figure)
    return figure


def draw_saturation(saturation: Saturation) -> "Figure":
    """Draw a histogram of the outputs of each layer."""
    figure, found = canvas(*(f"Outputs of {layer_name(each.layer)}" for each in saturation.layers), height=1.05)
    for axes, layer in zip(found, saturation.layers, strict=True):
        centres, widths = (layer.edges[1:] + layer.edges[:-1]) / 2, np.diff(layer.edges)
        whole = max(1, layer.counts.sum())
        axes.bar(centres, layer.counts / whole, width=widths, color=BLUE, alpha=0.85, label="outputs")
        axes.bar(centres, layer.saturated_counts / whole, width=widths, color=ORANGE, label="saturated")
        axes.set(xlabel="output h", ylabel="share of outputs")
    legend(figure)
    return figure


def feature_rows(units: Units) -> Rows:
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


def saturation_rows(saturation: Saturation) -> Rows:
    """Return a row for each layer."""
    return [
        (
            *(layer_name(each.layer), each.units, each.saturated_share, each.always_saturated_units),
            each.participation_ratio,
        )
        for each in saturation.layers
    ]


def view_units(report: Report, run: int) -> str:
    """Return the text coloured by any unit."""
    units: Units | None = report.get("units")
    return "" if units is None else browser(units, report.characters, run=run)


UNITS = Section(
    "units",
    "What single units follow",
    "strength = |2 AUC \N{MINUS SIGN} 1| of h_t[unit] for a feature of the text, or |rank correlation|",
    "A unit follows a feature if its bar ends right of the stroke and its dot lies right of the cross: "
    "the dot is what the character just read does not explain.",
    (Quantity("units", make_units),),
    (
        Chart(
            "units",
            "strength of the best unit on each feature: bar, on the whole text; dot, among positions with the same "
            "character; stroke and cross, what chance gives for the bar and for the dot",
            lambda units: draw_features(units) if units.features else None,
        ),
    ),
    (
        Table(
            "The best unit on each feature",
            (
                *("feature", "best unit", "score", "strength", "strength given the character", "strength by chance"),
                *("by chance, given the character", "units beyond chance"),
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
    "A saturated output passes hardly any gradient, since f' is near 0 there; "
    "the participation ratio says how many directions the states fill.",
    (Quantity("saturation", lambda reading: measure_saturation(reading.trace)),),
    (
        Chart(
            "saturation",
            "histogram of the outputs of each layer: the share of outputs in each of 40 bins",
            draw_saturation,
        ),
    ),
    (
        Table(
            "By layer",
            ("layer", "units", "share of saturated outputs", "units always saturated", "participation ratio"),
            saturation_rows,
            is_folded=False,
        ),
    ),
)
