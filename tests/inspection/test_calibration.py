"""Calibration: the figures of the report."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import RandomParameters
from inspection.networks import states_of

from charlm.evaluation.scoring import mean_score, score_stream
from charlm.inspection.calibration import Calibration, calibrate
from charlm.network.rnn import Parameters


def calibration_of(parameters: Parameters, ids: np.ndarray) -> Calibration:
    return calibrate(parameters, ids, states_of(parameters, ids))


def test_the_gain_is_the_difference_of_the_losses_at_both_temperatures(random_parameters: RandomParameters) -> None:
    parameters = random_parameters(layers=2)
    ids = np.random.default_rng(1).integers(0, 5, 1501)
    found = calibration_of(parameters, ids)
    assert found.positions == range(1, 1501)
    cooled = replace(
        parameters,
        logits_kernel=parameters.logits_kernel / found.temperature,
        logits_bias=parameters.logits_bias / found.temperature,
    )
    before, after = (mean_score(score_stream(each, ids)) for each in (parameters, cooled))
    assert found.gain == pytest.approx(before.nats_per_char - after.nats_per_char, abs=1e-6)
    assert found.gain_standard_error == pytest.approx(before.difference_error(after), rel=1e-3)
