"""How a run learnt: its losses step by step, simple models to compare with, and its samples as they got better."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
class RunSample:
    """A text that the network wrote during training."""

    step: int
    text: str


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
    samples: tuple[RunSample, ...]
    """In order of their steps; empty if the run wrote none."""
