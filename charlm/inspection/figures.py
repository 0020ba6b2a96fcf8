"""Draw figures: colours, an empty canvas, panels of curves, and a figure as an image.

A figure draws the plain data of a report. matplotlib is imported when the first one is drawn,
without pyplot and its global state; the numbers of a report do without it. The hues are those of Okabe and Ito (2008),
which the colour-blind can tell apart; lines differ by their dashes too.
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
"""Each colour by its name: the hexadecimal digits in the light theme, and in the dark one. Figures are drawn in those
of the light theme; in the dark one the page inverts their lightness."""
INK, MUTED, GRID, PAPER, BLUE, ORANGE, GREEN, PURPLE, YELLOW = (
    light for light, _ in COLOURS.values()
)
SERIES = (BLUE, ORANGE, GREEN, PURPLE, YELLOW)
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (4, 1.5, 1, 1.5)), (0, (7, 3)))
"""Dashes of the lines, in the order of SERIES."""
MARKERS = ("o", "D", "x", "|", "s")
"""Markers of the points, in the order of SERIES."""
RULE: Mapping[str, Any] = {"color": MUTED, "linewidth": 0.8, "zorder": 1}
"""The style of a thin line across the axes."""

WIDTH, HEIGHT = 4.8, 2.1
"""Inches, of a figure and of one drawing area; it fills the width of a phone, and its letters stay readable."""
TITLE_COLUMNS, LEGEND_COLUMNS = 48, 34
"""Characters in a line of a title, and in a name of a legend with two columns."""
LONGEST_NAME = 56
"""Most characters of a name in a legend; a longer one loses its middle."""
AROUND, LEGEND_LINE = 0.7, 0.2
"""Inches that are written above and below a drawing area, and of a line of the legend."""
FLOOR = 1e-10
"""Lowest value on a logarithmic axis. Smaller values are rounding, and would compress the rest of the axis."""
_STYLE = {
    **dict.fromkeys(("axes.labelcolor", "text.color"), INK),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), MUTED),
    **dict.fromkeys(("axes.axisbelow", "axes.grid"), True),
    **dict.fromkeys(("axes.spines.right", "axes.spines.top", "legend.frameon"), False),
    **dict.fromkeys(("axes.titlesize", "font.size"), 9),
    **dict.fromkeys(("legend.fontsize", "xtick.labelsize", "ytick.labelsize"), 8),
    **{
        "axes.facecolor": "none",
        "grid.color": GRID,
        "grid.linewidth": 0.6,
        "font.family": "DejaVu Sans",
    },
    **{"svg.fonttype": "none", "svg.hashsalt": "charlm", "text.parse_math": False},
}


def figure_style() -> contextlib.AbstractContextManager[None]:
    """Draw and save figures in the style of a report, whatever the user's own settings of matplotlib are."""
    from matplotlib import style

    return style.context(["default", _STYLE])


