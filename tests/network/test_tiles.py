"""Streams in tiles: the results of `rnn.step`, and the same bits wherever a stream lies and whatever lies beside it."""

import numpy as np
import pytest
from conftest import RandomParameters
from network.test_stepper import NETWORKS

from charlm.errors import CharlmError
from charlm.network.rnn import step, zero_state
from charlm.network.tiles import TiledStepper, count_lanes

IDS = np.random.default_rng(1).integers(0, 5, (6, 7))  # [T, B]


@pytest.mark.parametrize("lanes", [1, 4, 16])
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_tiles_equal_step(
    random_parameters: RandomParameters, network: dict[str, int | bool | None], lanes: int
) -> None:
    parameters = random_parameters(**network)
    stepper, state = TiledStepper(parameters, streams=7, lanes=lanes), zero_state(parameters, 7)
    for ids in IDS:
        logits, state = step(parameters, ids, state)
        stepper.advance(ids)
        np.testing.assert_allclose(stepper.logits(7), logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "relu", "softsign"])
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


def test_a_cleared_stream_begins_in_the_zero_state(random_parameters: RandomParameters) -> None:
    parameters = random_parameters(layers=2)
    stepper, fresh = (TiledStepper(parameters, streams=2, lanes=2) for _ in range(2))
    stepper.advance(np.array([1, 2]))
    stepper.clear(1)
    stepper.advance(np.array([3, 4]))
    fresh.advance(np.array([0, 4]))
    np.testing.assert_array_equal(stepper.logits(2)[1], fresh.logits(2)[1])


def test_the_last_width_is_taken_without_a_trial(random_parameters: RandomParameters) -> None:
    assert count_lanes(random_parameters(), lanes=(1,)) == 1
    assert count_lanes(random_parameters()) in {16, 8, 4, 2, 1}


def test_weights_without_finite_logits_are_refused(random_parameters: RandomParameters) -> None:
    parameters = random_parameters(activation="linear", scale=1e30)
    with pytest.raises(CharlmError, match="not finite"):
        count_lanes(parameters)
