"""The stepper for generation gives the results of `rnn.step`."""

from itertools import product

import numpy as np
import pytest
from conftest import RandomParameters

from charlm.network.rnn import ACTIVATIONS, Parameters, State, step, unroll, zero_state
from charlm.network.stepper import Stepper

NETWORKS = [
    {"layers": layers, "embedding": embedding, "use_bias": use_bias, "skip_connections": skip}
    for layers, embedding, use_bias, skip in product((1, 2, 3), (None, 3), (True, False), (False, True))
]
IDS = np.random.default_rng(2).integers(0, 5, (6, 3))  # [T, B]


def some_state(parameters: Parameters, batch: int) -> State:
    return unroll(parameters, IDS[::-1, :batch], zero_state(parameters, batch))[1]


def assert_equals_step(parameters: Parameters, batch: int) -> None:
    state = some_state(parameters, batch)
    stepper = Stepper(parameters, state)
    for ids in IDS[:, :batch]:
        logits, state = step(parameters, ids, state)
        stepper.advance(ids if batch > 1 else int(ids[0]))
        np.testing.assert_allclose(np.atleast_2d(stepper.logits), logits, rtol=1e-4, atol=1e-5)
        for output, expected in zip(stepper.state, state, strict=True):
            np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_stepper_equals_step(
    random_parameters: RandomParameters, network: dict[str, int | bool | None], batch: int
) -> None:
    assert_equals_step(random_parameters(**network), batch)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_stepper_equals_step_with_every_activation(random_parameters: RandomParameters, activation: str) -> None:
    assert_equals_step(random_parameters(layers=2, activation=activation, scale=0.1), batch=3)


def test_vocabulary_may_have_one_character(random_parameters: RandomParameters) -> None:
    parameters = random_parameters(vocabulary_size=1, layers=2)
    state = zero_state(parameters, 1)
    stepper = Stepper(parameters, state)
    stepper.advance(0)
    np.testing.assert_allclose(stepper.logits, step(parameters, np.array([0]), state)[0][0], atol=1e-6)


def test_first_logits_are_those_of_the_given_state(random_parameters: RandomParameters) -> None:
    parameters = random_parameters(layers=2)
    logits, state = unroll(parameters, IDS, zero_state(parameters, 3))
    np.testing.assert_allclose(Stepper(parameters, state).logits, logits[-1], atol=1e-5)


def test_forbidden_ids_have_a_logit_of_minus_infinity_and_others_do_not_change(
    random_parameters: RandomParameters,
) -> None:
    parameters = random_parameters()
    state = some_state(parameters, 3)
    free, bound = Stepper(parameters, state), Stepper(parameters, state, forbidden=[1, 4])
    free.advance(IDS[0])
    bound.advance(IDS[0])
    assert (bound.logits[:, [1, 4]] == -np.inf).all()
    np.testing.assert_array_equal(bound.logits[:, [0, 2, 3]], free.logits[:, [0, 2, 3]])


def test_parameters_and_the_given_state_are_not_changed(
    random_parameters: RandomParameters,
) -> None:
    parameters = random_parameters()
    before = {name: tensor.copy() for name, tensor in parameters.tensors().items()}
    state = zero_state(parameters, 3)
    Stepper(parameters, state, forbidden=[0]).advance(IDS[0])
    assert not state[0].any()
    for name, tensor in parameters.tensors().items():
        np.testing.assert_array_equal(tensor, before[name])
