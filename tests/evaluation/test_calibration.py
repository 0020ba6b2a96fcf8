"""The best temperature: on predictions whose right temperature is known, and on a text that a network has written."""

import numpy as np
import pytest
from conftest import RandomParameters

from charlm.evaluation import calibration
from charlm.evaluation.calibration import best_temperature, fit_temperature
from charlm.evaluation.scoring import estimate_stream
from charlm.network.rnn import Parameters


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
    assert best_temperature(logits, np.full(10, right)) == pytest.approx(end, rel=1e-4)


def written_text(parameters: Parameters, temperature: float) -> np.ndarray:
    """Return 6,000 ids that a network writes at a temperature, each drawn from softmax(logits / temperature)."""
    rng, ids, state = np.random.default_rng(0), [0], parameters.zero_state(1)
    for _ in range(5999):
        logits, state = parameters.step(np.array(ids[-1:]), state)
        ids.append(int((logits[0] / temperature + rng.gumbel(size=logits.shape[1])).argmax()))
    return np.array(ids)


@pytest.mark.parametrize("values", [calibration.MAX_VALUES, 9000], ids=["all predictions", "some of them"])
def test_the_temperature_that_a_network_has_written_a_text_with_is_found(
    values: int, random_parameters: RandomParameters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "MAX_VALUES", values)
    parameters = random_parameters(layers=2).divide_logits(0.5)
    ids = written_text(parameters, 0.7)
    found = fit_temperature(parameters, ids)
    assert found == pytest.approx(0.7, rel=0.06 if values == 9000 else 0.03)
    losses = [
        estimate_stream(parameters.divide_logits(each), ids).nats_per_char for each in (found, 0.9 * found, 1.1 * found)
    ]
    assert min(losses) == losses[0]
