"""The look of a report: its colours, its figures, and its numbers and tables in HTML.

matplotlib is imported when the first figure is drawn, without pyplot and its global state. The hues
are those of Okabe and Ito (2008), which colour-blind readers can tell apart.
"""

import base64
import contextlib
import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from charlm.api.viewer import safe
from charlm.measures.estimates import Estimate

if TYPE_CHECKING:
    # other modules of this package import these names, and draw without importing matplotlib
    from matplotlib.axes import Axes as Axes  # noqa: PLC0414
    from matplotlib.figure import Figure as Figure  # noqa: PLC0414

    from charlm.inspection.reading import Reading
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
    "red": ("#b0122b", "#ff7b8a"),
}
"""Each colour in the light and in the dark theme. Figures use the light theme; in the dark theme
the page inverts their lightness."""
INK, MUTED, GRID, PAPER, *SERIES = (light for light, _ in COLOURS.values())
ORANGE = SERIES[1]
WIDTH = 4.8
"""Width of axes in inches; they fill the screen of a phone, and their text stays readable."""
HEIGHT = 2.8
"""Height of axes in inches, with labels and title."""
LEGEND_LINE = 0.19
"""Height of a line of the legend, in inches."""
FLOOR = 1e-10
"""Lowest value on a logarithmic axis; smaller values are rounding errors."""
_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "svg.fonttype": "none",
    "svg.hashsalt": "charlm",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
}


@dataclass(frozen=True)
class Line:
    """The look of a run in a figure."""

    label: str
    """Label in tables, different for each run; empty for a single run."""
    group: str
    """Label in legends of its group, the runs that differ only in their seeds; empty for a single
    group."""
    colour: str
    """Colour of its group."""


Cell = Estimate | float | str | None
"""A cell of a table; None = a missing number."""
Plot = Callable[[Figure, Mapping[Line, Any]], None]
"""A function that draws the measurements of one or more runs on an empty figure."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of a report: its measurements, and their display."""

    name: str
    """Key in the JSON."""
    title: str
    """Heading, HTML."""
    equation: str
    """Equations, HTML."""
    text: str
    """Sentences for the reader, HTML."""
    measure: Callable[["Reading"], Any]
    """Returns a dataclass for a network; may raise CharlmError or LinAlgError."""
    details: Callable[[Mapping[Line, Any]], str] = lambda _: ""
    """Returns tables and other HTML on the measurements of one or more runs."""
    plot: Plot | None = None
    """Draws the figure; None = there is none."""
    caption: Callable[[Mapping[Line, Any]], str] = lambda _: ""
    """Returns the caption of the figure."""

    def to_html(self, results: Mapping[Line, Any]) -> str:
        """Return the section with its words, its figure and its tables."""
        figure = ""
        if self.plot is not None:
            caption = safe(self.caption(results))
            data = base64.b64encode(svg(draw(self.plot, results))).decode()
            url = f"data:image/svg+xml;base64,{data}"
            figure = (
                f'<figure><img class="chart" alt="{caption}" src="{url}">'
                f"<figcaption>{caption}</figcaption></figure>"
            )
        return (
            f'<section id="{self.name}"><h2>{self.title}</h2><p>{self.text}</p>'
            f'<p class="equation">{self.equation}</p>{figure}{self.details(results)}</section>\n'
        )


def figure_style() -> contextlib.AbstractContextManager[None]:
    """Draw and save figures in the style of a report, not with the user's own settings."""
    from matplotlib import style

    return style.context(["default", _STYLE])


def theme_css() -> str:
    """Return the colours as CSS variables, light and dark."""
    light, dark = (
        ";".join(f"--{name}:{colours[theme]}" for name, colours in COLOURS.items())
        for theme in (0, 1)
    )
    return f":root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}"


def svg(figure: Figure) -> bytes:
    """Return a figure as an SVG file in the light theme; the same figure gives the same bytes."""
    file = io.BytesIO()
    no_metadata = dict.fromkeys(["Date", "Creator", "Format", "Type"])
    with figure_style(), warnings.catch_warnings():
        # the browser of the reader has the fonts
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure.savefig(file, format="svg", facecolor="none", metadata=no_metadata)
    return file.getvalue()


def draw(plot: Plot, results: Mapping[Line, Any]) -> Figure:
    """Draw a figure: axes below each other, with a legend at the top."""
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(layout="constrained")
        plot(figure, results)
        _draw_legend(figure)
    return figure


def _draw_legend(figure: Figure) -> None:
    """Draw a legend of all labels above the axes, and increase the height of the figure for it."""
    pairs = (zip(*axes.get_legend_handles_labels(), strict=True) for axes in figure.axes)
    handles = {label: handle for handle, label in chain.from_iterable(pairs)}
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE * len(handles))
    if handles:
        figure.legend([*handles.values()], [*handles], loc="outside upper left")


def add_axes(figure: Figure, *titles: str) -> list[Axes]:
    """Add axes below each other to an empty figure, and set its size."""
    count = len(titles)
    figure.set_size_inches(WIDTH, count * HEIGHT)
    return [figure.add_subplot(count, 1, row, title=title) for row, title in enumerate(titles, 1)]


