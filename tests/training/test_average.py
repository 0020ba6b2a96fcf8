"""The moving average of the weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from charlm.training.average import WeightAverage


def averages_of(values: list[float], momentum: float) -> list[float]:
    """Return the average after each value that a weight takes, from 0."""
    weight = keras.Variable(np.zeros(3, np.float32))
    average = WeightAverage([weight], momentum)
    found = []
    for step, value in enumerate(values, start=1):
        weight.assign(np.full(3, value))
        average.update(tf.constant(step))
        found.append(float(average.variables[0][0]))
    return found


def test_it_begins_as_the_weights_are() -> None:
    weight = keras.Variable(np.arange(4, dtype=np.float32))
    np.testing.assert_array_equal(WeightAverage([weight], 0.9).variables[0].numpy(), [0, 1, 2, 3])


def test_it_follows_the_formula() -> None:
    expected, average = [], 0.0
    values = [1.0, -2.0, 3.0, 5.0]
    for step, value in enumerate(values, start=1):
        momentum = min(0.25, (1 + step) / (10 + step))
        average = momentum * average + (1 - momentum) * value
        expected.append(average)
    assert averages_of(values, 0.25) == pytest.approx(expected, rel=1e-6)


def test_a_momentum_of_zero_is_the_weights_themselves() -> None:
    assert averages_of([1.0, 4.0, -3.0], 0.0) == [1.0, 4.0, -3.0]


def test_what_it_remembers_reaches_as_far_as_its_momentum() -> None:
    swinging = [1.0, -1.0] * 500
    assert abs(averages_of(swinging, 0.99)[-1]) < 0.02
