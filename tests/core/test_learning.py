"""The gradient of a window: it must equal the slope of the objective along each weight."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from charlm.core.architecture import Architecture
from charlm.core.learning import Adam, Objective, backpropagate
from charlm.core.rnn import Dropout, Floats, Parameters, State, log_softmax, read_outputs

T, B, V, H = 6, 3, 7, 5
PLAIN = {"layers": 2, "units": H, "embedding": None, "use_bias": True, "skip_connections": False}
RNG = np.random.default_rng(1)
WINDOW = RNG.integers(0, V, (T + 1, B))
SOFT = RNG.dirichlet(np.ones(V), (T, B))


def network(activation: str = "tanh", **settings: Any) -> Parameters:
    """Return a network in float64 with random weights, also of its biases."""
    shape = Architecture(V, **{**PLAIN, **settings}, activation=activation)
    rng = np.random.default_rng(2)
    tensors: dict[str, Floats] = {}
    for name, size in shape.shapes().items():
        tensors[name] = 0.6 * rng.standard_normal(size)
    return Parameters(shape, tensors)


def state_of(parameters: Parameters) -> State:
    """Return a state before the window that is not zero."""
    rng = np.random.default_rng(3)
    return tuple(0.5 * rng.standard_normal((B, H)) for _ in parameters.layers)


def masks_of(parameters: Parameters) -> Dropout:
    """Return masks that drop about a third."""
    rng = np.random.default_rng(4)
    layers = parameters.architecture.layers
    sizes = [(layers, B, H), (layers - 1, B, H), (T, B, len(parameters.logits_kernel))]
    return Dropout(*((rng.random(size) < 0.7) / 0.7 for size in sizes))


def minimised(
    parameters: Parameters, objective: Objective, dropout: Dropout | None = None
) -> float:
    """Return the objective of the window, by its definition."""
    outputs = read_outputs(parameters, WINDOW[:-1], state_of(parameters), dropout=dropout)
    features = parameters.features(outputs)
    if dropout is not None:
        features = features * dropout.output
    logits = features @ parameters.logits_kernel + parameters.logits_bias
    wanted = (1 - objective.soft_weight) * np.eye(V)[WINDOW[1:]] + objective.soft_weight * SOFT
    return float(-(wanted * log_softmax(logits / objective.temperature)).sum(-1).mean())


def slopes(parameters: Parameters, minimised: Callable[[Parameters], float]) -> dict[str, Any]:
    """Return the slope along each weight from two points near it."""
    step = 1e-6
    result = {}
    for name, tensor in parameters.tensors.items():
        result[name] = np.zeros_like(tensor)
        for index in np.ndindex(tensor.shape):
            ends = []
            for change in (-step, step):
                moved = tensor.copy()
                moved[index] += change
                moved_parameters = Parameters(
                    parameters.architecture, parameters.tensors | {name: moved}
                )
                ends.append(minimised(moved_parameters))
            result[name][index] = (ends[1] - ends[0]) / (2 * step)
    return result


NETWORKS = [
    pytest.param({}, id="two layers"),
    pytest.param({"layers": 1}, id="one layer"),
    pytest.param({"layers": 3, "skip_connections": True}, id="skip connections"),
    pytest.param({"embedding": 4}, id="embedding"),
    pytest.param({"layers": 3, "embedding": 4, "skip_connections": True}, id="both"),
    pytest.param({"use_bias": False}, id="no biases"),
    pytest.param({"activation": "sigmoid"}, id="sigmoid"),
    pytest.param({"activation": "relu"}, id="relu"),
    pytest.param({"activation": "linear"}, id="linear"),
]


@pytest.mark.parametrize("settings", NETWORKS)
@pytest.mark.parametrize(
    ("objective", "has_dropout"),
    [
        pytest.param(Objective(), False, id="plain"),
        pytest.param(Objective(temperature=0.7, soft_weight=0.3), True, id="with everything"),
    ],
)
def test_a_gradient_is_the_slope_of_the_objective(
    settings: dict[str, Any], objective: Objective, has_dropout: bool
) -> None:
    parameters = network(**settings)
    dropout = masks_of(parameters) if has_dropout else None
    learnt = backpropagate(
        parameters, WINDOW, state_of(parameters), objective=objective, soft=SOFT, dropout=dropout
    )
    expected = slopes(parameters, lambda moved: minimised(moved, objective, dropout))
    assert learnt.gradient.tensors.keys() == expected.keys()
    for name, slope in expected.items():
        assert_allclose(learnt.gradient.tensors[name], slope, atol=1e-8, rtol=1e-6, err_msg=name)


def test_the_loss_is_that_of_the_text_itself() -> None:
    parameters = network()
    objective = Objective(temperature=0.7, soft_weight=0.3)
    learnt = backpropagate(parameters, WINDOW, state_of(parameters), objective=objective, soft=SOFT)
    assert learnt.loss == pytest.approx(minimised(parameters, Objective()))


def test_the_state_is_that_after_the_window() -> None:
    parameters = network()
    learnt = backpropagate(parameters, WINDOW, state_of(parameters))
    outputs = read_outputs(parameters, WINDOW[:-1], state_of(parameters))
    for state, output in zip(learnt.state, outputs, strict=True):
        assert_allclose(state, output[-1])


def test_results_have_the_dtype_of_the_weights() -> None:
    parameters = network(embedding=4).cast(np.float32)
    state = parameters.zero_state(B)
    learnt = backpropagate(parameters, WINDOW, state)
    assert {each.dtype for each in learnt.gradient.tensors.values()} == {np.dtype(np.float32)}
    assert learnt.state[0].dtype == np.float32


def test_a_step_of_adam_is_that_of_its_paper() -> None:
    weights = {"a": np.array([1.0, -2.0])}
    optimizer = Adam(weights)
    gradients = [np.array([0.5, -1.0]), np.array([-0.1, 3.0])]
    expected = weights["a"].copy()
    momentum = velocity = np.zeros(2)
    for count, gradient in enumerate(gradients, 1):
        optimizer.step({"a": gradient}, 0.01)
        momentum = 0.9 * momentum + 0.1 * gradient
        velocity = 0.999 * velocity + 0.001 * gradient**2
        unbiased_momentum = momentum / (1 - 0.9**count)
        unbiased_velocity = velocity / (1 - 0.999**count)
        expected -= 0.01 * unbiased_momentum / np.sqrt(unbiased_velocity)
    assert_allclose(weights["a"], expected, rtol=1e-4)  # epsilon is of another place


def test_a_network_learns_a_window_by_heart() -> None:
    parameters = network(layers=1)
    optimizer = Adam(parameters.tensors)
    losses = []
    for _ in range(250):
        learnt = backpropagate(parameters, WINDOW, parameters.zero_state(B))
        optimizer.step(learnt.gradient.tensors, 0.03)
        losses.append(learnt.loss)
        parameters = Parameters(parameters.architecture, parameters.tensors)  # other input tables
    assert losses[0] > 1.9
    assert losses[-1] < 0.1
