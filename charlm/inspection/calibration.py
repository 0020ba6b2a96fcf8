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
from charlm.inspection.section import Rows, Section, Table
from charlm.network.rnn import Parameters, State, nats


@dataclass(frozen=True, eq=False)
class Calibration:
    """The temperature that fits a text best, and what it gains."""

    positions: int
    """How many predictions were compared."""
    temperature: float
    """The temperature with the lowest loss on the text, from 0.25 to 4."""
    nats_per_char: float
    """The loss at temperature 1."""
    best_nats_per_char: float
    """The loss at `temperature`."""


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
    return Calibration(
        positions=len(targets),
        temperature=best,
        nats_per_char=float(nats(logits, targets).mean()),
        best_nats_per_char=float(nats(logits / best, targets).mean()),
    )


def calibration_rows(found: Calibration, _: object) -> Rows:
    """Return the figures of a calibration."""
    return (
        ("best temperature, from 0.25 to 4", found.temperature),
        ("nats per character at the best temperature", found.best_nats_per_char),
        ("nats per character at temperature 1", found.nats_per_char),
        ("predictions", found.positions),
    )


CALIBRATION = Section(
    "calibration",
    "Calibration",
    "p = softmax(logits / T)",
    "A best temperature above 1 says that the network is too confident, one below 1 that it is not confident enough.",
    lambda reading: calibrate(reading.parameters, reading.ids, reading.states),
    table=Table("Calibration", ("quantity", "value"), calibration_rows, is_folded=False),
)
