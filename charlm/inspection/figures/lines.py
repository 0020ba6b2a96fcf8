"""Pieces that several figures draw: a curve with its band, an axis of lags, a legend."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import ArrayLike, NDArray

from charlm.inspection.figures.look import DASHES, MUTED, SERIES

FLOOR = 1e-10
"""Of logarithmic axes: less than this is rounding, and would press the rest together."""
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def series(index: int) -> dict[str, Any]:
    """Return the colour and the dashes of a line by its number in the figure, from 0."""
    return {"color": SERIES[index % len(SERIES)], "linestyle": DASHES[index % len(DASHES)]}


def positive(values: ArrayLike) -> NDArray[np.float64]:
    """Return values for a logarithmic axis: NaN, which is not drawn, in place of 0 and what is not finite."""
    array = np.asarray(values, np.float64)
    return np.where(np.isfinite(array) & (array > 0), array, np.nan)


def band(axes: Axes, x: ArrayLike, low: ArrayLike, high: ArrayLike, *, colour: str) -> None:
    """Shade the range between two curves."""
    axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)


def log_scale(axes: Axes, *values: ArrayLike) -> None:
    """Make the vertical axis logarithmic if there is anything above 0 to draw; what is below FLOOR is not shown.

    Args:
        axes: With the curves in it.
        values: The curves.

    """
    shown = [positive(curve)[np.isfinite(positive(curve))] for curve in values]
    least = min((float(curve.min()) for curve in shown if curve.size), default=0.0)
    if least > 0:
        axes.set_yscale("log")
        if least < FLOOR:
            axes.set_ylim(bottom=FLOOR)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: power(value)))
        axes.yaxis.set_minor_formatter(NullFormatter())


def power(value: float) -> str:
    """Return a label for a value of a logarithmic axis: 0.01 to 100 as such, others as powers of ten."""
    if 0.009 < value < 101:
        return f"{value:g}"
    digits, _, exponent = f"{value:e}".partition("e")
    factor = "" if float(digits) == 1 else f"{float(digits):g}\N{MULTIPLICATION SIGN}"
    return f"{factor}10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def doubling_scale(axes: Axes, marks: Sequence[int] | NDArray[np.int64]) -> None:
    """Make the horizontal axis logarithmic, with these numbers written on it."""
    axes.set_xscale("log", base=2)
    axes.set_xticks([int(mark) for mark in marks], [f"{int(mark):,}" for mark in marks], minor=False)
    axes.minorticks_off()


def rule(axes: Axes, *, y: float | None = None, x: float | None = None) -> None:
    """Draw a thin line across the axes at a height or a place."""
    if y is not None:
        axes.axhline(y, color=MUTED, linewidth=0.8, zorder=1)
    if x is not None:
        axes.axvline(x, color=MUTED, linewidth=0.8, zorder=1)


def legend(figure: Figure, *, columns: int = 3) -> None:
    """Draw a legend of all axes above them, where it hides nothing; none if nothing has a label."""
    named: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    if named:
        figure.legend(list(named.values()), list(named), loc="outside upper left", ncols=columns)


def layer_name(layer: int) -> str:
    """Return the name of a layer as `weights.safetensors` has it."""
    return f"rnn.{layer}"
