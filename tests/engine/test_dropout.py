"""Dropout masks: their values, their rate, and their randomness."""

import keras
import numpy as np
import pytest

from charlm.engine.dropout import LEVELS, dropout_mask


def draw(*shape: int, rate: float, seed: int = 1) -> np.ndarray:
    return np.array(dropout_mask(shape, rate, keras.random.SeedGenerator(seed)))


@pytest.mark.parametrize("shape", [(1,), (3,), (5, 7), (64, 33, 3), (0, 4)], ids=str)
def test_a_mask_has_the_given_shape_and_two_values(shape: tuple[int, ...]) -> None:
    mask = draw(*shape, rate=0.25)
    assert mask.shape == shape
    assert mask.dtype == np.float32
    assert set(mask.ravel()) <= {np.float32(0), np.float32(1 / 0.75)}


@pytest.mark.parametrize("rate", [0.01, 0.25, 0.5, 0.8, 0.999])
def test_the_rate_is_exact_to_a_256th_and_the_mean_is_one(rate: float) -> None:
    mask = draw(400, 1000, rate=rate)
    dropped = float((mask == 0).mean())
    assert dropped == pytest.approx(rate, abs=0.5 / LEVELS + 0.003)
    assert mask.max() * (1 - dropped) == pytest.approx(1, rel=0.1)


def test_the_four_values_of_a_random_word_are_independent() -> None:
    mask = draw(40_000, 4, rate=0.5) > 0
    correlation = np.corrcoef(mask.T)
    np.testing.assert_allclose(correlation, np.eye(4), atol=0.03)


def test_a_seed_repeats_its_masks_and_every_mask_is_new() -> None:
    one, other = keras.random.SeedGenerator(5), keras.random.SeedGenerator(5)
    first, second = (np.array(dropout_mask((50, 50), 0.5, one)) for _ in range(2))
    np.testing.assert_array_equal(first, np.array(dropout_mask((50, 50), 0.5, other)))
    assert (first != second).mean() == pytest.approx(0.5, abs=0.1)
