"""What all figures have in common: colours, a blank canvas, pieces that several draw, and a figure as an image.

Nothing here computes: a figure draws the plain data of a report. matplotlib is imported when the first one is drawn,
without pyplot and its global state; the numbers of a report do without it. The hues are those of Okabe and Ito (2008),
which the colour-blind can tell apart; lines differ by their dashes too.
"""

import base64
import contextlib
import io
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

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


def share_limits(figures: Sequence[Figure]) -> None:
    """Give the axes of the same place in several figures the same limits, so that runs can be compared by eye.

    Args:
        figures: Of the same kind, one for each run; figures with other numbers of axes are left as they are.

    """
    if len({len(figure.axes) for figure in figures}) != 1:
        return
    for same in zip(*(figure.axes for figure in figures), strict=True):
        for name in ("xlim", "ylim") if len({(axes.get_xscale(), axes.get_yscale()) for axes in same}) == 1 else ():
            limits = np.array([getattr(axes, f"get_{name}")() for axes in same])
            is_inverted = limits[0, 0] > limits[0, 1]
            both = (limits.max(), limits.min()) if is_inverted else (limits.min(), limits.max())
            for axes in same:
                axes.set(**{name: both})


def series(index: int) -> dict[str, Any]:
    """Return the colour and the dashes of a line by its number in the figure, from 0."""
    return {"color": SERIES[index % len(SERIES)], "linestyle": DASHES[index % len(DASHES)]}


def draw_curves(axes: Axes, x: ArrayLike, drawn: Mapping[str, Sequence[ArrayLike]]) -> None:
    """Draw curves on a logarithmic axis, where they are finite and above 0.

    Args:
        axes: Where.
        x: Of all points.
        drawn: Each curve by its label, with the edges of a band if it has one; a label that begins with _ is not shown.

    """
    for index, (label, each) in enumerate(drawn.items()):
        line, *edges = (np.where(np.isfinite(values) & np.greater(values, 0), values, np.nan) for values in each)
        if edges:
            axes.fill_between(x, edges[0], edges[1], color=SERIES[index % len(SERIES)], alpha=0.18, linewidth=0)
        is_point = np.isfinite(line).sum() == 1  # which a line does not show
        axes.plot(x, line, label=label, marker="o" if is_point else "", **series(index))
    largest = np.nanmax([*(np.ravel(values) for each in drawn.values() for values in each)], initial=0)
    if largest > 0:
        axes.set_yscale("log")
        if axes.get_ylim()[0] < FLOOR:
            axes.set_ylim(FLOOR, 3 * max(largest, FLOOR))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")


def bars(axes: Axes, names: Sequence[str], lengths: Sequence[float], *, rows: int, label: str, alpha: float) -> None:
    """Draw a bar for each name, from the top down, with room for a number of rows."""
    places = np.arange(len(names))
    axes.barh(places, lengths, height=0.62, color=BLUE, alpha=alpha, label=label)
    axes.set_yticks(places, names, color=INK)
    axes.set_ylim(rows - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def legend(figure: Figure, *, columns: int = 3) -> None:
    """Draw a legend of all axes above them, and make the figure so much higher; none if nothing has a label."""
    pairs = (zip(*axes.get_legend_handles_labels(), strict=True) for axes in figure.axes)
    named = {label: handle for handle, label in chain.from_iterable(pairs)}
    if named:
        figure.set_figheight(figure.get_figheight() + LEGEND_LINE * -(-len(named) // columns))
        figure.legend([*named.values()], [*named], loc="outside upper left", ncols=columns, borderaxespad=0.2)
