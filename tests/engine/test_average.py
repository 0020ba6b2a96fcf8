"""The moving average of the weights: its start, its equation and its limits."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from charlm.engine.average import WeightAverage


def averages_of(values: list[float], momentum: float) -> list[float]:
    """Return the average of a weight that starts at 0, after each of its values."""
    weight = keras.Variable(np.zeros(3, np.float32))
    average = WeightAverage([weight], momentum)
    found = []
    for step, value in enumerate(values, start=1):
        weight.assign(np.full(3, value))
        average.update(tf.constant(step))
        found.append(float(average.variables[0][0]))
    return found


def test_the_average_starts_at_the_weights() -> None:
    weight = keras.Variable(np.arange(4, dtype=np.float32))
    np.testing.assert_array_equal(WeightAverage([weight], 0.9).variables[0].numpy(), [0, 1, 2, 3])


def test_the_average_follows_the_equation() -> None:
    expected, average = [], 0.0
    values = [1.0, -2.0, 3.0, 5.0]
    for step, value in enumerate(values, start=1):
        momentum = min(0.25, (1 + step) / (10 + step))
        average = momentum * average + (1 - momentum) * value
        expected.append(average)
    assert averages_of(values, 0.25) == pytest.approx(expected, rel=1e-6)


def test_with_a_momentum_of_zero_the_average_equals_the_weights() -> None:
    assert averages_of([1.0, 4.0, -3.0], 0.0) == [1.0, 4.0, -3.0]


def test_the_average_of_weights_that_oscillate_is_near_their_mean() -> None:
    assert abs(averages_of([1.0, -1.0] * 50, 0.9)[-1]) < 0.06
