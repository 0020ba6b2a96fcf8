"""The choice of an id from logits: examples by hand, and the distribution of many choices."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from charlm.errors import CharlmError
from charlm.network.rnn import Floats
from charlm.sampling.sampler import Sampler, choose, make_chooser, probabilities

SEEDED = settings(derandomize=True, deadline=None, max_examples=200)
SHARES = [0.125, 0.5, 0.125, 0.25]

samplers = st.builds(
    Sampler,
    temperature=st.sampled_from([0.0, 0.1, 0.8, 1.0, 3.0]),
    top_k=st.none() | st.integers(1, 9),
    top_p=st.none() | st.floats(0.01, 1),
    min_p=st.none() | st.floats(0, 1),
)
some_logits = arrays(np.float32, st.tuples(st.integers(1, 4), st.just(7)), elements=st.floats(-30, 30, width=32))


def logits_of(*shares: float) -> Floats:
    """Return one row of logits whose softmax is these shares."""
    return np.log(np.array([shares], np.float32))


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--temperature", {"temperature": -0.1}),
        ("--temperature", {"temperature": math.nan}),
        ("--temperature", {"temperature": math.inf}),
        ("--top-k", {"top_k": 0}),
        ("--top-p", {"top_p": 0.0}),
        ("--top-p", {"top_p": 1.01}),
        ("--top-p", {"top_p": math.nan}),
        ("--min-p", {"min_p": -0.1}),
        ("--min-p", {"min_p": 1.1}),
    ],
)
def test_value_out_of_range_is_refused_with_its_option(option: str, values: dict[str, float]) -> None:
    with pytest.raises(CharlmError, match=f"{option} {next(iter(values.values()))}: must be"):
        Sampler(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
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
    ],
    ids=str,
)
def test_temperature_and_filters_give_the_probabilities_computed_by_hand(
    sampler: Sampler, expected: list[float]
) -> None:
    np.testing.assert_allclose(probabilities(logits_of(*SHARES), sampler), [expected], rtol=1e-6)


def test_filters_are_applied_after_the_temperature() -> None:
    # squared and scaled: 1/22, 16/22, 1/22, 4/22; the largest alone exceeds 0.7
    sampler = Sampler(temperature=0.5, top_p=0.7)
    np.testing.assert_allclose(probabilities(logits_of(*SHARES), sampler), [[0, 1, 0, 0]])


def test_filters_are_applied_independently_of_each_other() -> None:
    # after top-k, with 4/7 and 3/7, top-p would keep only the first id
    sampler = Sampler(top_k=2, top_p=0.5)
    kept = probabilities(logits_of(0.4, 0.3, 0.2, 0.1), sampler)
    np.testing.assert_allclose(kept, [[4 / 7, 3 / 7, 0, 0]], rtol=1e-6)


def test_of_equally_likely_ids_the_lowest_is_kept() -> None:
    even = logits_of(0.25, 0.25, 0.25, 0.25)
    np.testing.assert_array_equal(probabilities(even, Sampler(temperature=0)), [[1, 0, 0, 0]])
    np.testing.assert_allclose(probabilities(even, Sampler(top_k=2)), [[0.5, 0.5, 0, 0]])


def test_each_row_is_filtered_separately() -> None:
    logits = np.concatenate([logits_of(0.1, 0.2, 0.7), logits_of(0.6, 0.1, 0.3)])
    np.testing.assert_allclose(
        probabilities(logits, Sampler(top_k=2)), [[0, 2 / 9, 7 / 9], [2 / 3, 0, 1 / 3]], rtol=1e-6
    )


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-8, 1.0, 1e300])
def test_extreme_logits_and_temperatures_do_not_overflow(temperature: float) -> None:
    logits = np.array([[-1e4, 1e4, -np.inf, 3e4], [-3e38, 3e38, -np.inf, 0]], np.float32)[: 1 + (temperature <= 1)]
    first, *others = probabilities(logits, Sampler(temperature=temperature)).tolist()
    assert first == pytest.approx([0, 0, 0, 1] if temperature <= 1 else [1 / 3, 1 / 3, 0, 1 / 3])
    assert others == [[0, 1, 0, 0]] * (temperature <= 1)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("row", [[0.0, math.nan], [0.0, math.inf], [-math.inf, -math.inf]])
def test_logits_that_are_not_finite_are_refused(row: list[float], temperature: float) -> None:
    logits, sampler = np.array([[0.0, 0.0], row], np.float32), Sampler(temperature=temperature)
    with pytest.raises(CharlmError, match="the weights are not finite"):
        choose(logits, sampler, np.array([0.5, 0.5]))
    with pytest.raises(CharlmError, match="the weights are not finite"):
        probabilities(logits, sampler)


def test_first_id_whose_cumulative_probability_exceeds_the_number_is_chosen() -> None:
    uniform = np.array([0.0, 0.12, 0.13, 0.62, 0.63, 0.74, 0.76, 0.999])
    logits = np.repeat(logits_of(*SHARES), len(uniform), axis=0)
    assert choose(logits, Sampler(), uniform).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@SEEDED
@given(some_logits, samplers, st.floats(0, 1))
def test_id_of_probability_zero_is_never_chosen(logits: Floats, sampler: Sampler, uniform: float) -> None:
    logits[:, [0, 6]] = -np.inf
    chosen = choose(logits, sampler, np.full(len(logits), uniform))
    assert (probabilities(logits, sampler)[np.arange(len(logits)), chosen] > 0).all()


@SEEDED
@given(some_logits, samplers, st.floats(0, 1, exclude_max=True))
def test_choice_for_a_row_is_the_same_alone_in_a_batch_and_without_a_batch_axis(
    logits: Floats, sampler: Sampler, uniform: float
) -> None:
    together = choose(np.repeat(logits, 16, axis=0), sampler, np.full(16 * len(logits), uniform))
    alone = [choose(row[None], sampler, np.array([uniform]))[0] for row in logits]
    bare = [make_chooser(sampler)(row, uniform) for row in logits]
    assert together.tolist() == np.repeat(alone, 16).tolist()
    assert bare == alone


@pytest.mark.parametrize("sampler", [Sampler(), Sampler(temperature=0.7, top_k=4, min_p=0.05)], ids=str)
def test_choices_follow_the_probabilities(sampler: Sampler) -> None:
    rng = np.random.default_rng(3)
    logits = rng.standard_normal((1, 6)).astype(np.float32)
    count = 20_000
    drawn = choose(np.repeat(logits, count, axis=0), sampler, rng.random(count))
    expected = count * probabilities(logits, sampler)[0]
    seen = np.bincount(drawn, minlength=6)
    possible = expected > 0
    assert not seen[~possible].any()
    chi_square = ((seen - expected)[possible] ** 2 / expected[possible]).sum()
    assert chi_square < 20.5  # five degrees of freedom: exceeded once in a thousand
