"""How a run learnt: its losses step by step, and simple models to compare with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.runs.folder import METRICS_FILE
from charlm.runs.metrics import read_metrics, to_number

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
