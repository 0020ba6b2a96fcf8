"""Figures of how well a network predicts: learning curves, where the loss is, and calibration."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from charlm.inspection.calibration import Calibration
from charlm.inspection.curves import Curves, Level
from charlm.inspection.figures.lines import legend, rule, series
from charlm.inspection.figures.look import BLUE, INK, MUTED, ORANGE, canvas
from charlm.inspection.loss_by_class import ClassLoss


def draw_curves(curves: Curves) -> Figure:
    """Draw the loss on training and validation text over a run, the gap between them, and simple models as lines."""
    figure, ((axes,),) = canvas(height=3.4)
    for index, (name, curve) in enumerate((("training", curves.training), ("validation", curves.validation))):
        if len(curve.steps):
            marker = {"marker": "o", "markersize": 3} if len(curve.steps) < 40 else {}
            axes.plot(curve.steps, curve.nats_per_char, label=name, **series(index), **marker)
    _shade_gap(axes, curves)
    axes.set(xlabel="step", ylabel="nats per character")
    axes.set_xlim(0, None)
    _draw_levels(axes, curves.levels)
    legend(figure)
    return figure


def _draw_levels(axes: Axes, levels: Sequence[Level]) -> None:
    """Draw a line for each simple model, its name at the right of the axes, no name over another."""
    for level in levels:
        rule(axes, y=level.nats_per_char)
    low, high = axes.get_ylim()
    gap, place = (high - low) * 0.055, high
    for level in sorted(levels, key=lambda level: -level.nats_per_char):
        place = min(level.nats_per_char, place - gap)
        where = axes.get_yaxis_transform()
        axes.text(1.015, place, level.name, transform=where, va="center", fontsize=8, color=MUTED)


def _shade_gap(axes: Axes, curves: Curves) -> None:
    training, validation = curves.training, curves.validation
    if len(training.steps) and len(validation.steps):
        below = np.interp(validation.steps, training.steps, training.nats_per_char)
        axes.fill_between(validation.steps, below, validation.nats_per_char, color=ORANGE, alpha=0.18, linewidth=0)


def draw_loss(classes: Sequence[ClassLoss], *, mean: float, ngram_order: int | None) -> Figure:
    """Draw the loss on each class of characters as a bar, and that of the n-gram model as a mark.

    Args:
        classes: One division of the text.
        mean: Nats per character of the whole text, a line.
        ngram_order: The order of the n-gram model; None if there is none.

    """
    figure, ((axes,),) = canvas(height=0.8 + 0.27 * max(3, len(classes)))
    rows = np.arange(len(classes))
    axes.barh(rows, [each.nats_per_char for each in classes], height=0.62, color=BLUE, alpha=0.85, label="network")
    pairs = [(each.ngram_nats_per_char, row) for row, each in enumerate(classes)]
    known = [(nats, row) for nats, row in pairs if nats is not None]
    if known:
        across, up = zip(*known, strict=True)
        style = {"linestyle": "", "marker": "D", "markersize": 4.5, "color": ORANGE}
        axes.plot(across, up, label=f"{ngram_order}-gram", **style)
    rule(axes, x=mean)
    axes.set_yticks(rows, [f"{each.name}, {100 * each.share_of_loss:.3g}%" for each in classes], color=INK)
    axes.set(xlabel="nats per character (%: share of all nats)", ylim=(len(classes) - 0.4, -0.6))
    axes.grid(visible=False, axis="y")
    legend(figure)
    return figure


def draw_reliability(calibration: Calibration) -> Figure:
    """Draw how often the likeliest character is right, by the probability that it was given."""
    figure, ((axes,),) = canvas(height=3.6)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8)
    confidence = [each.confidence for each in calibration.bins]
    accuracy = [each.accuracy for each in calibration.bins]
    counts = np.array([each.positions for each in calibration.bins], float)
    axes.plot(confidence, accuracy, **series(0))
    sizes = 12 + 110 * counts / max(counts.max(initial=1), 1)
    axes.scatter(confidence, accuracy, s=sizes, color=BLUE, alpha=0.6, linewidths=0)
    axes.set(xlabel="probability of the likeliest character", ylabel="how often it is right")
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    return figure


def draw_temperature(calibration: Calibration) -> Figure:
    """Draw the loss by temperature, with the best one marked."""
    figure, ((axes,),) = canvas(height=2.4)
    axes.plot(calibration.temperatures, calibration.nats_by_temperature, **series(0))
    axes.plot(calibration.temperature, calibration.best_nats_per_char, marker="o", color=ORANGE)
    axes.annotate(
        f"best: {calibration.temperature:.4g}",
        (calibration.temperature, calibration.best_nats_per_char),
        xytext=(0, 9),
        textcoords="offset points",
        ha="left" if calibration.temperature < calibration.temperatures.mean() else "right",
        fontsize=8,
    )
    rule(axes, x=1)
    axes.set(xlabel="temperature", ylabel="nats per character")
    return figure
