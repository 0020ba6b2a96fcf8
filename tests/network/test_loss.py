"""Nats, bits and perplexity, compared with their definitions in Python's floats."""

import math

import numpy as np
import pytest
import reference

from charlm.network.loss import bits, nats, perplexity


def test_nats_are_minus_the_logarithm_of_the_softmax() -> None:
    logits = np.random.default_rng(5).standard_normal((2, 3, 4)).astype(np.float32)
    targets = np.array([[0, 1, 2], [3, 3, 0]])
    expected = [
        [reference.log_sum_exp(row) - row[target] for row, target in zip(rows, row_targets, strict=True)]
        for rows, row_targets in zip(logits, targets, strict=True)
    ]
    result = nats(logits, targets)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_equal_logits_give_the_logarithm_of_their_number() -> None:
    assert nats(np.zeros((1, 8), np.float32), np.array([5])) == pytest.approx(math.log(8))


def test_large_logits_do_not_overflow() -> None:
    logits = np.array([[1e4, -1e4], [1e38, -3e38]], np.float32)
    np.testing.assert_allclose(nats(logits, np.array([1, 0])), [2e4, 0])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_not_finite_give_nats_that_are_not_finite(value: float) -> None:
    assert not np.isfinite(nats(np.array([[0.0, value]], np.float32), np.array([0]))).any()


def test_logits_are_not_changed() -> None:
    logits = np.ones((1, 2), np.float32)
    nats(logits, np.array([0]))
    assert (logits == 1).all()


def test_one_bit_is_ln_2_nats() -> None:
    assert bits(3 * math.log(2)) == pytest.approx(3)


def test_perplexity_is_the_exponential_of_the_nats() -> None:
    assert perplexity(math.log(10)) == pytest.approx(10)


@pytest.mark.parametrize("nats", [1e4, math.inf])
def test_perplexity_is_infinite_if_it_is_too_large_for_a_float(nats: float) -> None:
    assert perplexity(nats) == math.inf
