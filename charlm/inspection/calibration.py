"""Whether a network is too confident: the temperature that fits a text best.

A temperature divides the logits: p = softmax(logits / temperature). If the best one is above 1, the network is too
confident (Guo et al. 2017, "On calibration of modern neural networks").

Axes: T predictions, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.evaluation.calibration import MAX_VALUES, best_temperature
from charlm.evaluation.scoring import mean_and_error
from charlm.inspection.section import Section, Table
from charlm.network.rnn import Parameters, State, nats


@dataclass(frozen=True, eq=False)
class Calibration:
    """The temperature that fits a text best, and what it gains."""

    positions: range
    """Of the characters that were predicted."""
    temperature: float
    """The temperature with the lowest loss on the text, from 0.25 to 4."""
    gain: float
    """The nats per character that `temperature` saves."""
    gain_standard_error: float | None
    """By blocks of 500 characters; None with fewer than two."""


def calibrate(parameters: Parameters, ids: NDArray[Any], outputs: State) -> Calibration:
    """Find the temperature at which a network predicts a text best.

    Args:
        parameters: The weights.
        ids: The text, integers [T], T >= 2.
        outputs: The outputs of each layer after its first characters, [n, H]; less of them are used with a very large
            vocabulary.

    """
    count = min(len(outputs[0]), len(ids) - 1, max(MAX_VALUES // parameters.vocabulary_size, 2))
    targets = ids[1 : count + 1]
    logits = parameters.logits([output[:count] for output in outputs]).astype(np.float64)
    best = best_temperature(logits, targets)
    gain, error = mean_and_error(nats(logits, targets) - nats(logits / best, targets), np.arange(count))
    return Calibration(
        positions=range(1, count + 1),
        temperature=best,
        gain=gain,
        gain_standard_error=error,
    )


CALIBRATION = Section(
    "calibration",
    "Calibration",
    "p = softmax(logits / T)",
    "A best temperature above 1 says that the network is too confident, one below 1 that it is not confident enough.",
    lambda reading: calibrate(reading.parameters, reading.ids, reading.states),
    table=Table(
        "Calibration",
        ("best temperature, from 0.25 to 4", "nats per character that it saves"),
        lambda found, _: [(found.temperature, (found.gain, found.gain_standard_error))],
        is_folded=False,
    ),
)
