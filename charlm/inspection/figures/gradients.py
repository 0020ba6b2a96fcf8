"""Figures of the gradient by lag, and of the bias of truncated backpropagation."""

from matplotlib.figure import Figure

from charlm.inspection.figures.lines import (
    band,
    doubling_scale,
    layer_name,
    legend,
    log_scale,
    positive,
    rule,
    series,
)
from charlm.inspection.figures.look import MUTED, canvas
from charlm.inspection.gradients import GradientByLag
from charlm.inspection.truncation import TruncationBias


def draw_gradient_by_lag(trained: GradientByLag, initial: GradientByLag | None = None) -> Figure:
    """Draw how the gradient of a loss shrinks or grows on its way back, for each layer.

    Args:
        trained: The curves of the trained network.
        initial: Those of the same network with weights drawn anew; thin lines.

    """
    figure, ((axes,),) = canvas()
    for index, curve in enumerate(trained.layers):
        style = series(index)
        band(axes, curve.lag, positive(curve.low), positive(curve.high), colour=style["color"])
        axes.plot(curve.lag, positive(curve.median), label=layer_name(curve.layer), **style)
    for index, curve in enumerate(initial.layers if initial else ()):
        style = {**series(index), "color": MUTED, "linewidth": 1.1}
        axes.plot(curve.lag, positive(curve.median), label=f"{layer_name(curve.layer)}, untrained", **style)
    log_scale(axes, *(curve.median for curve in trained.layers))
    rule(axes, y=1)
    axes.set(xlabel="lag k, characters", ylabel="|dL/dh| at lag k / at lag 0")
    legend(figure, columns=2)
    return figure


def draw_truncation(bias: TruncationBias) -> Figure:
    """Draw the angle and the length of the truncated gradient beside the full one, by window length."""
    figure, ((upper,), (lower,)) = canvas(2, height=4.2)
    upper.plot(bias.window, bias.angle_degrees, marker="o", markersize=3.5, label="all weights", **series(0))
    lower.plot(bias.window, bias.length_ratio, marker="o", markersize=3.5, **series(0))
    pairs = zip(bias.recurrent_angle_degrees, bias.recurrent_length_ratio, strict=True)
    for layer, (angle, length) in enumerate(pairs):
        upper.plot(bias.window, angle, label=f"V of {layer_name(layer)}", **series(layer + 1))
        lower.plot(bias.window, length, **series(layer + 1))
    rule(lower, y=1)
    for axes in (upper, lower):
        doubling_scale(axes, bias.window)
    upper.set(ylabel="angle, degrees", ylim=(0, None))
    lower.set(xlabel="window, characters", ylabel="length / full length")
    legend(figure)
    return figure
