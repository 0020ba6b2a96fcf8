"""The choice of an id from logits."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from charlm.config.schema import Filters
from charlm.core.rnn import Floats
from charlm.core.sampler import Sampler, make_chooser
from charlm.errors import CharlmError

GRID = (np.arange(1100) + 0.5) / 1100
"""Evenly spaced numbers from 0 to 1."""


def choose(logits: Floats, sampler: Sampler, numbers: Any) -> list[int]:
    """Return the id that is chosen with each random number."""
    chooser = make_chooser(sampler)
    return [chooser(logits, number) for number in numbers]


def shares(logits: Floats, sampler: Sampler) -> NDArray[np.float64]:
    """Return how often each id is chosen."""
    ids = choose(logits, sampler, GRID.tolist())
    return np.bincount(ids, minlength=len(logits)) / len(GRID)


def logits_of(*probabilities: float) -> Floats:
    """Return logits whose softmax has these probabilities."""
    return np.log(np.array(probabilities, np.float32))


@pytest.mark.parametrize(
    "filters", [{}, {"top_k": 3, "top_p": 0.5, "min_p": 0.25}, {"min_p": 0.0}], ids=str
)
def test_a_sampler_has_the_filters_of_a_config(filters: dict[str, Any]) -> None:
    sampler = Sampler.of(Filters(**filters), temperature=0.5)
    no_filters = {"top_k": None, "top_p": None, "min_p": None}
    assert vars(sampler) == {"temperature": 0.5, **no_filters, **filters}


PROBABILITIES = [0.125, 0.5, 0.125, 0.25]
HIGHEST = [0, 1, 0, 0]
TWO_HIGHEST = [0, 2 / 3, 0, 1 / 3]
THREE_HIGHEST = [1 / 7, 4 / 7, 0, 2 / 7]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, PROBABILITIES),
        ({"temperature": 0}, HIGHEST),
        ({"temperature": 0.5}, [1 / 22, 16 / 22, 1 / 22, 4 / 22]),
        ({"top_k": 2}, TWO_HIGHEST),
        ({"top_k": 3}, THREE_HIGHEST),
        ({"top_p": 0.6}, TWO_HIGHEST),
        ({"top_p": 0.8}, THREE_HIGHEST),
        ({"top_p": 1}, PROBABILITIES),
        ({"min_p": 0}, PROBABILITIES),
        ({"min_p": 0.3}, TWO_HIGHEST),
        # The temperature is applied first: 16/22 is enough for top-p.
        ({"temperature": 0.5, "top_p": 0.7}, HIGHEST),
        # Top-p is applied before top-k, after which 2/3 would be enough.
        ({"top_k": 2, "top_p": 0.6}, TWO_HIGHEST),
    ],
    ids=str,
)
def test_an_id_is_chosen_with_its_probability(
    options: dict[str, Any], expected: list[float]
) -> None:
    result = shares(logits_of(*PROBABILITIES), Sampler(**options))
    np.testing.assert_allclose(result, expected, atol=1e-3)


def test_the_first_id_with_a_cumulative_probability_above_the_number_is_chosen() -> None:
    numbers = [0.0, 0.12, 0.13, 0.62, 0.63, 0.74, 0.76, 0.999]
    ids = choose(logits_of(*PROBABILITIES), Sampler(), numbers)
    assert ids == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        pytest.param(Sampler(temperature=0), [1, 0, 0, 0], id="greedy"),
        pytest.param(Sampler(top_k=2), [0.5, 0.5, 0, 0], id="top-k"),
    ],
)
def test_the_lowest_of_equally_probable_ids_are_kept(
    sampler: Sampler, expected: list[float]
) -> None:
    assert shares(logits_of(0.25, 0.25, 0.25, 0.25), sampler).tolist() == expected


@pytest.mark.parametrize("temperature", [5e-324, 1.0])
@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ([-1e4, 1e4, -np.inf, 3e4], [0, 0, 0, 1]),
        ([-3e38, 3e38, -np.inf, 0], [0, 1, 0, 0]),
    ],
    ids=["large", "the largest"],
)
def test_extreme_logits_do_not_overflow(
    logits: list[float], expected: list[int], temperature: float
) -> None:
    sampler = Sampler(temperature=temperature)
    with np.errstate(over="ignore"):
        assert shares(np.array(logits, np.float32), sampler).tolist() == expected


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(
    "logits", [[0.0, math.nan], [0.0, math.inf], [-math.inf, -math.inf]], ids=str
)
def test_logits_that_are_not_finite_are_refused(logits: list[float], temperature: float) -> None:
    chooser = make_chooser(Sampler(temperature=temperature))
    with (
        pytest.raises(CharlmError, match="the logits are not finite"),
        np.errstate(invalid="ignore"),
    ):
        chooser(np.array(logits, np.float32), 0.5)


SAMPLERS = st.builds(
    Sampler,
    temperature=st.sampled_from([0.0, 0.1, 0.8, 1.0, 3.0]),
    top_k=st.none() | st.integers(1, 9),
    top_p=st.none() | st.floats(0.01, 1),
    min_p=st.none() | st.floats(0, 1),
)
LOGITS = arrays(np.float32, 7, elements=st.floats(-30, 30, width=32))


@given(LOGITS, SAMPLERS, st.floats(0, 1, exclude_max=True))
def test_an_id_of_probability_zero_is_never_chosen(
    logits: Floats, sampler: Sampler, number: float
) -> None:
    logits[[0, 6]] = -np.inf
    (index,) = choose(logits, sampler, [number])
    assert index not in {0, 6}
