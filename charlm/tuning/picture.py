"""A picture of a search: the loss of each trial, the best so far, and the loss by each setting that is searched.

Where the picture is kept is left to `charlm.tuning.folder`.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from optuna.trial import FrozenTrial, TrialState

from charlm.training.views import Picture
from charlm.tuning.space import FloatRange, IntRange, Range

COLUMNS = 3
"""Settings side by side."""
WIDTH, ROW_HEIGHT, DPI = 8.0, 2.4, 100
"""Inches, and pixels to an inch."""
COMPLETE, PRUNED, BEST = "#0072b2", "#a8518a", "#c45500"
"""The colours of trials; the colour-blind can tell them apart, and their marks differ too."""


def draw_search(trials: Sequence[FrozenTrial], search: Mapping[str, Range]) -> Picture:
    """Draw the losses of the trials of a search, in nats per character, by trial and by each setting.

    Args:
        trials: The trials, at least one of them complete. Those without a finite loss are left out.
        search: The ranges of the settings, by dotted keys, at least one.

    Returns:
        uint8 [height, 800, 3]; the height grows with the number of settings.

    """
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE and _nats(trial) < math.inf]
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED and _nats(trial) < math.inf]
    rows = -(-len(search) // COLUMNS)
    with style.context(["default", {"font.family": ["DejaVu Sans"], "font.size": 9, "text.parse_math": False}]):
        figure = Figure(figsize=(WIDTH, ROW_HEIGHT * (rows + 1.2)), dpi=DPI, layout="constrained")
        grid = figure.add_gridspec(rows + 1, COLUMNS, height_ratios=[1.2, *[1.0] * rows])
        _draw_history(figure.add_subplot(grid[0, :]), complete, pruned)
        for index, (key, one) in enumerate(search.items()):
            axes = figure.add_subplot(grid[1 + index // COLUMNS, index % COLUMNS])
            _draw_setting(axes, key, one, complete, pruned)
            if index % COLUMNS == 0:
                axes.set_ylabel("nats per character")
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.array(canvas.buffer_rgba())[:, :, :3]


def _nats(trial: FrozenTrial) -> float:
    """Return the loss of a trial; infinity if it has none."""
    return trial.value if trial.value is not None and math.isfinite(trial.value) else math.inf


def _draw_history(axes: Axes, complete: Sequence[FrozenTrial], pruned: Sequence[FrozenTrial]) -> None:
    _mark(axes, [trial.number for trial in complete], [trial.number for trial in pruned], complete, pruned)
    best = np.minimum.accumulate([_nats(trial) for trial in complete])
    last = max(trial.number for trial in (*complete, *pruned))
    axes.step(
        [*(trial.number for trial in complete), last], [*best, best[-1]], where="post", color=BEST, label="best so far"
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="trial", ylabel="nats per character")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False)


def _draw_setting(
    axes: Axes, key: str, one: Range, complete: Sequence[FrozenTrial], pruned: Sequence[FrozenTrial]
) -> None:
    """Draw the loss by a setting; the best trial has a ring."""
    if isinstance(one, IntRange | FloatRange):
        at, at_pruned = ([trial.params[key] for trial in some] for some in (complete, pruned))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=isinstance(one, IntRange)))
        if one.log:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        at, at_pruned = ([one.choices.index(trial.params[key]) for trial in some] for some in (complete, pruned))
        axes.set_xticks(range(len(one.choices)), [str(choice) for choice in one.choices])
        axes.set_xlim(-0.5, len(one.choices) - 0.5)
    _mark(axes, at, at_pruned, complete, pruned)
    best = min(range(len(complete)), key=lambda index: _nats(complete[index]))
    axes.plot(at[best], _nats(complete[best]), "o", markersize=11, markerfacecolor="none", color=BEST)
    axes.set_xlabel(key.removeprefix("training.").removeprefix("model."))


def _mark(
    axes: Axes,
    at: Sequence[float],
    at_pruned: Sequence[float],
    complete: Sequence[FrozenTrial],
    pruned: Sequence[FrozenTrial],
) -> None:
    """Mark the losses of trials at some positions."""
    axes.plot(at, [_nats(trial) for trial in complete], "o", markersize=5, zorder=3, color=COMPLETE, label="complete")
    axes.plot(at_pruned, [_nats(trial) for trial in pruned], "x", markersize=5, zorder=3, color=PRUNED, label="pruned")
    axes.grid(color="#d9dde2", linewidth=0.6)