def canvas(
    *titles: str, columns: int = 1, height: float = HEIGHT, heights: Sequence[float] = ()
) -> tuple[Figure, list[Axes]]:
    """Return an empty figure and its axes.

    Args:
        titles: The title of each axes, row by row.
        columns: The number of axes side by side.
        height: The height of each axes in inches, without labels and titles.
        heights: The height of each row of axes, if they differ.

    """
    from matplotlib.figure import Figure

    rows = -(-len(titles) // columns)
    row_heights = [each + AROUND for each in heights or [height] * rows]
    figure = Figure(figsize=(WIDTH, sum(row_heights)), layout="constrained")
    grid = figure.add_gridspec(rows, columns, height_ratios=row_heights)
    places = [grid[divmod(index, columns)] for index in range(len(titles))]
    all_axes = [figure.add_subplot(place) for place in places]
    for axes, title in zip(all_axes, titles, strict=True):
        axes.set_title(textwrap.fill(title, TITLE_COLUMNS), loc="left")
    return figure, all_axes


def theme_css() -> str:
    """Return the colours as CSS variables, light and dark."""
    light, dark = (
        ";".join(f"--{name}:{pair[index]}" for name, pair in COLOURS.items()) for index in (0, 1)
    )
    return f":root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}"


def image(figure: Figure, *, label: str) -> str:
    """Return a figure as an <img> element that loads nothing; `label` describes it for a screen reader."""
    data = base64.b64encode(as_svg(figure)).decode("ascii")
    return f'<img class="chart" alt="{safe(label)}" src="data:image/svg+xml;base64,{data}">'


def as_svg(figure: Figure, *, background: str = "none") -> bytes:
    """Return a figure as a file of SVG in the light theme."""
    file = io.BytesIO()
    names = (
        "Date",
        "Creator",
        "Format",
        "Type",
    )  # none of them: the same figure gives the same bytes
    with warnings.catch_warnings():
        # the reader of the file has the fonts for its letters
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure.savefig(file, format="svg", facecolor=background, metadata=dict.fromkeys(names))
    return file.getvalue()


def series(index: int) -> dict[str, Any]:
    """Return the colour and the dashes of a line by its number in the figure, from 0."""
    return {"color": SERIES[index % len(SERIES)], "linestyle": _shifted(DASHES, index)}


def _shifted(styles: Sequence[Any], index: int) -> Any:
    """Return the style of a curve by its number, so that it is another one when the colours come again."""
    return styles[(index + index // len(SERIES)) % len(styles)]


@dataclass(frozen=True, eq=False)
class Curve:
    """Values by a number, or by a name."""

    x: Sequence[Any] | NDArray[Any]
    """Numbers, or names."""
    y: Sequence[float | None] | NDArray[Any]
    """A value for each x; a value that is not finite is a gap."""
    band: Sequence[NDArray[Any]] = ()
    """The lower and the upper edge around it; () = none."""


def with_errors(x: Sequence[Any] | NDArray[Any], y: NDArray[Any], errors: NDArray[Any]) -> Curve:
    """Return a curve with a band of errors to both sides; none where an error is NaN."""
    return Curve(x, y, (y - errors, y + errors))


@dataclass(frozen=True, eq=False)
class Panel:
    """A drawing area: lines over numbers, or a row of points for each of some names."""

    title: str
    labels: tuple[str, str]
    """Labels of the horizontal axis and of the vertical one."""
    curves: Mapping[str, Curve]
    """Curves by their name, which may be "" for a single one. They are compared with the same curves of other runs."""
    extras: Mapping[str, Curve] = field(default_factory=dict)
    """More curves by their name, which are drawn if the page is about a single run."""
    x_scale: Literal["linear", "doublings", "names"] = "linear"
    """doublings: every doubling is equally wide; names: the x of the curves are names, listed from top to bottom, and
    the values run to the right."""
    y_scale: Literal["linear", "log"] = "linear"
    rule: float | None = None
    """Position of a thin line across the drawing area; None = no line."""
    label: str = ""
    """The name of the curve "" in the legend of a single run."""

    @property
    def all_curves(self) -> dict[str, Curve]:
        """All curves of a single run by their name in the legend."""
        curves = {name or self.label: curve for name, curve in self.curves.items()}
        return {**curves, **self.extras}

    @property
    def smallest(self) -> float:
        """The smallest finite value of its curves; infinity if there is none."""
        values = np.concatenate(
            [np.array(curve.y, np.float64) for curve in self.all_curves.values()]
        )
        return float(np.min(values, where=np.isfinite(values), initial=math.inf))


def clipping_note(panels: Sequence[Panel]) -> str:
    """Return a sentence about values that logarithmic axes have no place for; empty if there are none."""
    smallest = min((panel.smallest for panel in panels if panel.y_scale == "log"), default=math.inf)
    if smallest <= 0:
        return f"Values below {FLOOR:g}, and values of 0 or less, are not drawn."
    return f"Values below {FLOOR:g} are not drawn." if smallest < FLOOR else ""


def mean_curve(curves: Sequence[Curve], *, is_geometric: bool = False) -> Curve:
    """Return the mean of a curve of several runs with its standard error as a band, as far as all of them reach.

    Args:
        curves: The curve of each run. A single one is returned without its band.
        is_geometric: Whether to take the geometric mean, which suits logarithmic axes. It is not known where a value is
            0 or less.

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
    if is_geometric:
        return Curve(x, np.exp(mean), (np.exp(mean - error), np.exp(mean + error)))
    return with_errors(x, mean, error)


def compare_panels(runs: Mapping[str, Sequence[Sequence[Panel]]]) -> list[Panel]:
    """Return panels with one quantity each, for all runs.

    Args:
        runs: The panels of a section by their name in the legend, for one run or for several runs whose mean is drawn.

    """
    panels: dict[str, Panel] = {}
    for run, seeds in runs.items():
        for same in zip(*seeds, strict=False):  # a run may lack panels that the others have
            for name in same[0].curves:
                title = f"{same[0].title}: {name}" if name else same[0].title
                panel = panels.setdefault(
                    title, replace(same[0], title=title, curves={}, extras={}, label="")
                )
                curve = mean_curve(
                    [each.curves[name] for each in same], is_geometric=panel.y_scale == "log"
                )
                panels[title] = replace(panel, curves={**panel.curves, run: curve})
    return [*panels.values()]


def draw_panels(panels: Sequence[Panel]) -> Figure:
    """Draw panels one below the other, with a legend above them."""
    figure, grid = canvas(*(panel.title for panel in panels), heights=_heights(panels))
    names = dict.fromkeys(name for panel in panels for name in panel.all_curves if name)
    numbers = {
        name: index for index, name in enumerate(names)
    }  # a name has the same style in every panel
    for axes, panel in zip(grid, panels, strict=True):
        axes.set(xlabel=panel.labels[0], ylabel=panel.labels[1])
        lines = [
            (numbers.get(name, 0), _short(name), curve) for name, curve in panel.all_curves.items()
        ]
        if panel.x_scale == "names":
            _draw_points(axes, lines, _names_of(panel))
        else:
            _draw_lines(axes, lines, panel)
    longest = max(len(name) for panel in panels for name in panel.all_curves)
    legend(figure, columns=1 if longest > LEGEND_COLUMNS else 2)
    return figure


def _short(name: str) -> str:
    """Return a name for a legend, without its middle if it is too long.

    matplotlib leaves out names that begin with an underscore. Such a run gets a name with its folder.
    """
    if len(name) > LONGEST_NAME:
        name = f"{name[: LONGEST_NAME // 2]}...{name[-LONGEST_NAME // 2 :]}"
    return f"./{name}" if name.startswith("_") else name


def _names_of(panel: Panel) -> list[str]:
    return list(dict.fromkeys(name for curve in panel.all_curves.values() for name in curve.x))


def _heights(panels: Sequence[Panel]) -> list[float]:
    """Return the height of each drawing area in inches; rows of names need a fixed height each."""
    lines = HEIGHT if len(panels) == 1 else 1.5
    return [
        0.27 * max(3, len(_names_of(panel))) if panel.x_scale == "names" else lines
        for panel in panels
    ]


def _draw_points(
    axes: Axes, curves: Sequence[tuple[int, str, Curve]], names: Sequence[str]
) -> None:
    for index, name, curve in curves:
        values = np.array(curve.y, np.float64)
        rows = [names.index(each) for each in curve.x]
        errors = np.abs([edge - values for edge in curve.band]) if curve.band else None
        axes.errorbar(
            values,
            rows,
            xerr=errors,
            label=name,
            color=SERIES[index % len(SERIES)],
            marker=_shifted(MARKERS, index),
            markersize=5,
            mfc="none",
            linestyle="",
            elinewidth=1,
        )
    axes.set_yticks(range(len(names)), names, color=INK)
    axes.set(xlim=(0, 1.04 * axes.dataLim.x1 or 1), ylim=(len(names) - 0.4, -0.6))


def _draw_lines(axes: Axes, curves: Sequence[tuple[int, str, Curve]], panel: Panel) -> None:
    is_log = panel.y_scale == "log"
    largest = 0.0
    for index, name, curve in curves:
        rows = np.array([curve.y, *curve.band], np.float64)
        is_drawn = np.isfinite(rows) & (rows > 0) if is_log else np.isfinite(rows)
        line, *edges = np.where(is_drawn, rows, np.nan)
        if edges:
            axes.fill_between(
                curve.x, *edges, color=SERIES[index % len(SERIES)], alpha=0.18, linewidth=0
            )
        is_point = np.isfinite(line).sum() == 1  # a line does not show a single point
        is_on_axes = not is_log or np.nanmax(line, initial=0) >= FLOOR
        marker, fill = (
            ("D", "none") if index == 1 else ("o", "full")
        )  # the second point may lie on the first
        style = {
            **series(index),
            "marker": marker if is_point else "",
            "fillstyle": fill,
            "clip_on": not (is_point and is_on_axes),
        }
        axes.plot(curve.x, line, label=name, **style)
        largest = max(largest, np.nan_to_num([line, *edges]).max())
    if panel.rule is not None:
        axes.axhline(panel.rule, **RULE)
    last = max(1, *(curve.x[-1] for _, _, curve in curves))
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
    elif high < 10 * low:  # there may be no power of ten on the axis, and only these have a number
        axes.set_ylim(low / 3.2, high * 3.2)
    axes.yaxis.set_major_formatter(_power_of_ten)
    axes.yaxis.set_minor_formatter("")


def _power_of_ten(value: float, _: object = None) -> str:
    """Return a value on a logarithmic axis: 0.01 to 1000 as they are, others as a power of ten."""
    if 0.01 <= value <= 1000:
        return f"{value:g}"
    exponent = str(round(math.log10(value))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{exponent}"


def legend(figure: Figure, *, columns: int = 3) -> None:
    """Draw a legend above all axes, and make the figure higher by its height. Without labels, there is no legend."""
    pairs = (zip(*axes.get_legend_handles_labels(), strict=True) for axes in figure.axes)
    named = {label: handle for handle, label in chain.from_iterable(pairs)}
    if named:
        figure.set_figheight(figure.get_figheight() + LEGEND_LINE * -(-len(named) // columns))
        figure.legend(
            [*named.values()], [*named], loc="outside upper left", ncols=columns, borderaxespad=0.2
        )
