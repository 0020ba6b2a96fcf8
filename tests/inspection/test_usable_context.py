"""The loss from the last k characters, on networks whose memory is known."""

from dataclasses import replace

import numpy as np
import pytest
import reference
from inspection.networks import random_ids, shift_register
from models import random_parameters

from charlm.evaluation.scoring import score_stream
from charlm.inspection.section import Sample
from charlm.inspection.usable_context import context_summary, context_used, usable_context
from charlm.network.rnn import advance, nats


def test_the_nats_are_those_of_the_definition() -> None:
    parameters, ids = random_parameters(layers=2, scale=2.0), random_ids(12, ids=5).tolist()
    whole = np.array(reference.nats(parameters, ids))
    found = usable_context(parameters, np.array(ids), whole, most=4)
    for k, mean in zip(found.characters.tolist(), found.nats, strict=True):
        nats = [
            reference.nats(parameters, ids[max(0, target - k) : target + 1])[-1]
            for target in range(1, 12)
            if k
        ]
        nothing = (
            np.log(np.exp(parameters.logits_bias).sum()) - parameters.logits_bias[ids[1:]]
        )  # h = 0
        assert mean == pytest.approx(np.mean(nats or nothing), rel=1e-5)
    assert len(found.characters) > 2
    np.testing.assert_allclose(found.gains, found.nats - whole.mean(), atol=1e-6)
    assert found.whole_nats == pytest.approx(whole.mean())
    assert found.positions == Sample(2, 12, 11)


def test_no_more_characters_are_given_than_the_network_uses() -> None:
    """Each character is that three before it, which the register holds: with three characters nothing is missing."""
    parameters, ids = shift_register(6, reads=2), np.tile([0, 1, 2], 900)
    nats = np.concatenate([*score_stream(parameters, ids)])
    found = usable_context(parameters, ids, nats)
    assert (found.characters.tolist(), found.used) == ([0, 1, 2, 3], 3)
    assert found.nats[2] > 1 > found.nats[3]
    assert "uses 3 characters of context" in context_summary(found)
    for length in (11, 2101):  # too short to tell, and too short for an error
        assert usable_context(parameters, ids[:length], nats[: length - 1]).used is None


@pytest.mark.parametrize(
    ("gains", "errors", "used"),
    [
        pytest.param([1.0, 0.5, 0.01, 0.005], [0.0] * 4, 2, id="small from 2 on"),
        pytest.param([1.0, 0.5, 0.011, 0.0005], [0.0] * 4, 3, id="small at the last"),
        pytest.param([1.0, 0.5, 0.02], [0.0] * 3, None, id="large at the last"),
        pytest.param([1.0, 0.02, 0.0], [0.0, 0.01, 0.0], 1, id="two standard errors"),
        pytest.param([1.0, 0.021, 0.0], [0.0, 0.01, 0.0], 2, id="more than two standard errors"),
        pytest.param([-0.5, -0.1, 0.0], [0.0] * 3, 0, id="context makes it worse"),
        pytest.param([-0.5, -0.1, 0.04, 0.0], [0.0] * 4, 3, id="worse at first, better later"),
        pytest.param([1.0, 0.0, 0.0], [0.0, 0.0, np.nan], None, id="an unknown error"),
        pytest.param([0.0], [0.0], 0, id="nothing to gain"),
    ],
)
def test_the_context_that_is_used_ends_where_all_gains_are_small(
    gains: list[float], errors: list[float], used: int | None
) -> None:
    assert context_used(np.array(gains), np.array(errors), characters=1000) == used


@pytest.mark.parametrize(
    ("characters", "used"),
    [pytest.param(8, 2, id="long enough"), pytest.param(7, None, id="short")],
)
def test_a_text_is_four_times_as_long_as_the_context(characters: int, used: int | None) -> None:
    assert context_used(np.array([1.0, 0.5, 0.0]), np.zeros(3), characters=characters) == used


@pytest.mark.parametrize(
    ("gain", "text"),
    [
        pytest.param(0.005, "reading further back improves the loss by only 0.0050", id="better"),
        pytest.param(-0.5, "reading further back worsens the loss by 0.5000", id="worse"),
    ],
)
def test_the_summary_says_what_further_characters_do(gain: float, text: str) -> None:
    parameters, ids = shift_register(6, reads=2), np.tile([0, 1, 2], 900)
    context = usable_context(parameters, ids, np.concatenate([*score_stream(parameters, ids)]))
    gains = np.full(4, gain)
    changed = replace(context, used=3, gains=gains, gain_errors=np.full(4, 0.0011))
    assert (
        context_summary(changed)
        == f"uses 3 characters of context: {text} ± 0.0011 nats per character"
    )


def test_means_of_the_context_have_the_errors_of_blocks() -> None:
    parameters, ids, rng = (
        random_parameters(scale=0.5),
        random_ids(2401, ids=5),
        np.random.default_rng(0),
    )
    whole, by_ngrams = rng.random((2, 2400))
    found = usable_context(parameters, ids, whole, most=1, ngram_nats={2: by_ngrams})
    alone = nats(
        parameters.logits(advance(parameters, ids[:-1], parameters.zero_state(2400))), ids[1:]
    )
    for mean, error, values in (
        (found.ngram_nats[0], found.ngram_standard_errors[0], by_ngrams),
        (found.nats[1], found.standard_errors[1], alone),
        (found.gains[1], found.gain_errors[1], alone - whole),
    ):
        assert mean == pytest.approx(values.mean(), rel=1e-4)
        assert error == pytest.approx(
            reference.standard_error(values.reshape(8, 300).mean(1).tolist()), rel=0.01
        )
    assert found.ngram_order.tolist() == [2]
