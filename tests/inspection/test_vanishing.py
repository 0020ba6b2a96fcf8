"""Gradients by lag whose answer is known, and truncated gradients compared with central differences."""

from typing import Any

import numpy as np
import pytest
import reference
from conftest import RandomParameters
from inspection.networks import one_layer, random_ids, traced
from numpy.typing import NDArray

from charlm.inspection.vanishing import gradient_by_lag, truncation_bias, weight_gradients
from charlm.network.rnn import Parameters, parameters_from_tensors


def test_the_gradient_of_a_linear_unit_is_a_power_of_its_weight() -> None:
    trace = traced(one_layer(np.array([[0.5]])), random_ids(60))
    curve = gradient_by_lag(trace, positions=7, max_lag=10).layers[0]
    for values in (curve.low, curve.median, curve.high):
        np.testing.assert_allclose(values, 0.5 ** np.arange(11))


def test_an_orthogonal_linear_network_keeps_the_length_of_the_gradient() -> None:
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))[0]
    trace = traced(one_layer(rotation), random_ids(80))
    found = gradient_by_lag(trace, positions=9, max_lag=20)
    assert found.positions == 9
    np.testing.assert_allclose(found.layers[0].high, np.ones(21), atol=1e-5)  # V is rounded to float32


def test_a_text_that_is_shorter_than_the_lags_gives_fewer() -> None:
    curve = gradient_by_lag(traced(one_layer(np.eye(2)), random_ids(10)), max_lag=100).layers[0]
    assert curve.lag.tolist() == [0, 1, 2, 3, 4]


IDS = [2, 0, 1, 3, 3, 0, 1]
STEPS = len(IDS) - 1
KINDS: list[dict[str, Any]] = [
    {},
    {"layers": 2, "embedding": 3, "skip_connections": True},
    {"layers": 2, "use_bias": False},
]


def central_differences(parameters: Parameters, name: str, *, window: int) -> NDArray[Any]:
    """Return the gradient of the mean loss by a tensor, with the state at each border of windows held constant."""
    starts = range(0, STEPS, window)
    states = [reference.read(parameters, IDS[:start])[1] if start else None for start in starts]

    def loss(index: tuple[int, ...], step: float) -> float:
        tensors: dict[str, Any] = {key: tensor.astype(np.float64) for key, tensor in parameters.tensors().items()}
        tensors[name][index] += step
        changed = parameters_from_tensors(
            tensors, activation=parameters.activation, skip_connections=parameters.skip_connections
        )
        total = 0.0
        for start, state in zip(starts, states, strict=True):
            end = min(start + window, STEPS)
            logits, _ = reference.read(changed, IDS[start:end], state)
            targets = IDS[start + 1 : end + 1]
            total += sum(reference.log_sum_exp(row) - row[at] for row, at in zip(logits, targets, strict=True))
        return total / STEPS

    gradient = np.empty(parameters.tensors()[name].shape)
    for index in np.ndindex(gradient.shape):
        gradient[index] = (loss(index, 1e-5) - loss(index, -1e-5)) / 2e-5
    return gradient


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("window", [2, 4, STEPS])
def test_the_gradients_of_all_weights_are_those_of_central_differences(
    random_parameters: RandomParameters, kind: dict[str, Any], window: int
) -> None:
    parameters = random_parameters(vocabulary_size=4, units=2, scale=0.8, **kind)
    found = weight_gradients(traced(parameters, IDS), window=window, chunk=4)
    names = {"rnn.0.recurrent_kernel": "recurrent.0", "logits.bias": "logits.bias"}
    names |= {"embedding": "embedding"} if parameters.embedding is not None else {"rnn.0.kernel": "input.0"}
    names |= {"rnn.0.bias": "bias.0"} if parameters.layers[0].bias is not None else {}
    for tensor, name in names.items():
        np.testing.assert_allclose(found[name], central_differences(parameters, tensor, window=window), atol=1e-8)
    if len(parameters.layers) > 1:
        parts = [found[name] for name in ("below.1", "input.1") if name in found]
        expected = central_differences(parameters, "rnn.1.kernel", window=window)
        np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-8)


def test_a_window_of_the_whole_text_has_no_bias(random_parameters: RandomParameters) -> None:
    trace = traced(random_parameters(layers=2), random_ids(66, ids=5).reshape(33, 2))
    found = truncation_bias(trace)
    assert found.window.tolist() == [1, 2, 4, 8, 16, 32]
    assert (found.characters, found.texts) == (32, 2)
    assert found.angle_degrees[-1] == pytest.approx(0, abs=1e-5)
    assert found.length_ratio[-1] == 1
    assert found.recurrent_angle_degrees.shape == (2, 6)
    assert found.angle_degrees[0] > 1


def test_the_angle_is_that_between_the_flattened_gradients(random_parameters: RandomParameters) -> None:
    trace = traced(random_parameters(layers=2), random_ids(17, ids=5))
    short, full = (
        np.concatenate([part.ravel() for part in weight_gradients(trace, window=window).values()]) for window in (2, 16)
    )
    cosine = short @ full / np.linalg.norm(short) / np.linalg.norm(full)
    found = truncation_bias(trace)
    assert found.angle_degrees[1] == pytest.approx(np.degrees(np.arccos(cosine)))
    assert found.length_ratio[1] == pytest.approx(np.linalg.norm(short) / np.linalg.norm(full))
