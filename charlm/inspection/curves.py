"""How a run learnt: its losses step by step, and simple models to compare with."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.evaluation.baselines import NGRAM_ORDER, compressed_nats, unigram_nats
from charlm.runs.folder import METRICS_FILE
from charlm.runs.metrics import read_metrics, to_number
from charlm.text.vocabulary import Vocabulary

Values = NDArray[np.float64]

MAX_POINTS = 1000


@dataclass(frozen=True, eq=False)
class Curve:
    """The loss on one part of the text over a run."""

    steps: NDArray[np.int64]
    """[points], ascending."""
    epochs: NDArray[np.float64]
    """[points]: passes over the training text."""
    nats_per_char: NDArray[np.float64]
    """[points]."""


@dataclass(frozen=True)
class Level:
    """The loss of a simple model on the validation text."""

    name: str
    """uniform, unigram, 5-gram or bz2."""
    nats_per_char: float


@dataclass(frozen=True)
class Curves:
    """The learning curves of a run."""

    training: Curve
    """The mean loss of the steps before each point, with dropout if the run has it."""
    validation: Curve
    levels: tuple[Level, ...]
    """Simple models, highest loss first."""
    best_step: int | None
    """The step of the lowest validation loss; None if the run was not evaluated."""
    best_nats_per_char: float | None
    gap_nats: float | None
    """The validation loss less the training loss at the last evaluation; None if one of them is not known."""


def read_curves(run: Path, *, levels: tuple[Level, ...] = (), max_points: int = MAX_POINTS) -> Curves:
    """Read the learning curves of a run, which may be in training.

    Args:
        run: The folder of the run.
        levels: Simple models to compare with, from `measure_levels`.
        max_points: If a curve has more points, only so many are kept, evenly spread, the last one among them.

    Raises:
        CharlmError: metrics.jsonl is missing, too large, damaged or a link.

    """
    lines = read_metrics(run / METRICS_FILE)
    training, validation = (_curve(lines, split) for split in ("train", "validation"))
    best = int(validation.nats_per_char.argmin()) if len(validation.steps) else None
    return Curves(
        training=_thin(training, max_points),
        validation=_thin(validation, max_points),
        levels=levels,
        best_step=None if best is None else int(validation.steps[best]),
        best_nats_per_char=None if best is None else float(validation.nats_per_char[best]),
        gap_nats=_gap(training, validation),
    )


def measure_levels(
    ids: NDArray[Any], vocabulary: Vocabulary, training: NDArray[Any] | None, ngram_nats: Callable[[int], Values]
) -> tuple[Level, ...]:
    """Score a text with simple models: uniform, unigram, 5-gram and bz2.

    Args:
        ids: The text, integers [T], T >= 2.
        vocabulary: The characters by id.
        training: The training text, integers [M]; None = it is not known, and there are no n-gram models.
        ngram_nats: Returns the nats of ids 1 to T - 1 by the n-grams of an order, counted on the training text.

    Returns:
        Highest loss first.

    """
    found = {"uniform": math.log(len(vocabulary))}
    known = ids[:0] if training is None else training
    found["bz2"] = compressed_nats(ids, vocabulary, known, names=("bz2",))["bz2"]
    if len(known):
        found["unigram"] = unigram_nats(ids, known, vocabulary_size=len(vocabulary))
        found[f"{NGRAM_ORDER}-gram"] = float(ngram_nats(NGRAM_ORDER).mean())
    levels = [Level(name, nats) for name, nats in found.items()]
    return tuple(sorted(levels, key=lambda level: -level.nats_per_char))


def _curve(lines: Sequence[Mapping[str, Any]], split: str) -> Curve:
    """Return the losses on a split; a loss of a later line with the same step replaces an earlier one."""
    points: dict[int, tuple[float, float]] = {}
    for line in lines:
        step, epoch, nats = (to_number(line.get(key)) for key in ("step", "epoch", "nats_per_char"))
        if line.get("split") == split and step is not None and nats is not None:
            points[int(step)] = float(epoch or 0), float(nats)
    steps = sorted(points)
    values = np.array([points[step] for step in steps], np.float64).reshape(-1, 2)
    return Curve(np.array(steps, np.int64), values[:, 0], values[:, 1])


def _thin(curve: Curve, points: int) -> Curve:
    if len(curve.steps) <= points:
        return curve
    kept = np.round(np.linspace(0, len(curve.steps) - 1, points)).astype(np.int64)
    return Curve(curve.steps[kept], curve.epochs[kept], curve.nats_per_char[kept])


def _gap(training: Curve, validation: Curve) -> float | None:
    """Return the last validation loss less the training loss at the step nearest to it."""
    if not (len(training.steps) and len(validation.steps)):
        return None
    nearest = np.abs(training.steps - validation.steps[-1]).argmin()
    return float(validation.nats_per_char[-1] - training.nats_per_char[nearest])
