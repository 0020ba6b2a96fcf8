"""Calibration: on predictions whose right temperature is known, and against a fine grid."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import RandomParameters
from inspection.networks import states_of

from charlm.evaluation.scoring import mean_score, score_stream
from charlm.inspection.calibration import Calibration, best_temperature, calibrate
from charlm.network.rnn import Parameters


def calibration_of(parameters: Parameters, ids: np.ndarray) -> Calibration:
    return calibrate(parameters, ids, states_of(parameters, ids))


@pytest.fixture
def predictions() -> tuple[np.ndarray, np.ndarray]:
    """Return logits [4000, 6] and targets drawn from softmax(logits / 1.7)."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((4000, 6)) * 3
    logits -= logits.max(1, keepdims=True)
    noise = rng.gumbel(size=logits.shape)
    return logits, (logits / 1.7 + noise).argmax(1)


def test_the_temperature_that_targets_were_drawn_with_is_found(predictions: tuple[np.ndarray, np.ndarray]) -> None:
    assert best_temperature(*predictions) == pytest.approx(1.7, rel=0.05)


@pytest.mark.parametrize(("right", "end"), [(0, 0.25), (1, 4.0)], ids=["always right", "always wrong"])
def test_a_temperature_beyond_the_range_is_its_end(right: int, end: float) -> None:
    logits = np.array([[0, -1.0]] * 10)
    assert best_temperature(logits, np.full(10, right)) == pytest.approx(end)


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
