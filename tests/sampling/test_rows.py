"""Rows with settings of their own: each gets what `choose` gives it alone."""

import numpy as np
import pytest

from charlm.sampling.rows import NO_ID, choose_rows, row_settings
from charlm.sampling.sampler import Sampler, choose

SAMPLERS = [
    Sampler(),
    Sampler(temperature=0),
    Sampler(temperature=0.5),
    Sampler(temperature=2.0, top_k=3),
    Sampler(top_p=0.6),
    Sampler(top_p=1.0, top_k=100),
    Sampler(min_p=0.3),
    Sampler(temperature=1e-300),
    Sampler(temperature=0.7, top_k=5, top_p=0.9, min_p=0.05),
]


@pytest.mark.parametrize("samplers", [SAMPLERS, SAMPLERS[:3]], ids=["filters", "no filters"])
def test_a_row_gets_what_choose_gives_it_alone(samplers: list[Sampler]) -> None:
    rng = np.random.default_rng(0)
    settings = row_settings(len(samplers) + 2)
    for row, sampler in enumerate(samplers):
        settings.set(row, sampler)
    for _ in range(200):
        logits = (3 * rng.standard_normal((len(samplers), 13))).astype(np.float32)
        logits[:, 4] = -np.inf
        uniform = rng.random(len(samplers))
        alone = [choose(logits[[i]], sampler, uniform[[i]])[0] for i, sampler in enumerate(samplers)]
        np.testing.assert_array_equal(choose_rows(logits, settings, uniform), alone)


def test_of_equally_likely_ids_the_lowest_are_kept() -> None:
    settings = row_settings(1)
    settings.set(0, Sampler(top_k=2))
    even = np.zeros((1, 4), np.float32)
    chosen = {int(choose_rows(even, settings, np.array([u]))[0]) for u in np.linspace(0, 0.999, 50)}
    assert chosen == {0, 1}


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_row_that_is_not_finite_has_no_id_and_the_others_have(wrong: float, temperature: float) -> None:
    settings = row_settings(2)
    for row in range(2):
        settings.set(row, Sampler(temperature=temperature))
    logits = np.array([[0, wrong, 1], [0, 9e9, 1]], np.float32)
    np.testing.assert_array_equal(choose_rows(logits, settings, np.array([0.5, 0.5])), [NO_ID, 1])


def test_settings_move_with_their_row() -> None:
    settings = row_settings(2)
    settings.set(1, Sampler(temperature=0))
    settings.move(1, 0)
    assert choose_rows(np.array([[0, 1]], np.float32), settings, np.array([0.0])) == [1]
