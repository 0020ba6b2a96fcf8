"""Calibration: the figures of the report."""

import numpy as np
import pytest
from conftest import RandomParameters
from inspection.networks import states_of

from charlm.evaluation.scoring import mean_score, score_stream
from charlm.inspection.calibration import Calibration, calibrate
from charlm.network.rnn import Parameters


def calibration_of(parameters: Parameters, ids: np.ndarray) -> Calibration:
    return calibrate(parameters, ids, states_of(parameters, ids))


def test_the_loss_at_temperature_1_is_that_of_the_stream(random_parameters: RandomParameters) -> None:
    parameters = random_parameters(layers=2)
    ids = np.random.default_rng(1).integers(0, 5, 500)
    found = calibration_of(parameters, ids)
    assert found.positions == 499
    assert found.nats_per_char == pytest.approx(mean_score(score_stream(parameters, ids)).nats_per_char, rel=1e-5)
