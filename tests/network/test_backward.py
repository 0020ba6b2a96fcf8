"""Slopes and gradients, compared with central differences in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from charlm.network.backward import follow_back, read_windows
from charlm.network.rnn import ACTIVATIONS, Parameters, parameters_from_tensors, unroll, zero_state

RandomParameters = Callable[..., Parameters]
DIFFERENCE = 1e-6
IDS = np.array([[0, 3, 1], [2, 2, 4], [1, 0, 3], [4, 1, 0], [0, 2, 2], [3, 4, 1]])  # [T + 1, B]


def loss_after(parameters: Parameters, shift: NDArray[np.float64], lag: int, layer: int) -> NDArray[np.float64]:
    """Return the loss of each window in float64, if `shift` [B, H] is added to h of a layer at a lag from the end."""
    tensors = {name: tensor.astype(np.float64) for name, tensor in parameters.tensors().items()}
    exact = parameters_from_tensors(
        tensors,  # type: ignore[arg-type]  # float64, for the differences
        activation=parameters.activation,
        skip_connections=parameters.skip_connections,
    )
    activate, batch = ACTIVATIONS[exact.activation], IDS.shape[1]
    state: list[NDArray[Any]] = [np.zeros((batch, weights.units)) for weights in exact.layers]
    for time in range(len(IDS) - 1):
        for index, weights in enumerate(exact.layers):
            table = exact.input_tables[index]
            total = state[index] @ weights.recurrent_kernel + (table[IDS[time]] if len(table) > 1 else table)
            if index:
                total = total + state[index - 1] @ exact.below_kernels[index]
            state[index] = activate(total)
            if (time, index) == (len(IDS) - 2 - lag, layer):
                state[index] = state[index] + shift
    features = np.concatenate(state, -1) if exact.skip_connections else state[-1]
    logits = features @ exact.logits_kernel + exact.logits_bias
    return np.asarray(np.log(np.exp(logits).sum(-1)) - logits[np.arange(batch), IDS[-1]])


@pytest.mark.parametrize("skip_connections", [False, True])
@pytest.mark.parametrize("embedding", [None, 3])
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "softsign"])
def test_the_gradients_by_lag_are_those_of_central_differences(
    activation: str, embedding: int | None, skip_connections: bool, random_parameters: RandomParameters
) -> None:
    parameters = random_parameters(
        layers=2, activation=activation, embedding=embedding, skip_connections=skip_connections, scale=0.6
    )
    found = follow_back(read_windows(parameters, IDS[:-1]), IDS[-1], lags=5)
    for lag in range(5):
        for layer in range(2):
            slopes = []
            for shift in DIFFERENCE * np.eye(4):
                up, down = (loss_after(parameters, sign * shift, lag, layer) for sign in (1, -1))
                slopes.append((up - down) / (2 * DIFFERENCE))
            np.testing.assert_allclose(found[lag, layer], np.linalg.norm(slopes, axis=0), rtol=2e-4, atol=1e-7)


def test_the_outputs_end_at_the_state_of_the_forward_pass(random_parameters: RandomParameters) -> None:
    parameters = random_parameters(layers=3, skip_connections=True)
    state = unroll(parameters, IDS, zero_state(parameters, 3))[1]
    for output, last in zip(read_windows(parameters, IDS).outputs, state, strict=True):
        np.testing.assert_allclose(output[-1], last, atol=1e-6)
