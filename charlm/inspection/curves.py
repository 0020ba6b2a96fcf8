"""How a run learnt: its losses step by step, and simple models to compare with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.evaluation.baselines import baseline_nats
from charlm.inspection.figures import MUTED, ORANGE, RULE, canvas, legend, series
from charlm.inspection.section import Chart, Reading, Section
from charlm.runs.folder import METRICS_FILE
from charlm.runs.metrics import read_metrics, to_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_POINTS = 1000


@dataclass(frozen=True, eq=False)
class Curve:
    """The loss on one part of the text over a run."""

    steps: NDArray[np.int64]
    """[points], ascending."""
    nats_per_char: NDArray[np.float64]
    """[points]."""


@dataclass(frozen=True)
class Curves:
    """The learning curves of a run."""

    training: Curve
    """The mean loss of the steps before each point, with dropout if the run has it."""
    validation: Curve
    baselines: Mapping[str, float]
    """The loss of simple models on the validation text by name; empty if there is no such text."""
    positions: range | None = None
    """Of the characters of it that each point of `validation`, and each baseline, rests on; None if not known."""


def read_curves(run: Path, *, baselines: Mapping[str, float], max_points: int = MAX_POINTS) -> Curves:
    """Read the learning curves of a run, which may be in training.

    Args:
        run: The folder of the run.
        baselines: Simple models to compare with, from `baseline_nats`.
        max_points: If a curve has more points, only so many are kept, evenly spread, the last one among them.

    Raises:
        CharlmError: metrics.jsonl is missing, too large, damaged or a link.

    """
    lines = read_metrics(run / METRICS_FILE)
    training, validation = (_curve(lines, split, max_points) for split in ("train", "validation"))
    return Curves(training, validation, baselines)


def _curve(lines: Sequence[Mapping[str, Any]], split: str, points: int) -> Curve:
    """Return the losses on a split; a loss of a later line with the same step replaces an earlier one."""
    found: dict[int, float] = {}
    for line in lines:
        step, nats = to_number(line.get("step")), to_number(line.get("nats_per_char"))
        if line.get("split") == split and step is not None and nats is not None:
            found[int(step)] = float(nats)
    steps = np.array(sorted(found), np.int64)
    if len(steps) > points:
        steps = steps[np.round(np.linspace(0, len(steps) - 1, points)).astype(np.int64)]
    return Curve(steps, np.array([found[step] for step in steps.tolist()], np.float64))


def make_curves(reading: Reading) -> Curves:
    """Read the learning curves; refuse a bundle without its run."""
    if reading.subject.run is None:
        raise CharlmError("a bundle without its run has no learning curves")
    ids = reading.subject.validation_ids
    if ids is None or len(ids) < 2:  # other texts do not compare with the losses of the run
        return read_curves(reading.subject.run, baselines={})
    baselines = baseline_nats(ids, reading.vocabulary, reading.subject.training_ids)
    return replace(read_curves(reading.subject.run, baselines=baselines), positions=range(1, len(ids)))


def draw_curves(curves: Curves) -> "Figure":
    """Draw the loss on training and validation text over a run, the gap between them, and simple models as lines."""
    figure, (axes,) = canvas("Loss over the run", height=2.6, right=0.7)
    training, validation = curves.training, curves.validation
    for index, (name, curve) in enumerate((("training", training), ("validation", validation))):
        if len(curve.steps):
            marker: dict[str, Any] = {"marker": "o", "markersize": 3} if len(curve.steps) < 40 else {}
            axes.plot(curve.steps, curve.nats_per_char, label=name, **series(index), **marker)
    if len(training.steps) and len(validation.steps):
        below = np.interp(validation.steps, training.steps, training.nats_per_char)
        above = np.maximum(validation.nats_per_char, below)
        axes.fill_between(validation.steps, below, above, color=ORANGE, alpha=0.18, linewidth=0)
    axes.set(xlabel="step", ylabel="nats per character")
    axes.set_xlim(0, None)
    _draw_baselines(axes, curves.baselines)
    legend(figure)
    return figure


def _draw_baselines(axes: "Axes", baselines: Mapping[str, float]) -> None:
    """Draw a line for each simple model, its name at the right of the axes, no name over another."""
    for nats in baselines.values():
        axes.axhline(nats, **RULE)
    low, high = axes.get_ylim()
    low, high = max(low, 0.0), min(high, 1.2 * max(baselines.values(), default=high))  # losses may begin in thousands
    axes.set_ylim(low, high)
    gap, place = (high - low) * 0.055, high
    for name, nats in sorted(baselines.items(), key=lambda item: -item[1]):
        place = min(nats, place - gap)
        where = axes.get_yaxis_transform()
        axes.text(1.015, place, name, transform=where, va="center", fontsize=8, color=MUTED)


CURVES = Section(
    "curves",
    "Learning curves",
    "L = mean of \N{MINUS SIGN}log softmax(logits_{t-1})[id_t]",
    "Where the curve falls below a line across, the network predicts better than that simple model; "
    "the shaded gap grows as it memorises the training text; dropout adds to the loss in training and hides it.",
    make_curves,
    Chart(
        "curves",
        "loss on training and validation text by step; each line across is a simple model on the validation text",
        draw_curves,
    ),
)
