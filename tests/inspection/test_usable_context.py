"""The loss from the last k characters, on networks whose memory is known."""

from typing import Any

import numpy as np
import pytest
import reference
from inspection.networks import random_ids, shift_register
from models import random_parameters
from numpy.typing import NDArray

from charlm.core.rnn import Parameters, advance, nats
from charlm.core.scoring import score_stream
from charlm.inspection.usable_context import (
    UsableContext,
    context_used,
    usable_context,
)

# The definition


ShortText = tuple[Parameters, list[int], UsableContext]


@pytest.fixture(scope="module")
def short_text() -> ShortText:
    """Return a network, a text of 12 characters, and the loss from up to 11 characters of it."""
    parameters = random_parameters(layers=2, scale=2.0)
    ids = random_ids(12, ids=5).tolist()
    whole = np.array(reference.nats(parameters, ids))
    return parameters, ids, usable_context(parameters, np.array(ids), whole, {})


def test_the_loss_from_some_characters_equals_the_definition(
    short_text: ShortText,
) -> None:
    parameters, ids, context = short_text
    assert len(context.characters) > 2
    for count, mean in zip(context.characters.tolist()[1:], context.nats[1:], strict=True):
        windows = [ids[max(0, target - count) : target + 1] for target in range(1, 12)]
        nats = [reference.nats(parameters, window)[-1] for window in windows]
        assert mean == pytest.approx(np.mean(nats), rel=1e-5)


def test_the_loss_without_context_is_the_loss_of_the_zero_state(
    short_text: ShortText,
) -> None:
    parameters, ids, context = short_text
    bias = parameters.logits_bias
    expected = np.log(np.exp(bias).sum()) - bias[ids[1:]].mean()
    assert context.characters[0] == 0
    assert context.nats[0] == pytest.approx(expected, rel=1e-5)


# A register of six characters that predicts the third-last one


def test_a_short_text_does_not_show_the_context() -> None:
    parameters = shift_register(6, reads=2)
    ids = np.tile([0, 1, 2], 900)[:2101]
    nats = np.concatenate([*score_stream(parameters, ids)])
    assert usable_context(parameters, ids, nats, {}).used is None


UNINFORMED = shift_register(1)
"""A network whose loss is always ln 3."""


def context_after(gain: float, *, length: int = 90) -> list[int]:
    """Return the numbers of characters tried if they never change the gain from all others."""
    whole = np.full(length - 1, np.log(3) - gain)
    context = usable_context(UNINFORMED, random_ids(length), whole, {})
    return [*map(int, context.characters)]


@pytest.mark.parametrize(
    ("gain", "is_flat"), [(0.0009, True), (-0.0009, True), (0.0011, False), (-0.0011, False)]
)
def test_no_more_characters_are_read_if_the_gain_is_below_a_thousandth(
    gain: float, is_flat: bool
) -> None:
    assert (context_after(gain) == [0]) == is_flat


@pytest.mark.parametrize(("length", "most"), [(9, 8), (600, 512)])
def test_at_most_512_characters_are_read(length: int, most: int) -> None:
    assert context_after(1, length=length)[-1] == most


# The used context


@pytest.mark.parametrize(
    ("gains", "errors", "used"),
    [
        pytest.param([1.0, 0.5, 0.01, 0.005], [0.0] * 4, 2, id="small from 2 on"),
        pytest.param([1.0, 0.5, 0.02], [0.0] * 3, None, id="large at the last"),
        pytest.param([1.0, 0.02, 0.0], [0.0, 0.01, 0.0], 1, id="two standard errors"),
        pytest.param([1.0, 0.021, 0.0], [0.0, 0.01, 0.0], 2, id="more than two standard errors"),
        pytest.param([-0.5, -0.1, 0.04, 0.0], [0.0] * 4, 3, id="worse at first, better later"),
        pytest.param([1.0, 0.0, 0.0], [0.0, 0.0, np.nan], None, id="an unknown error"),
        pytest.param([1.0, 0.5, 0.0], [0.0, 0.0, 0.0049], 2, id="a small error"),
        pytest.param([1.0, 0.5, 0.0], [0.0, 0.0, 0.0051], None, id="too large an error"),
        pytest.param([-9.0, -8.0, 0.0], [3.0, 3.0, 3.0], 0, id="context makes it much worse"),
    ],
)
def test_the_used_context_ends_where_all_gains_are_small(
    gains: list[float],
    errors: list[float],
    used: int | None,
) -> None:
    assert context_used(np.array(gains), np.array(errors), characters=10**7) == used


@pytest.mark.parametrize(
    ("characters", "used"),
    [(8, 2), (7, None)],
)
def test_a_text_must_be_four_times_as_long_as_the_context(
    characters: int,
    used: int | None,
) -> None:
    assert context_used(np.array([1.0, 0.5, 0.0]), np.zeros(3), characters=characters) == used


def test_a_small_gain_of_few_blocks_may_be_chance() -> None:
    gains, errors = np.array([1.0, 0.023, 0.0]), np.array([0.0, 0.01, 0.0])
    assert context_used(gains, errors, characters=2400) == 1
    assert context_used(gains, errors, characters=10**7) == 2


# Errors

WHOLE, BIGRAM, TRIGRAM = np.random.default_rng(0).random((3, 2400))


LongText = tuple[UsableContext, NDArray[Any]]


@pytest.fixture(scope="module")
def long_text() -> LongText:
    """Return the context of a network, and its losses from a single character."""
    parameters = random_parameters(scale=0.5)
    ids = random_ids(2401, ids=5)
    context = usable_context(parameters, ids, WHOLE, {2: BIGRAM, 3: TRIGRAM})
    states = advance(parameters, ids[:-1], parameters.zero_state(2400))
    return context, nats(parameters.logits(states), ids[1:])


def check_mean(
    mean: float,
    error: float,
    values: NDArray[Any],
) -> None:
    """Compare a mean and its standard error with values at 2,400 positions."""
    block_means = values.reshape(8, 300).mean(1).tolist()
    assert mean == pytest.approx(values.mean(), rel=1e-4)
    assert error == pytest.approx(reference.standard_error(block_means), rel=0.01)


def test_each_n_gram_model_has_its_mean_loss(long_text: LongText) -> None:
    context, _ = long_text
    assert context.ngram_order.tolist() == [2, 3]
    assert context.ngram_nats == pytest.approx([BIGRAM.mean(), TRIGRAM.mean()])


def test_the_loss_from_some_characters_has_an_error(
    long_text: LongText,
) -> None:
    context, losses = long_text
    check_mean(context.nats[1], context.standard_errors[1], losses)


def test_a_gain_has_the_error_of_paired_blocks(
    long_text: LongText,
) -> None:
    context, losses = long_text
    check_mean(context.gains[1], context.gain_errors[1], losses - WHOLE)
