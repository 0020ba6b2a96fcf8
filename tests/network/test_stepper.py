"""Both steppers give the results of `Parameters.step`; a stream in a tile has the bits that it has alone."""

import numpy as np
import pytest
from conftest import RandomParameters
from reference import NETWORKS

from charlm.errors import CharlmError
from charlm.network.rnn import Parameters, State
from charlm.network.stepper import Stepper, TiledStepper, count_lanes

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


@pytest.mark.parametrize("lanes", [1, 4, 16])
def test_tiles_equal_step(parameters: Parameters, lanes: int) -> None:
    stepper, state = TiledStepper(parameters, streams=7, lanes=lanes), parameters.zero_state(7)
    for ids in IDS:
        logits, state = parameters.step(ids, state)
        stepper.advance(ids)
        np.testing.assert_allclose(stepper.logits(7), logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "relu", "linear"])
def test_a_stream_alone_has_the_bits_of_one_among_many(random_parameters: RandomParameters, activation: str) -> None:
    parameters = random_parameters(units=67, layers=2, scale=0.2, vocabulary_size=11, activation=activation)
    lanes = count_lanes(parameters)
    alone = TiledStepper(parameters, streams=1, lanes=lanes)
    among = TiledStepper(parameters, streams=50, lanes=lanes)
    rng = np.random.default_rng(0)
    for characters in rng.integers(0, 11, (40, 50)):
        among.advance(characters)
        alone.advance(characters[[37]])
        np.testing.assert_array_equal(among.logits(50)[37], alone.logits(1)[0])


def test_a_stream_that_is_moved_goes_on_with_the_same_bits(random_parameters: RandomParameters) -> None:
    parameters = random_parameters(units=33, layers=2, scale=0.3)
    stepper = TiledStepper(parameters, streams=40, lanes=count_lanes(parameters))
    for ids in np.random.default_rng(0).integers(0, 5, (9, 40)):
        stepper.advance(ids)
    expected = stepper.logits(40)[39].copy()
    stepper.move(39, 2)
    np.testing.assert_array_equal(stepper.logits(3)[2], expected)
    for ids in (4, 1, 0):
        stepper.advance(np.full(40, ids))
        np.testing.assert_array_equal(stepper.logits(40)[2], stepper.logits(40)[39])


def test_weights_without_finite_logits_are_refused(random_parameters: RandomParameters) -> None:
    parameters = random_parameters(activation="linear", scale=1e30)
    with pytest.raises(CharlmError, match="not finite"):
        count_lanes(parameters)
