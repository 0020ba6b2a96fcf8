"""What all figures have in common: colours, a blank canvas, curves of one run or of several, and a figure as an image.

A figure draws the plain data of a report. matplotlib is imported when the first one is drawn,
without pyplot and its global state; the numbers of a report do without it. The hues are those of Okabe and Ito (2008),
which the colour-blind can tell apart; lines differ by their dashes too.
"""

import base64
import contextlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from charlm.text.markup import safe

if TYPE_CHECKING:
    # for the modules beside this one too, which draw without importing matplotlib
    from matplotlib.axes import Axes as Axes  # noqa: PLC0414
    from matplotlib.figure import Figure as Figure  # noqa: PLC0414
else:
    Axes = Figure = Any

COLOURS: Mapping[str, tuple[str, str]] = {
    "ink": ("#1b1f24", "#e8eaed"),
    "muted": ("#5c6570", "#a3abb5"),
    "grid": ("#d9dde2", "#3a4149"),
    "paper": ("#ffffff", "#16191d"),
    "blue": ("#0072b2", "#56b4e9"),
    "orange": ("#c45500", "#f0883e"),
    "green": ("#00805d", "#2ec99b"),
    "purple": ("#a8518a", "#e39cc3"),
    "yellow": ("#8a6d00", "#e6c229"),
}
"""Each colour by its name: the hexadecimal digits in the light theme, and in the dark one. Figures are drawn in those
of the light theme; in the dark one the page inverts their lightness."""
INK, MUTED, GRID, PAPER, BLUE, ORANGE, GREEN, PURPLE, YELLOW = (light for light, _ in COLOURS.values())
SERIES = (BLUE, ORANGE, GREEN, PURPLE, YELLOW)
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (4, 1.5, 1, 1.5)), (0, (7, 3)))
"""Of the lines of SERIES, in the same order."""
MARKERS = ("o", "D", "x", "|", "s")
"""Of the points of SERIES, in the same order."""
RULE: Mapping[str, Any] = {"color": MUTED, "linewidth": 0.8, "zorder": 1}
"""The style of a thin line across the axes."""

WIDTH, HEIGHT = 4.8, 2.1
"""Inches, of a figure and of one drawing area; it fills the width of a phone, and its letters stay readable."""
AROUND, LEGEND_LINE = 0.7, 0.2
"""Inches that are written above and below a drawing area, and of a line of the legend."""
FLOOR = 1e-10
"""Of logarithmic axes: less than this is rounding, and would press the rest together."""
_STYLE = {
    **dict.fromkeys(("axes.labelcolor", "text.color"), INK),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), MUTED),
    **dict.fromkeys(("axes.axisbelow", "axes.grid"), True),
    **dict.fromkeys(("axes.spines.right", "axes.spines.top", "legend.frameon"), False),
    **dict.fromkeys(("axes.titlesize", "font.size"), 9),
    **dict.fromkeys(("legend.fontsize", "xtick.labelsize", "ytick.labelsize"), 8),
    **{"axes.facecolor": "none", "grid.color": GRID, "grid.linewidth": 0.6, "font.family": "DejaVu Sans"},
    **{"svg.fonttype": "none", "svg.hashsalt": "charlm"},
}


def figure_style() -> contextlib.AbstractContextManager[None]:
    """Draw and save figures in the style of a report, whatever the user's own settings of matplotlib are."""
    from matplotlib import style

    return style.context(["default", _STYLE])


