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
    training, validation = (_curve(lines, split, max_points) for split in ("train", "validation"))
    return Curves(training, validation, levels)


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
