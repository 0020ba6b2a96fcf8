"""The linear memory of networks that hold a known number of characters."""

import numpy as np
import pytest
from inspection.networks import one_layer, random_ids, shift_register

from charlm.inspection.memory import linear_memory
from charlm.inspection.trace import cut_weights, read_text


def test_a_register_remembers_its_depth_and_nothing_else() -> None:
    trace = read_text(cut_weights(shift_register(4)), random_ids(3000).reshape(300, 10))
    found = linear_memory(trace, lags=range(7))
    np.testing.assert_array_equal(found.memory[:4], 1)
    np.testing.assert_allclose(found.memory[4:], 0, atol=0.12)
    np.testing.assert_allclose(found.commonest, 1 / 3, atol=0.06)


def test_a_network_without_recurrence_remembers_the_last_character() -> None:
    found = linear_memory(read_text(cut_weights(one_layer(np.zeros((4, 4)))), random_ids(900)), lags=range(3))
    assert found.memory[0] == 1
    assert found.accuracy[1] < 0.6


def test_the_examples_are_divided_into_fitted_tuned_and_tested() -> None:
    found = linear_memory(read_text(cut_weights(shift_register(2)), random_ids(110)), lags=(0, 10))
    assert (found.fitted, found.tested) == (60, 20)


def test_lags_beyond_half_of_the_text_are_left_out() -> None:
    found = linear_memory(read_text(cut_weights(shift_register(2)), random_ids(30)), lags=(0, 1, 15, 16))
    assert found.lag.tolist() == [0, 1, 15]


def test_always_guessing_the_only_character_leaves_nothing_to_remember() -> None:
    found = linear_memory(read_text(cut_weights(shift_register(2)), np.zeros(40, np.int64)), lags=(0, 1))
    assert found.commonest.tolist() == [1, 1]
    assert found.memory == pytest.approx([0, 0])
