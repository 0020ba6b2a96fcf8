"""What all figures have in common: colours, a blank canvas, pieces that several draw, and a figure as an image.

Nothing here computes: a figure draws the plain data of a report. matplotlib is imported when the first one is drawn,
without pyplot and its global state; the numbers of a report do without it. The hues are those of Okabe and Ito (2008),
which the colour-blind can tell apart; lines differ by their dashes too.
"""

import base64
import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from charlm.text.markup import safe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
RULE: Mapping[str, Any] = {"color": MUTED, "linewidth": 0.8, "zorder": 1}
"""The style of a thin line across the axes."""

WIDTH, HEIGHT = 4.8, 2.1
"""Inches, of a figure and of one drawing area; it fills the width of a phone, and its letters stay readable."""
LEFT, RIGHT, TOP, BOTTOM, GAP, LEGEND_LINE = 0.78, 0.15, 0.3, 0.45, 0.65, 0.2
"""Inches round a drawing area, between two of them, and of a line of the legend. They are fixed: to compute them from
the letters, as matplotlib can, takes longer than all the rest."""
FLOOR = 1e-10
"""Of logarithmic axes: less than this is rounding, and would press the rest together."""
_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "axes.facecolor": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "charlm",
    "text.color": INK,
    "xtick.color": MUTED,
    "xtick.labelsize": 8,
    "ytick.color": MUTED,
    "ytick.labelsize": 8,
}


def figure_style() -> contextlib.AbstractContextManager[None]:
    """Draw and save figures in the style of a report, whatever the user's own settings of matplotlib are."""
    from matplotlib import style

    return style.context(["default", _STYLE])


def canvas(
    *titles: str, columns: int = 1, height: float = HEIGHT, left: float = LEFT, right: float = RIGHT
) -> "tuple[Figure, list[Axes]]":
    """Return an empty figure and its axes.

    Args:
        titles: Of the axes, row by row.
        columns: How many axes stand side by side.
        height: Of each axes in inches, without what is written round it.
        left: Inches for what is written left of the axes.
        right: Inches for what is written right of them.

    """
    from matplotlib.figure import Figure

    rows = -(-len(titles) // columns)
    whole = rows * height + (rows - 1) * GAP + TOP + BOTTOM
    width = (WIDTH - left - right - (columns - 1) * GAP) / columns
    figure = Figure(figsize=(WIDTH, whole))
    figure.subplots_adjust(
        left / WIDTH, BOTTOM / whole, 1 - right / WIDTH, 1 - TOP / whole, wspace=GAP / width, hspace=GAP / height
    )
    found = [figure.add_subplot(rows, columns, place) for place in range(1, len(titles) + 1)]
    for axes, title in zip(found, titles, strict=True):
        axes.set_title(title, loc="left")
    return figure, found


def room_for(labels: Sequence[str]) -> float:
    """Return the inches that names of rows, and the name of their axis, need left of the axes."""
    return 0.4 + 0.075 * max(map(len, labels))


def theme_css() -> str:
    """Return the colours as CSS variables, light and dark."""
    light, dark = (";".join(f"--{name}:{pair[index]}" for name, pair in COLOURS.items()) for index in (0, 1))
    return f":root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}"


def image(figure: "Figure", *, label: str) -> str:
    """Return a figure as an <img> element that loads nothing; `label` says what it shows, for a screen reader."""
    file = io.BytesIO()
    names = ("Date", "Creator", "Format", "Type")  # none of them: the same figure gives the same bytes
    figure.savefig(file, format="svg", facecolor="none", metadata=dict.fromkeys(names))
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return f'<img class="chart" alt="{safe(label)}" src="data:image/svg+xml;base64,{data}">'


def share_limits(figures: "Sequence[Figure]") -> None:
    """Give the axes of the same place in several figures the same limits, so that runs can be compared by eye.

    Args:
        figures: Of the same kind, one for each run; figures with other numbers of axes are left as they are.

    """
    if len({len(figure.axes) for figure in figures}) != 1:
        return
    for same in zip(*(figure.axes for figure in figures), strict=True):
        if len({(axes.get_xscale(), axes.get_yscale()) for axes in same}) != 1:
            continue
        for get, put in (("get_xlim", "set_xlim"), ("get_ylim", "set_ylim")):
            limits = [getattr(axes, get)() for axes in same]
            low, high = min(min(pair) for pair in limits), max(max(pair) for pair in limits)
            is_inverted = limits[0][0] > limits[0][1]
            for axes in same:
                getattr(axes, put)(*((high, low) if is_inverted else (low, high)))


def series(index: int) -> dict[str, Any]:
    """Return the colour and the dashes of a line by its number in the figure, from 0."""
    return {"color": SERIES[index % len(SERIES)], "linestyle": DASHES[index % len(DASHES)]}


def positive(values: ArrayLike) -> NDArray[np.float64]:
    """Return values for a logarithmic axis: NaN, which is not drawn, in place of 0 and what is not finite."""
    array = np.asarray(values, np.float64)
    return np.where(np.isfinite(array) & (array > 0), array, np.nan)


def band(axes: "Axes", x: ArrayLike, low: ArrayLike, high: ArrayLike, *, colour: str) -> None:
    """Shade the range between two curves."""
    axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)


def bars(axes: "Axes", names: Sequence[str], lengths: Sequence[float], *, rows: int, label: str, alpha: float) -> None:
    """Draw a bar for each name, from the top down, with room for a number of rows."""
    places = np.arange(len(names))
    axes.barh(places, lengths, height=0.62, color=BLUE, alpha=alpha, label=label)
    axes.set_yticks(places, names, color=INK)
    axes.set_ylim(rows - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def log_scale(axes: "Axes", *values: ArrayLike) -> None:
    """Make the vertical axis logarithmic if there is anything above 0 to draw; what is below FLOOR is not shown.

    Args:
        axes: With the curves in it.
        values: The curves.

    """
    shown = positive(np.concatenate([np.ravel(curve) for curve in values]))
    if np.isfinite(shown).any():
        axes.set_yscale("log")
        if axes.get_ylim()[0] < FLOOR:
            axes.set_ylim(FLOOR, 3 * max(float(np.nanmax(shown)), FLOOR))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")


def legend(figure: "Figure", *, columns: int = 3) -> None:
    """Draw a legend of all axes above them, and make the figure so much higher; none if nothing has a label."""
    named: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    if not named:
        return
    before, edges = figure.get_figheight(), figure.subplotpars
    after = before + LEGEND_LINE * -(-len(named) // columns)
    figure.set_figheight(after)
    figure.subplots_adjust(bottom=edges.bottom * before / after, top=edges.top * before / after)
    figure.legend(list(named.values()), list(named), loc="upper left", ncols=columns, borderaxespad=0.2)
