"""What is drawn from logits, by hand and in distribution."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from charlm.choice import Choice, choose, chooser, probabilities
from charlm.errors import CharlmError
from charlm.rnn import Floats

SEEDED = settings(derandomize=True, deadline=None, max_examples=200)
SHARES = [0.125, 0.5, 0.125, 0.25]

choices = st.builds(
    Choice,
    temperature=st.sampled_from([0.0, 0.1, 0.8, 1.0, 3.0]),
    top_k=st.none() | st.integers(1, 9),
    top_p=st.none() | st.floats(0.01, 1),
    min_p=st.none() | st.floats(0, 1),
)
some_logits = arrays(np.float32, st.tuples(st.integers(1, 4), st.just(7)), elements=st.floats(-30, 30, width=32))


def logits_of(*shares: float) -> Floats:
    """One row of logits whose softmax are these shares."""
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
def test_a_value_out_of_range_is_refused_with_its_option(option: str, values: dict[str, float]) -> None:
    with pytest.raises(CharlmError, match=f"{option} {next(iter(values.values()))}: should be"):
        Choice(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Choice(), SHARES),
        (Choice(temperature=0), [0, 1, 0, 0]),
        (Choice(temperature=0.5), [1 / 22, 16 / 22, 1 / 22, 4 / 22]),
        (Choice(top_k=1), [0, 1, 0, 0]),
        (Choice(top_k=2), [0, 2 / 3, 0, 1 / 3]),
        (Choice(top_k=3), [1 / 7, 4 / 7, 0, 2 / 7]),
        (Choice(top_k=100), SHARES),
        (Choice(top_p=0.001), [0, 1, 0, 0]),
        (Choice(top_p=0.6), [0, 2 / 3, 0, 1 / 3]),
        (Choice(top_p=0.8), [1 / 7, 4 / 7, 0, 2 / 7]),
        (Choice(top_p=1), SHARES),
        (Choice(min_p=0), SHARES),
        (Choice(min_p=0.3), [0, 2 / 3, 0, 1 / 3]),
        (Choice(min_p=1), [0, 1, 0, 0]),
    ],
    ids=str,
)
def test_temperature_and_filters_by_hand(choice: Choice, expected: list[float]) -> None:
    np.testing.assert_allclose(probabilities(logits_of(*SHARES), choice), [expected], rtol=1e-6)


def test_filters_see_the_tempered_distribution() -> None:
    # squared and scaled: 1/22, 16/22, 1/22, 4/22, of which the largest alone makes 0.7
    choice = Choice(temperature=0.5, top_p=0.7)
    np.testing.assert_allclose(probabilities(logits_of(*SHARES), choice), [[0, 1, 0, 0]])


def test_a_filter_does_not_see_what_another_has_removed() -> None:
    # were top-p to see 4/7 and 3/7, which top-k leaves, it would keep the first alone
    choice = Choice(top_k=2, top_p=0.5)
    kept = probabilities(logits_of(0.4, 0.3, 0.2, 0.1), choice)
    np.testing.assert_allclose(kept, [[4 / 7, 3 / 7, 0, 0]], rtol=1e-6)


def test_equally_likely_ids_are_taken_lowest_first() -> None:
    even = logits_of(0.25, 0.25, 0.25, 0.25)
    np.testing.assert_array_equal(probabilities(even, Choice(temperature=0)), [[1, 0, 0, 0]])
    np.testing.assert_allclose(probabilities(even, Choice(top_k=2)), [[0.5, 0.5, 0, 0]])


def test_rows_are_filtered_each_by_itself() -> None:
    logits = np.concatenate([logits_of(0.1, 0.2, 0.7), logits_of(0.6, 0.1, 0.3)])
    np.testing.assert_allclose(
        probabilities(logits, Choice(top_k=2)), [[0, 2 / 9, 7 / 9], [2 / 3, 0, 1 / 3]], rtol=1e-6
    )


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-8, 1.0, 1e300])
def test_extreme_logits_and_temperatures_do_not_overflow(temperature: float) -> None:
    logits = np.array([[-1e4, 1e4, -np.inf, 3e4], [-3e38, 3e38, -np.inf, 0]], np.float32)[: 1 + (temperature <= 1)]
    first, *others = probabilities(logits, Choice(temperature=temperature)).tolist()
    assert first == pytest.approx([0, 0, 0, 1] if temperature <= 1 else [1 / 3, 1 / 3, 0, 1 / 3])
    assert others == [[0, 1, 0, 0]] * (temperature <= 1)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("row", [[0.0, math.nan], [0.0, math.inf], [-math.inf, -math.inf]])
def test_logits_that_are_not_finite_are_refused(row: list[float], temperature: float) -> None:
    logits, choice = np.array([[0.0, 0.0], row], np.float32), Choice(temperature=temperature)
    with pytest.raises(CharlmError, match="the weights are not finite"):
        choose(logits, choice, np.array([0.5, 0.5]))
    with pytest.raises(CharlmError, match="the weights are not finite"):
        probabilities(logits, choice)


def test_the_first_id_is_chosen_at_which_the_cumulative_distribution_exceeds_the_number() -> None:
    uniform = np.array([0.0, 0.12, 0.13, 0.62, 0.63, 0.74, 0.76, 0.999])
    logits = np.repeat(logits_of(*SHARES), len(uniform), axis=0)
    assert choose(logits, Choice(), uniform).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@SEEDED
@given(some_logits, choices, st.floats(0, 1))
def test_an_id_of_probability_zero_is_never_chosen(logits: Floats, choice: Choice, uniform: float) -> None:
    logits[:, [0, 6]] = -np.inf
    chosen = choose(logits, choice, np.full(len(logits), uniform))
    assert (probabilities(logits, choice)[np.arange(len(logits)), chosen] > 0).all()


@SEEDED
@given(some_logits, choices, st.floats(0, 1, exclude_max=True))
def test_a_row_is_chosen_alike_alone_in_a_batch_and_without_a_batch_axis(
    logits: Floats, choice: Choice, uniform: float
) -> None:
    together = choose(np.repeat(logits, 16, axis=0), choice, np.full(16 * len(logits), uniform))
    alone = [choose(row[None], choice, np.array([uniform]))[0] for row in logits]
    bare = [chooser(choice)(row, uniform) for row in logits]
    assert together.tolist() == np.repeat(alone, 16).tolist()
    assert bare == alone


@pytest.mark.parametrize("choice", [Choice(), Choice(temperature=0.7, top_k=4, min_p=0.05)], ids=str)
def test_draws_follow_the_probabilities(choice: Choice) -> None:
    rng = np.random.default_rng(3)
    logits = rng.standard_normal((1, 6)).astype(np.float32)
    count = 20_000
    drawn = choose(np.repeat(logits, count, axis=0), choice, rng.random(count))
    expected = count * probabilities(logits, choice)[0]
    seen = np.bincount(drawn, minlength=6)
    possible = expected > 0
    assert not seen[~possible].any()
    chi_square = ((seen - expected)[possible] ** 2 / expected[possible]).sum()
    assert chi_square < 20.5  # five degrees of freedom: exceeded once in a thousand
