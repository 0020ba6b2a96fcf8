"""The stepper gives the results of `Parameters.step`."""

import numpy as np
import pytest
from conftest import RandomParameters
from reference import NETWORKS

from charlm.network.rnn import Parameters, State
from charlm.network.stepper import Stepper

IDS = np.random.default_rng(2).integers(0, 5, (6, 7))  # [T, B]


def some_state(parameters: Parameters, batch: int) -> State:
    return parameters.unroll(IDS[::-1, :batch], parameters.zero_state(batch))[1]


@pytest.fixture(params=NETWORKS, ids=str)
def parameters(request: pytest.FixtureRequest, random_parameters: RandomParameters) -> Parameters:
    """Return a network of each structure."""
    return random_parameters(**request.param)


def test_stepper_equals_step(parameters: Parameters) -> None:
    state = some_state(parameters, 1)
    stepper = Stepper(parameters, state)
    for ids in IDS[:, :1]:
        (logits,), state = parameters.step(ids, state)
        stepper.advance(int(ids[0]))
        np.testing.assert_allclose(stepper.logits, logits, rtol=1e-4, atol=1e-5)


def test_forbidden_ids_have_a_logit_of_minus_infinity_and_others_do_not_change(parameters: Parameters) -> None:
    state = some_state(parameters, 1)
    free, bound = Stepper(parameters, state), Stepper(parameters, state, forbidden=[1, 4])
    assert (bound.logits[[1, 4]] == -np.inf).all()
    np.testing.assert_array_equal(bound.logits[[0, 2, 3]], free.logits[[0, 2, 3]])