def curve(
    axes: Axes,
    x: NDArray[Any],
    y: NDArray[Any],
    band: tuple[NDArray[Any], NDArray[Any]] | None = None,
    *,
    colour: str,
    label: str = "",
    dashes: str = "-",
) -> None:
    """Draw a line.

    Args:
        axes: The axes.
        x: Numbers, rising, [n].
        y: The value at each x, [n]; a value that is not finite is a gap.
        band: The lower and the upper edge of a band around the line, each [n]; None = no band.
        colour: Colour of the line and the band.
        label: Label in the legend; empty = none.
        dashes: Dashes of the line, as matplotlib names them.

    """
    marker = "." if np.count_nonzero(y > 0) == 1 else None  # a line of one point is invisible
    axes.plot(x, y, color=colour, label=label, linestyle=dashes, marker=marker)
    if band is not None:
        low, high = band
        axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)


def fit_logarithmic(axes: Axes) -> None:
    """End a logarithmic axis at FLOOR, and show at least one power of ten with a label."""
    high = 2 * max(axes.dataLim.y1, FLOOR)
    low = max(axes.dataLim.minposy / 2, FLOOR)
    axes.set_ylim(min(low, high / 20), high)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")


DIGITS = 7
"""Significant digits of a number in the JSON."""
MINUS = "\N{MINUS SIGN}"
NO_NUMBER = "\N{EN DASH}"


def to_plain(value: Any) -> Any:
    """Return dataclasses, arrays and NumPy numbers as dictionaries, lists and numbers for JSON.

    A complex number becomes [real, imaginary], an estimate [value, error], and a number that is not
    finite None. In a dataclass, the error of an estimate becomes a field of its own.
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if is_dataclass(value) and not isinstance(value, Estimate):
        value = _items(value)
    match value:
        case Estimate():
            return to_plain([value.value, value.error])
        case Mapping():
            return {str(key): to_plain(item) for key, item in value.items()}
        case list() | tuple():
            return [to_plain(item) for item in value]
        case complex(real=real, imag=imaginary):
            return to_plain([real, imaginary])
        case float():
            return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value


def _items(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass by their keys in the JSON."""
    items = {}
    for field in fields(value):
        item = getattr(value, field.name)
        items[field.name] = item
        if isinstance(item, Estimate):
            items |= {field.name: item.value, "standard_error": item.error}
    return items


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    caption: str,
    summary: str = "",
) -> str:
    """Return a table in HTML, with the numbers of a column aligned at their decimal points.

    Args:
        head: Headings of the columns.
        rows: Cells of each row: numbers, None for a missing number, estimates or strings.
        caption: Sentences that describe the columns and their standard errors.
        summary: The line that the reader clicks to open the table; empty = it is open.

    """
    columns = [*zip(head, *rows, strict=True)]
    places = [_places(column) for column in columns]
    cells = ""
    for name, column in zip(head, columns, strict=True):
        kind = "" if isinstance(column[-1], str) else ' class="number"'
        cells += f'<th scope="col"{kind}>{safe(name)}</th>'
    body = "".join(f"<tr>{''.join(map(_cell, row, places))}</tr>" for row in rows)
    shown = (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{safe(head[0])}"><table>'
        f"<thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"
        f'<p class="help">{safe(caption)}</p>'
    )
    return f"<details><summary>{safe(summary)}</summary>{shown}</details>" if summary else shown


def _places(column: Sequence[Cell]) -> int:
    """Return the number of decimals that shows two digits of most errors in a column, one of each.

    Without errors, it shows four digits of the largest number.
    """
    estimates = [_as_estimate(cell) for cell in column if not isinstance(cell, str)]
    errors = sorted(each.error for each in estimates if _is_known(each.error))
    if errors:
        middle = errors[len(errors) // 2]
        return max(0, 1 - _magnitude(middle), -_magnitude(errors[0]))
    values = [abs(each.value) for each in estimates if _is_known(each.value)]
    return max(0, 3 - _magnitude(max(values, default=1)))


def _magnitude(number: float) -> int:
    """Return the largest power of ten that is not above a positive number, as its exponent."""
    return math.floor(math.log10(number))


def _cell(cell: Cell, places: int) -> str:
    if isinstance(cell, str):
        return f"<td>{safe(cell)}</td>"
    estimate = _as_estimate(cell)
    text = _number(estimate.value, places)
    if _is_known(estimate.error):
        text += f" \N{PLUS-MINUS SIGN} {_number(estimate.error, places)}"
    return f'<td class="number">{text}</td>'


def _as_estimate(number: Estimate | float | None) -> Estimate:
    return number if isinstance(number, Estimate) else Estimate(number)


def _is_known(number: float | None) -> TypeGuard[float]:
    """Return whether a number is finite, and more than rounding."""
    return number is not None and 1e-6 <= abs(number) < math.inf


def _number(value: float | None, places: int) -> str:
    """Return a number with some decimals, integers in full; a dash for None and NaN."""
    if value is None or math.isnan(value):
        return NO_NUMBER
    if math.isinf(value):
        text = "-\N{INFINITY}" if value < 0 else "\N{INFINITY}"
    else:
        text = f"{value:,}" if isinstance(value, int) else f"{value:,.{places}f}"
    return text.replace("-", MINUS)