def canvas(*titles: str, columns: int = 1, height: float = HEIGHT) -> tuple[Figure, list[Axes]]:
    """Return an empty figure and its axes.

    Args:
        titles: Of the axes, row by row.
        columns: How many axes stand side by side.
        height: Of each axes in inches, without what is written round it.

    """
    from matplotlib.figure import Figure

    rows = -(-len(titles) // columns)
    figure = Figure(figsize=(WIDTH, rows * (height + AROUND)), layout="constrained")
    found = [figure.add_subplot(rows, columns, place) for place in range(1, len(titles) + 1)]
    for axes, title in zip(found, titles, strict=True):
        axes.set_title(title, loc="left")
    return figure, found


def theme_css() -> str:
    """Return the colours as CSS variables, light and dark."""
    light, dark = (";".join(f"--{name}:{pair[index]}" for name, pair in COLOURS.items()) for index in (0, 1))
    return f":root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}"


def image(figure: Figure, *, label: str) -> str:
    """Return a figure as an <img> element that loads nothing; `label` says what it shows, for a screen reader."""
    file = io.BytesIO()
    names = ("Date", "Creator", "Format", "Type")  # none of them: the same figure gives the same bytes
    figure.savefig(file, format="svg", facecolor="none", metadata=dict.fromkeys(names))
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return f'<img class="chart" alt="{safe(label)}" src="data:image/svg+xml;base64,{data}">'


def series(index: int) -> dict[str, Any]:
    """Return the colour and the dashes of a line by its number in the figure, from 0."""
    return {
        "color": SERIES[index % len(SERIES)],
        "linestyle": DASHES[(index + index // len(SERIES)) % len(DASHES)],  # other dashes when the colours come again
    }


@dataclass(frozen=True, eq=False)
class Curve:
    """Values by a number, or by a name."""

    x: Sequence[Any] | NDArray[Any]
    """Numbers, or names."""
    y: Sequence[float | None] | NDArray[Any]
    """As many; what is not finite is a gap."""
    band: Sequence[NDArray[Any]] = ()
    """The lower and the upper edge around it; () = none."""


def with_errors(x: Sequence[Any] | NDArray[Any], y: NDArray[Any], errors: NDArray[Any]) -> Curve:
    """Return a curve with a band of errors to both sides; none where an error is NaN."""
    return Curve(x, y, (y - errors, y + errors))


@dataclass(frozen=True, eq=False)
class Panel:
    """A drawing area: curves by the name that the legend gives them, or points in a row for each of some names."""

    title: str
    labels: tuple[str, str]
    """Of the horizontal axis and of the vertical one."""
    curves: Mapping[str, Curve]
    """What is drawn beside that of other runs."""
    besides: Mapping[str, Curve] = field(default_factory=dict)
    """What is drawn for a single run alone."""
    scale: Literal["linear", "log", "doublings", "names"] = "linear"
    """log: of the values; doublings: of x; names: x are names, from the top down, and the values are to the right."""
    rule: float | None = None
    """A value at which a thin line crosses the axes."""


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """Return the mean of a curve of several runs, with the standard error as a band, as far as all of them reach."""
    size, count = min(len(curve.y) for curve in curves), len(curves)
    x, values = curves[0].x[:size], np.array([curve.y[:size] for curve in curves], np.float64)
    return (
        with_errors(x, values.mean(0), values.std(0, ddof=1) / math.sqrt(count)) if count > 1 else Curve(x, values[0])
    )


def compare_panels(runs: Mapping[str, Sequence[Sequence[Panel]]]) -> list[Panel]:
    """Return the panels of a section of several runs as panels that each show one quantity of all runs.

    Args:
        runs: By the name that the legend gives them: the panels of one run, or of several, whose mean is drawn.

    """
    panels: dict[str, Panel] = {}
    for run, seeds in runs.items():
        for same in zip(*seeds, strict=False):  # a seed may lack what the others have
            for name in same[0].curves:
                title = f"{same[0].title}{name and f': {name}'}"
                panel = panels.setdefault(title, replace(same[0], title=title, curves={}, besides={}))
                curve = mean_curve([each.curves[name] for each in same])
                panels[title] = replace(panel, curves={**panel.curves, run: curve})
    return [*panels.values()]


def draw_panels(panels: Sequence[Panel]) -> Figure:
    """Draw panels of one kind one below the other, with a legend above them."""
    drawn = [{**panel.curves, **panel.besides} for panel in panels]
    names = [list(dict.fromkeys(name for each in curves.values() for name in each.x)) for curves in drawn]
    is_named = panels[0].scale == "names"
    height = 0.27 * max(3, *map(len, names)) if is_named else HEIGHT if len(panels) == 1 else 1.5
    figure, grid = canvas(*(panel.title for panel in panels), height=height)
    named = dict.fromkeys(name for curves in drawn for name in curves if name)
    numbers = {"": 0, **{name: index for index, name in enumerate(named)}}  # the same style in every panel
    for axes, panel, curves, places in zip(grid, panels, drawn, names, strict=True):
        axes.set(xlabel=panel.labels[0], ylabel=panel.labels[1])
        lines = [(numbers[name], name, curve) for name, curve in curves.items()]
        if is_named:
            _draw_points(axes, lines, places)
        else:
            _draw_lines(axes, lines, panel)
    longest = max(len(name) for curves in drawn for name in curves)
    legend(figure, columns=1 if longest > 40 else 2)
    return figure


def _draw_points(axes: Axes, curves: Sequence[tuple[int, str, Curve]], names: Sequence[str]) -> None:
    for index, name, curve in curves:
        y, rows = np.array(curve.y, np.float64), [names.index(each) for each in curve.x]
        errors = np.abs([edge - y for edge in curve.band]) if curve.band else None
        style: dict[str, Any] = {"color": SERIES[index % len(SERIES)], "marker": MARKERS[index % len(MARKERS)]}
        axes.errorbar(y, rows, xerr=errors, linestyle="", elinewidth=1, mfc="none", markersize=5, label=name, **style)
    axes.set_yticks(range(len(names)), names, color=INK)
    axes.set(xlim=(0, 1.04 * axes.dataLim.x1 or 1), ylim=(len(names) - 0.4, -0.6))


def _draw_lines(axes: Axes, curves: Sequence[tuple[int, str, Curve]], panel: Panel) -> None:
    is_log, largest = panel.scale == "log", 0.0
    for index, name, curve in curves:
        rows = np.array([curve.y, *curve.band], np.float64)
        line, *edges = np.where(np.isfinite(rows) & ((rows > 0) | (not is_log)), rows, np.nan)
        if edges:
            axes.fill_between(curve.x, *edges, color=SERIES[index % len(SERIES)], alpha=0.18, linewidth=0)
        is_point = np.isfinite(line).sum() == 1  # which a line does not show
        marker, fill = ("D", "none") if index == 1 else ("o", "full")  # the second may lie on the first
        style = {**series(index), "marker": marker if is_point else "", "fillstyle": fill, "clip_on": not is_point}
        axes.plot(curve.x, line, label=name, **style)
        largest = max(largest, np.nan_to_num([line, *edges]).max())
    if panel.rule is not None:
        axes.axhline(panel.rule, **RULE)
    if panel.scale == "doublings":
        axes.set_xscale("symlog", base=2, linthresh=1)
        axes.set_xlim(-0.2, None)
        axes.xaxis.set_major_formatter("{x:g}")
    elif largest > 0 and is_log:
        axes.set_xlim(0, max(1, *(curve.x[-1] for _, _, curve in curves)))
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        if low < FLOOR:
            axes.set_ylim(FLOOR, 3 * max(largest, FLOOR))
        elif high < 10 * low:  # there may be no power of ten, which alone has a number
            axes.set_ylim(low / 3.2, high * 3.2)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")


def legend(figure: Figure, *, columns: int = 3) -> None:
    """Draw a legend of all axes above them, and make the figure so much higher; none if nothing has a label."""
    pairs = (zip(*axes.get_legend_handles_labels(), strict=True) for axes in figure.axes)
    named = {label: handle for handle, label in chain.from_iterable(pairs)}
    if named:
        figure.set_figheight(figure.get_figheight() + LEGEND_LINE * -(-len(named) // columns))
        figure.legend([*named.values()], [*named], loc="outside upper left", ncols=columns, borderaxespad=0.2)
