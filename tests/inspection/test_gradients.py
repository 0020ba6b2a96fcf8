"""Gradients by lag, compared with central differences in float64 and with automatic differentiation."""

from typing import Any

import numpy as np
import pytest
import reference
from conftest import RandomParameters
from inspection.networks import one_layer, random_ids
from numpy.typing import NDArray

from charlm.inspection.backward import follow_back, loss_slope
from charlm.inspection.gradients import gradient_by_lag
from charlm.inspection.trace import Trace, cut_weights, read_text
from charlm.network.rnn import Parameters

IDS = [0, 3, 1, 1, 4, 2, 0, 2]
AT = 5
"""The step whose prediction is followed back, of character AT + 1."""
KINDS: list[dict[str, Any]] = [
    {},
    {"layers": 2, "activation": "softsign"},
    {"layers": 3, "skip_connections": True, "embedding": 3},
    {"layers": 2, "skip_connections": True, "use_bias": False, "activation": "sigmoid"},
]


def followed(parameters: Parameters, *, across_layers: bool = True, lags: int = 5) -> list[tuple[NDArray[Any], ...]]:
    """Return dL/dh at AT, AT - 1, ... of each layer, [H]."""
    trace = read_text(cut_weights(parameters), np.array(IDS))
    slopes = loss_slope(trace.logits[AT], np.array([IDS[AT + 1]]))
    flow = follow_back(trace, np.array([AT]), slopes, lags=lags, across_layers=across_layers)
    return [tuple(layer[0] for layer in gradients) for gradients, _ in flow]


def loss(parameters: Parameters, time: int, layer: int, nudge: NDArray[Any]) -> float:
    """Return the loss of the prediction at AT if the output of a layer at a time is nudged."""
    logits, _ = reference.read(parameters, IDS[: AT + 1], nudges={(time, layer): nudge})
    return reference.log_sum_exp(logits[AT]) - float(logits[AT, IDS[AT + 1]])


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_the_whole_state_is_that_of_central_differences(
    random_parameters: RandomParameters, kind: dict[str, Any]
) -> None:
    parameters = random_parameters(scale=0.7, **kind)
    for lag, gradients in enumerate(followed(parameters)):
        for layer, gradient in enumerate(gradients):
            nudges = 1e-5 * np.eye(len(gradient))
            ends = [[loss(parameters, AT - lag, layer, sign * nudge) for nudge in nudges] for sign in (1, -1)]
            np.testing.assert_allclose(gradient, np.subtract(ends[0], ends[1]) / 2e-5, atol=1e-9)


def test_one_layer_alone_is_followed_by_its_own_jacobians(random_parameters: RandomParameters) -> None:
    parameters = random_parameters(layers=3, scale=0.7)
    trace = read_text(cut_weights(parameters), np.array(IDS))
    flow = followed(parameters, across_layers=False)
    for layer, weights in enumerate(parameters.layers):
        for lag in range(1, 5):
            gain = trace.slopes[layer][AT - lag + 1, 0]
            jacobian = weights.recurrent_kernel.astype(float) @ np.diag(gain)  # dh_t / dh_{t-1} = V D_t, rows
            np.testing.assert_allclose(flow[lag][layer], jacobian @ flow[lag - 1][layer], atol=1e-12)


def test_both_paths_are_the_same_in_a_single_layer(random_parameters: RandomParameters) -> None:
    trace = read_text(cut_weights(random_parameters()), random_ids(60, ids=5))
    state, layer = (gradient_by_lag(trace, max_lag=9, path=path) for path in ("state", "layer"))
    np.testing.assert_array_equal(state.layers[0].median, layer.layers[0].median)


def test_the_gradient_of_a_linear_unit_is_a_power_of_its_weight() -> None:
    trace = read_text(cut_weights(one_layer(np.array([[0.5]]))), random_ids(60))
    curve = gradient_by_lag(trace, positions=7, max_lag=10).layers[0]
    for values in (curve.low, curve.median, curve.high):
        np.testing.assert_allclose(values, 0.5 ** np.arange(11))


def test_an_orthogonal_linear_network_keeps_the_length_of_the_gradient() -> None:
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))[0]
    trace = read_text(cut_weights(one_layer(rotation)), random_ids(80))
    found = gradient_by_lag(trace, positions=9, max_lag=20)
    assert found.positions == 9
    np.testing.assert_allclose(found.layers[0].high, np.ones(21), atol=1e-5)  # V is rounded to float32


def test_a_text_that_is_shorter_than_the_lags_gives_fewer() -> None:
    curve = gradient_by_lag(read_text(cut_weights(one_layer(np.eye(2))), random_ids(10)), max_lag=100).layers[0]
    assert curve.lag.tolist() == [0, 1, 2, 3, 4]


def test_a_gradient_of_zero_is_not_divided_by() -> None:
    parameters = one_layer(np.eye(2))
    silent = Parameters(None, parameters.layers, 0 * parameters.logits_kernel, parameters.logits_bias, "linear")
    curve = gradient_by_lag(read_text(cut_weights(silent), random_ids(20)), max_lag=3).layers[0]
    assert np.isnan(curve.median).all()


def torch_gradients(parameters: Parameters, trace: Trace, *, across_layers: bool) -> list[list[NDArray[Any]]]:
    """Return dL/dh by lag and layer, by automatic differentiation of the two-layer tanh network in torch."""
    torch = pytest.importorskip("torch", reason="missing: torch")

    def tensor(values: Any) -> Any:
        return torch.tensor(values.astype(np.float64))

    states = [[torch.zeros(layer.units, dtype=torch.float64) for layer in parameters.layers]]
    for time in range(AT + 1):
        below, now = tensor(np.eye(parameters.vocabulary_size)[IDS[time]]), []
        for layer, previous in zip(parameters.layers, states[-1], strict=True):
            total = below @ tensor(layer.kernel) + previous @ tensor(layer.recurrent_kernel) + tensor(layer.bias)
            now.append(torch.tanh(total).requires_grad_())
            now[-1].retain_grad()
            below = now[-1] if across_layers or time == AT else now[-1].detach()
        states.append(now)
    logits = states[-1][-1] @ tensor(parameters.logits_kernel) + tensor(parameters.logits_bias)
    torch.nn.functional.cross_entropy(logits[None], torch.tensor([IDS[AT + 1]])).backward()
    return [[state.grad.numpy() for state in states[AT + 1 - lag]] for lag in range(5)]


@pytest.mark.slow
@pytest.mark.parametrize("across_layers", [True, False])
def test_both_paths_are_those_of_automatic_differentiation(
    random_parameters: RandomParameters, *, across_layers: bool
) -> None:
    parameters = random_parameters(layers=2, scale=0.7)
    trace = read_text(cut_weights(parameters), np.array(IDS))
    expected = torch_gradients(parameters, trace, across_layers=across_layers)
    for found, wanted in zip(followed(parameters, across_layers=across_layers), expected, strict=True):
        for gradient, by_torch in zip(found, wanted, strict=True):
            np.testing.assert_allclose(gradient, by_torch, atol=1e-12)
