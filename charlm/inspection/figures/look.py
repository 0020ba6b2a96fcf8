"""What all figures have in common: colours that follow the theme of the page, sizes, and a blank canvas.

A figure is drawn in the colours of the light theme. `svg.py` replaces each by the CSS variable of the same name, so
that a page can show the same figure in light and dark. The hues are those of Okabe and Ito (2008), which the
colour-blind can tell apart; lines differ by their dashes too.
"""

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from matplotlib import style
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
"""Each colour by its name: the hexadecimal digits in the light theme, and in the dark one."""
INK, MUTED, GRID, PAPER, BLUE, ORANGE, GREEN, PURPLE, YELLOW = (light for light, _ in COLOURS.values())
SERIES = (BLUE, ORANGE, GREEN, PURPLE, YELLOW)
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (4, 1.5, 1, 1.5)), (0, (7, 3)))
"""Of the lines of SERIES, in the same order."""

WIDTH, HEIGHT = 4.8, 3.0
"""Inches; a figure fills the width of a phone, and the letters stay readable."""
SALT = "charlm"
_LOOK = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": SALT,
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a text is a dollar sign; `lines.log_scale` writes its own powers
    "xtick.color": MUTED,
    "xtick.labelsize": 8,
    "ytick.color": MUTED,
    "ytick.labelsize": 8,
}


@contextlib.contextmanager
def look() -> Iterator[None]:
    """Draw and save figures in the look of a report, whatever the user's own settings of matplotlib are.

    A character that the font lacks is drawn as a box in a PNG, without a warning; a page shows it in its own font.
    """
    with style.context(["default", _LOOK]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def canvas(rows: int = 1, columns: int = 1, *, width: float = WIDTH, height: float = HEIGHT) -> tuple[Figure, Any]:
    """Return an empty figure and its axes.

    Args:
        rows: Of axes.
        columns: Of axes.
        width: Inches.
        height: Inches.

    Returns:
        The figure, and an object array [rows, columns] of axes.

    """
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def share_limits(figures: list[Figure]) -> None:
    """Give the axes of the same place in several figures the same limits, so that runs can be compared by eye.

    Args:
        figures: Of the same kind, one for each run; figures with other numbers of axes are left as they are.

    """
    if len({len(figure.axes) for figure in figures}) != 1:
        return
    for same in zip(*(figure.axes for figure in figures), strict=True):
        _share(list(same))


def _share(several: list[Axes]) -> None:
    drawn = [axes for axes in several if axes.has_data()]
    if len({(axes.get_xscale(), axes.get_yscale()) for axes in drawn}) != 1:
        return
    for get, put in (("get_xlim", "set_xlim"), ("get_ylim", "set_ylim")):
        limits = [getattr(axes, get)() for axes in drawn]
        low, high = min(min(pair) for pair in limits), max(max(pair) for pair in limits)
        is_inverted = limits[0][0] > limits[0][1]
        for axes in drawn:
            getattr(axes, put)(*((high, low) if is_inverted else (low, high)))
