"""The outputs of a network on a text, compared with single steps of the reference."""

from collections.abc import Callable

import numpy as np
import pytest

from charlm.errors import CharlmError
from charlm.inspection.states import read_states, to_logits
from charlm.network.rnn import Parameters, step, zero_state

IDS = np.array([0, 3, 1, 4, 2, 2, 0])


@pytest.mark.parametrize("skip_connections", [False, True])
@pytest.mark.parametrize("embedding", [None, 3])
def test_outputs_and_logits_are_those_of_single_steps(
    random_parameters: Callable[..., Parameters], embedding: int | None, skip_connections: bool
) -> None:
    parameters = random_parameters(layers=3, embedding=embedding, skip_connections=skip_connections)
    outputs = read_states(parameters, IDS)
    logits = to_logits(parameters, outputs)
    state = zero_state(parameters, 1)
    for time, index in enumerate(IDS):
        expected, state = step(parameters, np.array([index]), state)
        for output, single in zip(outputs, state, strict=True):
            np.testing.assert_allclose(output[time], single[0], atol=1e-5)
        np.testing.assert_allclose(logits[time], expected[0], atol=1e-4)


def test_outputs_that_are_not_finite_are_refused(random_parameters: Callable[..., Parameters]) -> None:
    parameters = random_parameters(activation="linear", scale=1e15)
    with pytest.raises(CharlmError, match="not finite"):
        read_states(parameters, IDS)
