"""Draw figures: colours, empty axes, panels of curves, and a figure as an image.

matplotlib is imported when the first figure is drawn, without pyplot and its global state. The hues
are those of Okabe and Ito (2008), which colour-blind readers can tell apart; lines also differ by
their dashes.
"""

import base64
import contextlib
import io
import math
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from charlm.text.markup import safe

if TYPE_CHECKING:
    # other modules of this package import these names, and draw without importing matplotlib
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
"""Each colour in the light and in the dark theme. Figures use the light theme; in the dark theme
the page inverts their lightness."""
INK, MUTED, GRID, PAPER, *SERIES = (light for light, _ in COLOURS.values())
BLUE, ORANGE, GREEN, *_ = SERIES
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (4, 1.5, 1, 1.5)), (0, (7, 3)))
"""Dashes of the lines, in the order of SERIES."""
MARKERS = ("o", "D", "x", "|", "s")
"""Markers of the points, in the order of SERIES."""

WIDTH = 4.8
"""Width in inches; the figure fills the screen of a phone, and its text stays readable."""
TITLE_COLUMNS = 48
"""Maximum number of characters in a line of a title."""
LEGEND_COLUMNS = 34
"""Maximum number of characters of a name in a legend with two columns."""
LONGEST_NAME = 56
"""Maximum number of characters in a legend entry; a longer name is shortened in the middle."""
LABELS_HEIGHT = 0.7
"""Height of the title and the labels of axes, in inches."""
LEGEND_LINE = 0.2
"""Height of a line of the legend, in inches."""
FLOOR = 1e-10
"""Lowest value on a logarithmic axis; smaller values are rounding errors and would compress the
rest."""
_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "charlm",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "xtick.labelsize": 8,
    "ytick.color": MUTED,
    "ytick.labelsize": 8,
}


def figure_style() -> contextlib.AbstractContextManager[None]:
    """Draw and save figures in the style of a report, not with the user's own settings."""
    from matplotlib import style

    return style.context(["default", _STYLE])


def canvas(*titles: str, heights: Sequence[float]) -> tuple[Figure, list[Axes]]:
    """Return an empty figure and its axes.

    Args:
        titles: The title of each axes, row by row.
        heights: The height of the axes in each row in inches, without labels and titles.

    """
    from matplotlib.figure import Figure

    rows = len(heights)
    columns = math.ceil(len(titles) / rows)
    row_heights = [height + LABELS_HEIGHT for height in heights]
    figure = Figure(figsize=(WIDTH, sum(row_heights)), layout="constrained")
    grid = figure.add_gridspec(rows, columns, height_ratios=row_heights)
    all_axes = []
    for index, title in enumerate(titles):
        axes = figure.add_subplot(grid[divmod(index, columns)])
        axes.set_title(textwrap.fill(title, TITLE_COLUMNS), loc="left")
        all_axes.append(axes)
    return figure, all_axes


def theme_css() -> str:
    """Return the colours as CSS variables, light and dark."""
    light, dark = (
        ";".join(f"--{name}:{colours[theme]}" for name, colours in COLOURS.items())
        for theme in (0, 1)
    )
    return f":root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}"


def image(figure: Figure, *, label: str) -> str:
    """Return a figure as an <img> element; `label` describes it for a screen reader."""
    data = base64.b64encode(as_svg(figure)).decode("ascii")
    return f'<img class="chart" alt="{safe(label)}" src="data:image/svg+xml;base64,{data}">'


def as_svg(figure: Figure, *, background: str = "none") -> bytes:
    """Return a figure as an SVG file in the light theme; the same figure gives the same bytes."""
    file = io.BytesIO()
    no_metadata = dict.fromkeys(["Date", "Creator", "Format", "Type"])
    with warnings.catch_warnings():
        # the browser of the reader has the fonts
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure.savefig(file, format="svg", facecolor=background, metadata=no_metadata)
    return file.getvalue()


@dataclass(frozen=True, eq=False)
class Curve:
    """Values at numbers, or at names."""

    x: Sequence[Any] | NDArray[Any]
    """Numbers, or names."""
    y: Sequence[float | None] | NDArray[Any]
    """The value at each x; a value that is not finite is a gap."""
    band: Sequence[NDArray[Any]] = ()
    """The lower and the upper edge of a band around the curve; () = no band."""


def with_errors(x: Sequence[Any] | NDArray[Any], y: NDArray[Any], errors: NDArray[Any]) -> Curve:
    """Return a curve with a band of ±1 error; the band has a gap where an error is NaN."""
    return Curve(x, y, (y - errors, y + errors))


