"""The recurrence and the network in NumPy, compared with their definitions in float64."""

import math
from typing import Any

import numpy as np
import pytest
import reference
from arrays import check_close
from models import random_parameters

from charlm.core import rnn
from charlm.core.rnn import nats

IDS = np.random.default_rng(1).integers(0, 5, (7, 3))  # [T, B]


@pytest.mark.parametrize("network", reference.NETWORKS, ids=str)
def test_a_window_is_read_as_defined(network: dict[str, Any]) -> None:
    parameters = random_parameters(**network)
    logits, state = parameters.unroll(IDS, parameters.zero_state(3))
    for stream in range(3):
        expected_logits, expected_state = reference.read(parameters, IDS[:, stream].tolist())
        arrays = [logits[:, stream], *(output[stream] for output in state)]
        check_close(arrays, [expected_logits, *expected_state], atol=1e-5)


def test_reading_does_not_change_its_initial_state() -> None:
    parameters = random_parameters(layers=2)
    state = parameters.zero_state(3)
    parameters.step(IDS[0], state)
    parameters.unroll(IDS, state)
    assert not state[0].any()


def test_activations_differ_in_their_first_letters() -> None:
    """The programs in C know an activation by its first letter."""
    assert len({name[0] for name in rnn.ACTIVATIONS}) == len(rnn.ACTIVATIONS)


@pytest.mark.parametrize("name", rnn.ACTIVATIONS)
def test_an_activation_equals_its_definition(name: str) -> None:
    x = np.linspace(-8, 8, 65, dtype=np.float32)
    outputs = rnn.ACTIVATIONS[name].function(x)
    expected = [reference.ACTIVATIONS[name](value) for value in x.tolist()]
    assert outputs.dtype == np.float32
    np.testing.assert_allclose(outputs, expected, rtol=2e-6, atol=5e-7)


@pytest.mark.parametrize("name", rnn.ACTIVATIONS)
def test_an_activation_does_not_overflow(name: str) -> None:
    assert np.isfinite(rnn.ACTIVATIONS[name].function(np.array([-1e4, 1e4], np.float32))).all()


# Losses


def test_nats_are_minus_the_logarithm_of_the_softmax() -> None:
    logits = np.random.default_rng(5).standard_normal((6, 4)).astype(np.float32)
    targets = [0, 1, 2, 3, 3, 0]
    expected = [
        reference.log_sum_exp(row) - row[target]
        for row, target in zip(logits, targets, strict=True)
    ]
    losses = nats(logits.reshape(2, 3, 4), np.reshape(targets, (2, 3)))
    assert losses.dtype == np.float32
    np.testing.assert_allclose(losses, np.reshape(expected, (2, 3)), rtol=1e-5)


def test_nats_of_large_logits_do_not_overflow() -> None:
    logits = np.array([[1e4, -1e4], [1e38, -3e38]], np.float32)
    np.testing.assert_allclose(nats(logits, np.array([1, 0])), [2e4, 0])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nats_of_logits_that_are_not_finite_are_not_finite(value: float) -> None:
    assert not np.isfinite(nats(np.array([[0.0, value]], np.float32), np.array([0]))).any()
