"""A picture of a search: the loss of each trial, the best so far, and the loss by each setting that is searched.

Where the picture is kept is left to `charlm.tuning.folder`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from charlm.training.pictures import Picture
from charlm.tuning.space import Range

COLUMNS = 3
"""Settings side by side."""
WIDTH, ROW_HEIGHT, DPI = 8.0, 2.4, 100
"""Inches, and pixels to an inch."""
MARKS = {TrialState.COMPLETE: ("complete", "o", "#0072b2"), TrialState.PRUNED: ("pruned", "x", "#a8518a")}
"""What a state is called, its mark and its colour; the colour-blind can tell them apart by either."""
BEST = "#c45500"


def draw_search(trials: Sequence[FrozenTrial], search: Mapping[str, Range]) -> Picture:
    """Draw the losses of the trials of a search, in nats per character, by trial and by each setting.

    Args:
        trials: The trials, at least one of them complete. Those without a finite loss are left out.
        search: The ranges of the settings, by dotted keys, at least one.

    Returns:
        uint8 [height, 800, 3]; the height grows with the number of settings.

    """
    shown = [trial for trial in trials if trial.state in MARKS and trial.value is not None and np.isfinite(trial.value)]
    rows = -(-len(search) // COLUMNS)
    with style.context(["default", {"font.family": ["DejaVu Sans"], "font.size": 9, "text.parse_math": False}]):
        figure = Figure(figsize=(WIDTH, ROW_HEIGHT * (rows + 1.2)), dpi=DPI, layout="constrained")
        grid = figure.add_gridspec(rows + 1, COLUMNS, height_ratios=[1.2, *[1.0] * rows])
        _draw_history(figure.add_subplot(grid[0, :]), shown)
        for index, (key, one) in enumerate(search.items()):
            axes = figure.add_subplot(grid[1 + index // COLUMNS, index % COLUMNS])
            _draw_setting(axes, shown, key, one)
            if index % COLUMNS == 0:
                axes.set_ylabel("nats per character")
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.array(canvas.buffer_rgba())[:, :, :3]


def _draw_history(axes: Axes, shown: Sequence[FrozenTrial]) -> None:
    _mark(axes, shown, lambda trial: trial.number)
    complete = [trial for trial in shown if trial.state == TrialState.COMPLETE]
    best = np.minimum.accumulate(np.array([trial.value for trial in complete], float))
    steps = [*(trial.number for trial in complete), max(trial.number for trial in shown)]
    axes.step(steps, [*best, best[-1]], where="post", color=BEST, label="best so far")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="trial", ylabel="nats per character")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False)


def _draw_setting(axes: Axes, shown: Sequence[FrozenTrial], key: str, one: Range) -> None:
    """Draw the loss by a setting; the best trial has a ring."""

    def place(trial: FrozenTrial) -> float:
        """Return where a trial is on the axis of the setting."""
        value = trial.params[key]
        return float(one.choices.index(value) if isinstance(one, CategoricalDistribution) else value)

    if isinstance(one, CategoricalDistribution):
        axes.set_xticks(range(len(one.choices)), [str(choice) for choice in one.choices])
        axes.set_xlim(-0.5, len(one.choices) - 0.5)
    elif one.log:
        axes.set_xscale("log")
    _mark(axes, shown, place)
    best = min((trial for trial in shown if trial.state == TrialState.COMPLETE), key=lambda trial: trial.value or 0.0)
    axes.plot(place(best), best.value or 0.0, "o", markersize=11, markerfacecolor="none", color=BEST)
    axes.set_xlabel(key.removeprefix("training.").removeprefix("model."))


def _mark(axes: Axes, shown: Sequence[FrozenTrial], place: Callable[[FrozenTrial], Any]) -> None:
    """Mark the losses of trials at their places."""
    for state, (name, mark, colour) in MARKS.items():
        some = [trial for trial in shown if trial.state == state]
        losses = np.array([trial.value for trial in some], float)
        axes.plot([place(trial) for trial in some], losses, mark, markersize=5, zorder=3, color=colour, label=name)
    axes.grid(color="#d9dde2", linewidth=0.6)
