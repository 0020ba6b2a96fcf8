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


def test_the_loss_at_temperature_1_is_that_of_the_stream(random_parameters: RandomParameters) -> None:
    parameters = random_parameters(layers=2)
    ids = np.random.default_rng(1).integers(0, 5, 500)
    found = calibration_of(parameters, ids)
    assert found.positions == 499
    assert found.nats_per_char == pytest.approx(mean_score(score_stream(parameters, ids)).nats_per_char, rel=1e-5)


def test_logits_that_are_not_finite_give_an_error_that_is_not_either(random_parameters: RandomParameters) -> None:
    parameters = replace(random_parameters(), logits_bias=np.array([3e38, -3e38, 0, 0, 0], np.float32))
    with np.errstate(all="ignore"):
        broken = replace(parameters, logits_kernel=parameters.logits_kernel * np.float32(3e38))
        assert np.isnan(calibration_of(broken, np.array([1, 2, 0, 1])).expected_error)


def test_bins_count_how_often_the_likeliest_character_was_right(random_parameters: RandomParameters) -> None:
    parameters = random_parameters()
    constant = replace(
        parameters,
        logits_kernel=np.zeros_like(parameters.logits_kernel),
        logits_bias=np.log(np.array([0.55, 0.15, 0.1, 0.1, 0.1], np.float32)),
    )
    ids = np.array([1, 0, 0, 2, 0, 3, 4, 0, 0, 1, 0])
    found = calibration_of(constant, ids)
    (only,) = found.bins
    assert (only.low, only.high, only.positions) == (0.5, 0.6, 10)
    assert only.confidence == pytest.approx(0.55)
    assert only.accuracy == pytest.approx(0.6)
    assert found.expected_error == pytest.approx(0.05)