@dataclass(frozen=True, eq=False)
class Panel:
    """One pair of axes: lines over numbers, or a row of points for each name."""

    title: str
    labels: tuple[str, str]
    """Labels of the horizontal and of the vertical axis."""
    curves: dict[str, Curve]
    """Curves by name, compared with the same curves of other runs; a single curve may have the name
    ""."""
    extras: Mapping[str, Curve] = field(default_factory=dict)
    """More curves by name, drawn only on the page of a single run."""
    x_scale: Literal["linear", "doublings", "names"] = "linear"
    """doublings: every doubling has the same width; names: each x is a name with a row, and the
    values are horizontal."""
    y_scale: Literal["linear", "log"] = "linear"
    rule: float | None = None
    """Position of a thin horizontal line; None = no line."""
    label: str = ""
    """Name of the curve "" in the legend of a single run."""

    @property
    def all_curves(self) -> dict[str, Curve]:
        """All curves of a single run by their name in the legend."""
        curves = {name or self.label: curve for name, curve in self.curves.items()}
        return {**curves, **self.extras}


def clipping_note(panels: Sequence[Panel]) -> str:
    """Return a sentence about values too small for logarithmic axes; empty if there are none."""
    smallest = math.inf
    for panel in panels:
        if panel.y_scale == "log":
            curves = [np.array(curve.y, np.float64) for curve in panel.all_curves.values()]
            values = np.concatenate(curves)
            smallest = min(smallest, *values[np.isfinite(values)])
    if smallest <= 0:
        return f"Values below {FLOOR:g}, and values of 0 or less, are not drawn."
    return f"Values below {FLOOR:g} are not drawn." if smallest < FLOOR else ""


