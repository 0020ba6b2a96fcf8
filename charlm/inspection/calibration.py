"""Whether the network's probabilities are right: reliability, and the temperature that fits a text best.

A temperature divides the logits: p = softmax(logits / temperature). If the best one is above 1, the network is too
confident (Guo et al. 2017, "On calibration of modern neural networks").

Axes: T predictions, V vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from charlm.inspection.figures import BLUE, MUTED, canvas, series
from charlm.inspection.section import Chart, Rows, Section, Table
from charlm.network.rnn import Parameters, State, nats

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Values = NDArray[np.float64]

MAX_VALUES = 1 << 22
"""Of the logits; 32 MB."""
BINS = 10
TEMPERATURES = (0.25, 4.0)
"""The lowest and the highest temperature that is tried."""
HALVINGS = 40


@dataclass(frozen=True)
class Bin:
    """The positions at which the probability of the likeliest character lies in a range."""

    low: float
    high: float
    positions: int
    """1 or more."""
    confidence: float
    """The mean probability of the likeliest character."""
    accuracy: float
    """How often the likeliest character was the right one, from 0 to 1."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """How the probabilities of a network compare with what happens."""

    positions: int
    """How many predictions were compared."""
    bins: tuple[Bin, ...]
    """Those with a position in them, from the least confident."""
    expected_error: float
    """The mean of |confidence - accuracy| over the positions, bin by bin, from 0 to 1."""
    temperature: float
    """The temperature with the lowest loss on the text, from 0.25 to 4."""
    nats_per_char: float
    """The loss at temperature 1."""
    best_nats_per_char: float
    """The loss at `temperature`."""


def calibrate(parameters: Parameters, ids: NDArray[Any], outputs: State) -> Calibration:
    """Compare the probabilities of a network with what happens in a text.

    Args:
        parameters: The weights.
        ids: The text, integers [T], T >= 2.
        outputs: The outputs of each layer after its first characters, [n, H]; less of them are used with a very large
            vocabulary.

    """
    count = min(len(outputs[0]), len(ids) - 1, max(MAX_VALUES // parameters.vocabulary_size, 2))
    targets = np.asarray(ids[1 : count + 1], np.int64)
    logits = parameters.logits([output[:count] for output in outputs]).astype(np.float64)
    logits -= logits.max(-1, keepdims=True)
    reliability = _reliability(logits, targets)
    best = best_temperature(logits, targets)
    return Calibration(
        positions=len(targets),
        bins=reliability,
        expected_error=_expected_error(reliability) if np.isfinite(logits).all() else math.nan,
        temperature=best,
        nats_per_char=float(nats(logits, targets).mean()),
        best_nats_per_char=float(nats(logits / best, targets).mean()),
    )


def _expected_error(bins: Sequence[Bin]) -> float:
    return sum(b.positions * abs(b.confidence - b.accuracy) for b in bins) / sum(b.positions for b in bins)


def best_temperature(logits: Values, targets: NDArray[np.int64]) -> float:
    """Return the temperature of the range TEMPERATURES at which logits predict the targets with the lowest loss.

    The loss is convex in 1 / temperature. Its slope, E[logit] - logit of the target, is brought to 0 by bisection.

    Args:
        logits: float64 [T, V], at most 0.
        targets: The ids that follow, int64 [T].

    """
    known = float(np.take_along_axis(logits, targets[:, None], 1).mean())
    most, least = (1 / temperature for temperature in TEMPERATURES)
    for _ in range(HALVINGS):
        middle = (least + most) / 2
        weights = np.exp(logits * middle)
        slope = float(((weights * logits).sum(1) / weights.sum(1)).mean()) - known
        least, most = (least, middle) if slope > 0 else (middle, most)
    return 2 / (least + most)


def _reliability(logits: Values, targets: NDArray[np.int64]) -> tuple[Bin, ...]:
    confidence = 1 / np.exp(logits).sum(1)  # the largest logit is 0
    is_right = logits.argmax(1) == targets
    index = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    return tuple(
        Bin(
            low=number / BINS,
            high=(number + 1) / BINS,
            positions=int(inside.sum()),
            confidence=float(confidence[inside].mean()),
            accuracy=float(is_right[inside].mean()),
        )
        for number in range(BINS)
        if (inside := index == number).any()
    )


def draw_reliability(calibration: Calibration) -> "Figure":
    """Draw how often the likeliest character is right, by the probability that it was given."""
    figure, (axes,) = canvas("Reliability", height=2.8)
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


def calibration_rows(found: Calibration, _: object) -> Rows:
    """Return the figures of a calibration."""
    return (
        ("best temperature, from 0.25 to 4", found.temperature),
        ("nats per character at the best temperature", found.best_nats_per_char),
        ("nats per character at temperature 1", found.nats_per_char),
        ("expected calibration error", found.expected_error),
        ("predictions", found.positions),
    )


CALIBRATION = Section(
    "calibration",
    "Calibration",
    "p = softmax(logits / T)",
    "Points below the diagonal are predictions that are right less often than the network believes; "
    "a best temperature above 1 says the same in one number.",
    lambda reading: calibrate(reading.parameters, reading.ids, reading.states),
    Chart(
        "reliability",
        "how often the likeliest character is right, by its probability: on the diagonal, as often as it says; "
        "the larger a dot, the more predictions",
        draw_reliability,
    ),
    Table("Calibration", ("quantity", "value"), calibration_rows, is_folded=False),
)
