"""The choice of an id from logits: examples by hand, and the distribution of many choices."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.network.rnn import Floats
from charlm.sampling.sampler import Sampler, make_chooser

SHARES = [0.125, 0.5, 0.125, 0.25]

samplers = st.builds(
    Sampler,
    temperature=st.sampled_from([0.0, 0.1, 0.8, 1.0, 3.0]),
    top_k=st.none() | st.integers(1, 9),
    top_p=st.none() | st.floats(0.01, 1),
    min_p=st.none() | st.floats(0, 1),
)
some_logits = arrays(np.float32, 7, elements=st.floats(-30, 30, width=32))


GRID = (np.arange(1100) + 0.5) / 1100
"""Numbers that stand for all from 0 to 1."""


def choose(logits: Floats, sampler: Sampler, uniform: NDArray[np.float64]) -> list[int]:
    """Return the id that is chosen with each number."""
    one = make_chooser(sampler)
    return [one(logits, number) for number in uniform.tolist()]


def shares(logits: Floats, sampler: Sampler) -> NDArray[np.float64]:
    """Return how often each id is chosen."""
    return np.bincount(choose(logits, sampler, GRID), minlength=len(logits)) / len(GRID)


def logits_of(*shares: float) -> Floats:
    """Return logits whose softmax is these shares."""
    return np.log(np.array(shares, np.float32))


def test_value_out_of_range_is_refused_with_its_option() -> None:
    for option, values in {
        "temperature": (-0.1, math.nan, math.inf),
        "top_k": (0,),
        "top_p": (0.0, 1.01, math.nan),
        "min_p": (-0.1, 1.1),
    }.items():
        for value in values:
            with pytest.raises(CharlmError, match=f"{option}: found {value}; must be"):
                Sampler(**{option: value})  # type: ignore[arg-type]


def test_temperature_and_filters_give_the_probabilities_computed_by_hand() -> None:
    for sampler, expected in (
        (Sampler(), SHARES),
        (Sampler(temperature=0), [0, 1, 0, 0]),
        (Sampler(temperature=0.5), [1 / 22, 16 / 22, 1 / 22, 4 / 22]),
        (Sampler(top_k=1), [0, 1, 0, 0]),
        (Sampler(top_k=2), [0, 2 / 3, 0, 1 / 3]),
        (Sampler(top_k=3), [1 / 7, 4 / 7, 0, 2 / 7]),
        (Sampler(top_k=100), SHARES),
        (Sampler(top_p=0.001), [0, 1, 0, 0]),
        (Sampler(top_p=0.6), [0, 2 / 3, 0, 1 / 3]),
        (Sampler(top_p=0.8), [1 / 7, 4 / 7, 0, 2 / 7]),
        (Sampler(top_p=1), SHARES),
        (Sampler(min_p=0), SHARES),
        (Sampler(min_p=0.3), [0, 2 / 3, 0, 1 / 3]),
        (Sampler(min_p=1), [0, 1, 0, 0]),
        (Sampler(temperature=0.5, top_p=0.7), [0, 1, 0, 0]),  # of 16/22, 4/22, ...: the temperature comes first
        (Sampler(top_k=2, top_p=0.6), [0, 2 / 3, 0, 1 / 3]),  # top-p counts as without top-k, by which 2/3 were enough,
    ):
        np.testing.assert_allclose(shares(logits_of(*SHARES), sampler), expected, atol=1e-3)


def test_the_first_id_whose_cumulative_probability_exceeds_the_number_is_chosen_and_of_equals_the_lowest() -> None:
    uniform = np.array([0.0, 0.12, 0.13, 0.62, 0.63, 0.74, 0.76, 0.999])
    assert choose(logits_of(*SHARES), Sampler(), uniform) == [0, 0, 1, 1, 2, 2, 3, 3]
    even = logits_of(0.25, 0.25, 0.25, 0.25)
    assert shares(even, Sampler(temperature=0)).tolist() == [1, 0, 0, 0]
    assert shares(even, Sampler(top_k=2)).tolist() == [0.5, 0.5, 0, 0]


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-8, 1.0])
def test_extreme_logits_and_temperatures_do_not_overflow(temperature: float) -> None:
    sampler = Sampler(temperature=temperature)
    with np.errstate(over="ignore"):
        assert shares(np.array([-1e4, 1e4, -np.inf, 3e4], np.float32), sampler).tolist() == [0, 0, 0, 1]
        assert shares(np.array([-3e38, 3e38, -np.inf, 0], np.float32), sampler).tolist() == [0, 1, 0, 0]


def test_logits_that_are_not_finite_are_refused() -> None:
    for temperature, row in product((0.0, 1.0), ([0.0, math.nan], [0.0, math.inf], [-math.inf, -math.inf])):
        choose = make_chooser(Sampler(temperature=temperature))
        with pytest.raises(CharlmError, match="the weights are not finite"), np.errstate(invalid="ignore"):
            choose(np.array(row, np.float32), 0.5)


@given(some_logits, samplers, st.floats(0, 1, exclude_max=True))
def test_id_of_probability_zero_is_never_chosen(logits: Floats, sampler: Sampler, uniform: float) -> None:
    logits[[0, 6]] = -np.inf
    assert choose(logits, sampler, np.array([uniform]))[0] not in {0, 6}