def mean_curve(curves: Sequence[Curve], *, is_geometric: bool = False) -> Curve:
    """Return the mean of the curves of several runs, with a band of ±1 standard error.

    The mean ends where the first curve ends.

    Args:
        curves: The curve of each run. A single curve loses its band.
        is_geometric: Whether to take the geometric mean, for logarithmic axes. The mean is unknown
            where a value is 0 or less.

    """
    size = min(len(curve.y) for curve in curves)
    x = curves[0].x[:size]
    values = np.array([curve.y[:size] for curve in curves], np.float64)
    if len(curves) == 1:
        return Curve(x, values[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.log(values) if is_geometric else values
        mean = scaled.mean(0)
        error = scaled.std(0, ddof=1) / math.sqrt(len(curves))
        edges = np.array([mean, mean - error, mean + error])
    mean, low, high = np.exp(edges) if is_geometric else edges
    return Curve(x, mean, (low, high))


def compare_panels(runs: Mapping[str, Sequence[Sequence[Panel]]]) -> list[Panel]:
    """Return panels with one quantity each, for all runs.

    Args:
        runs: The panels of a section by their name in the legend: of one run, or of several runs
            whose mean is drawn.

    """
    panels: dict[str, Panel] = {}
    for run, seeds in runs.items():
        for same in zip(*seeds, strict=False):  # a run may lack panels that the others have
            first = same[0]
            for name in first.curves:
                title = f"{first.title}: {name}" if name else first.title
                empty = replace(first, title=title, curves={}, extras={}, label="")
                curves = [panel.curves[name] for panel in same]
                mean = mean_curve(curves, is_geometric=first.y_scale == "log")
                panels.setdefault(title, empty).curves[run] = mean
    return [*panels.values()]


def draw_panels(panels: Sequence[Panel]) -> Figure:
    """Draw panels one below the other, with a legend at the top."""
    heights = [_height(panel, is_alone=len(panels) == 1) for panel in panels]
    figure, grid = canvas(*(panel.title for panel in panels), heights=heights)
    # a name has the same style in every panel
    names = [*dict.fromkeys(name for panel in panels for name in panel.all_curves if name)]
    for axes, panel in zip(grid, panels, strict=True):
        axes.set(xlabel=panel.labels[0], ylabel=panel.labels[1])
        draw = _draw_points if panel.x_scale == "names" else _draw_lines
        draw(axes, panel, names)
    longest = max(map(len, names), default=0)
    draw_legend(figure, columns=1 if longest > LEGEND_COLUMNS else 2)
    return figure


def _height(panel: Panel, *, is_alone: bool) -> float:
    """Return the height of axes in inches; each row of a name needs the same height."""
    if panel.x_scale == "names":
        return 0.27 * max(3, len(_rows(panel)))
    return 2.1 if is_alone else 1.5


def _rows(panel: Panel) -> list[str]:
    return [*dict.fromkeys(name for curve in panel.all_curves.values() for name in curve.x)]


def _look(names: Sequence[str], name: str, styles: Sequence[Any]) -> tuple[str, Any]:
    """Return the colour of a curve, and the dashes or marker, which differ if colours repeat."""
    index = names.index(name) if name else 0
    repeats = index // len(SERIES)
    return SERIES[index % len(SERIES)], styles[(index + repeats) % len(styles)]


def _legend_name(name: str) -> str:
    """Return a name for a legend, without its middle if it is too long."""
    if len(name) > LONGEST_NAME:
        name = f"{name[: LONGEST_NAME // 2]}...{name[-LONGEST_NAME // 2 :]}"
    # matplotlib omits names that begin with an underscore
    return f"./{name}" if name.startswith("_") else name


def _draw_points(axes: Axes, panel: Panel, names: Sequence[str]) -> None:
    rows = _rows(panel)
    for name, curve in panel.all_curves.items():
        colour, marker = _look(names, name, MARKERS)
        values = np.array(curve.y, np.float64)
        axes.errorbar(
            values,
            [rows.index(x) for x in curve.x],
            xerr=np.abs([edge - values for edge in curve.band]) if curve.band else None,
            label=_legend_name(name),
            color=colour,
            marker=marker,
            markersize=5,
            mfc="none",
            linestyle="",
            elinewidth=1,
        )
    axes.set_yticks(range(len(rows)), rows, color=INK)
    axes.set(xlim=(0, 1.04 * axes.dataLim.x1 or 1), ylim=(len(rows) - 0.4, -0.6))


def _draw_lines(axes: Axes, panel: Panel, names: Sequence[str]) -> None:
    is_log = panel.y_scale == "log"
    largest = 0.0
    for name, curve in panel.all_curves.items():
        colour, dashes = _look(names, name, DASHES)
        values = np.array([curve.y, *curve.band], np.float64)
        values[~np.isfinite(values) | (is_log & (values <= 0))] = np.nan
        largest = max(largest, np.nanmax(values, initial=0))
        line, *edges = values
        if edges:
            axes.fill_between(curve.x, *edges, color=colour, alpha=0.18, linewidth=0)
        is_point = np.isfinite(line).sum() == 1  # only a marker shows it
        is_on_axes = not is_log or np.nanmax(line, initial=0) >= FLOOR
        is_second = bool(name) and names.index(name) == 1  # its point may cover that of the first
        axes.plot(
            curve.x,
            line,
            label=_legend_name(name),
            color=colour,
            linestyle=dashes,
            marker=("D" if is_second else "o") if is_point else "",
            fillstyle="none" if is_second else "full",
            clip_on=not (is_point and is_on_axes),
        )
    if panel.rule is not None:
        axes.axhline(panel.rule, color=MUTED, linewidth=0.8, zorder=1)
    last = max(1, *(curve.x[-1] for curve in panel.all_curves.values()))
    if panel.x_scale == "doublings":
        axes.set_xscale("symlog", base=2, linthresh=1)
        axes.set_xlim(-0.2, 1.05 * last)
        axes.xaxis.set_major_formatter("{x:g}")
    if is_log and largest > 0:
        if panel.x_scale == "linear":
            axes.set_xlim(0, last)
        _make_logarithmic(axes, largest)


def _make_logarithmic(axes: Axes, largest: float) -> None:
    """Make the vertical axis logarithmic, down to FLOOR, with at least one power of ten on it."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if low < FLOOR:
        axes.set_ylim(FLOOR, 3 * max(largest, FLOOR))
    elif high < 10 * low:  # there may be no power of ten, and only powers of ten have a label
        axes.set_ylim(low / 3.2, high * 3.2)
    axes.yaxis.set_major_formatter(_power_of_ten)
    axes.yaxis.set_minor_formatter("")


def _power_of_ten(value: float, _: object = None) -> str:
    """Return the label of a value: 0.01 to 1000 as a number, others as a power of ten."""
    if 0.01 <= value <= 1000:
        return f"{value:g}"
    exponent = str(round(math.log10(value))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{exponent}"


def draw_legend(figure: Figure, *, columns: int) -> None:
    """Draw a legend of all labels above the axes, and increase the height of the figure for it."""
    pairs = (zip(*axes.get_legend_handles_labels(), strict=True) for axes in figure.axes)
    handles = {label: handle for handle, label in chain.from_iterable(pairs)}
    if not handles:
        return
    lines = math.ceil(len(handles) / columns)
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE * lines)
    figure.legend(
        [*handles.values()], [*handles], loc="outside upper left", ncols=columns, borderaxespad=0.2
    )
