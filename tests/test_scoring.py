"""Nats per character, against the definition in float64."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import reference
from conftest import RandomParameters
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charlm import scoring
from charlm.errors import CharlmError
from charlm.scoring import Score, estimate_stream, mean_score, nats, score_stream, score_windows

TEXT = np.random.default_rng(4).integers(0, 5, 60).astype(np.uint8)


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


def test_even_logits_cost_the_logarithm_of_their_number() -> None:
    assert nats(np.zeros((1, 8), np.float32), np.array([5])) == pytest.approx(math.log(8))


def test_large_logits_do_not_overflow() -> None:
    logits = np.array([[1e4, -1e4], [1e38, -3e38]], np.float32)
    np.testing.assert_allclose(nats(logits, np.array([1, 0])), [2e4, 0])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_not_finite_give_nats_that_are_not(value: float) -> None:
    assert not np.isfinite(nats(np.array([[0.0, value]], np.float32), np.array([0]))).any()


def test_the_logits_are_not_changed() -> None:
    logits = np.ones((1, 2), np.float32)
    nats(logits, np.array([0]))
    assert (logits == 1).all()


def test_bits_and_perplexity_follow_from_nats() -> None:
    score = Score(nats_per_char=2 * math.log(2), characters=3)
    assert score.bits_per_char == pytest.approx(2)
    assert score.perplexity == pytest.approx(4)


def test_a_perplexity_beyond_all_numbers_is_infinite() -> None:
    assert Score(nats_per_char=1e4, characters=1).perplexity == math.inf


def test_a_mean_counts_characters_not_blocks() -> None:
    assert mean_score([np.array([1.0], np.float32), np.array([[2.0], [6.0]], np.float32)]) == Score(3.0, 3)


def test_a_mean_of_many_nats_is_summed_in_float64() -> None:
    block = np.full(1 << 16, 0.1, np.float32)
    assert mean_score([block] * 64).nats_per_char == pytest.approx(float(np.float32(0.1)), rel=1e-12)


@pytest.mark.parametrize("block", [1, 7, 2048])
def test_a_stream_is_scored_given_all_before_it(random_parameters: RandomParameters, block: int) -> None:
    parameters = random_parameters(layers=2)
    scores = np.concatenate(list(score_stream(parameters, TEXT, block=block)))
    np.testing.assert_allclose(scores, reference.nats(parameters, TEXT.tolist()), atol=2e-5)


def test_a_stream_comes_in_blocks(random_parameters: RandomParameters) -> None:
    blocks = list(score_stream(random_parameters(), TEXT, block=25))
    assert [len(block) for block in blocks] == [25, 25, 9]


@pytest.mark.parametrize("window", [1, 7, 59, 60, 1000])
def test_each_window_is_scored_from_the_zero_state(random_parameters: RandomParameters, window: int) -> None:
    parameters, text = random_parameters(layers=2), TEXT.tolist()
    expected = [
        score
        for start in range(0, len(text) - 1, window)
        for score in reference.nats(parameters, text[start : start + window + 1])
    ]
    scores = np.concatenate(list(score_windows(parameters, TEXT, window=window)))
    np.testing.assert_allclose(scores, expected, atol=2e-5)


def test_windows_read_in_several_batches_and_blocks_score_the_same(
    random_parameters: RandomParameters, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = random_parameters()
    expected = np.concatenate(list(score_windows(parameters, TEXT, window=7)))
    monkeypatch.setattr(scoring, "WINDOWS_AT_ONCE", 3)
    monkeypatch.setattr(scoring, "VALUES_AT_ONCE", 30)
    np.testing.assert_allclose(
        np.concatenate(list(score_windows(parameters, TEXT, window=7))), expected, atol=1e-6
    )


def test_an_estimate_of_one_stream_is_exact(random_parameters: RandomParameters) -> None:
    parameters = random_parameters()
    assert estimate_stream(parameters, TEXT, streams=1) == mean_score(score_stream(parameters, TEXT))


def test_an_estimate_is_close_where_the_network_forgets(random_parameters: RandomParameters) -> None:
    parameters = random_parameters(units=16, scale=0.2)
    text = np.random.default_rng(6).integers(0, 5, 5000)
    exact = mean_score(score_stream(parameters, text))
    estimate = estimate_stream(parameters, text, streams=16, warm_up=32)
    assert estimate.characters == exact.characters == 4999
    assert estimate.nats_per_char == pytest.approx(exact.nats_per_char, abs=1e-5)


def test_an_estimate_reads_each_piece_after_its_warm_up(random_parameters: RandomParameters) -> None:
    parameters, text = random_parameters(), TEXT[:22].tolist()  # 21 pairs: pieces of 7
    expected = [
        *reference.nats(parameters, text[:8]),
        *reference.nats(parameters, text[2:15])[5:],
        *reference.nats(parameters, text[9:22])[5:],
    ]
    estimate = estimate_stream(parameters, TEXT[:22], streams=3, warm_up=5)
    assert estimate.nats_per_char == pytest.approx(np.mean(expected), abs=1e-5)


@settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    length=st.integers(2, 60), streams=st.integers(1, 70), warm_up=st.integers(0, 20), window=st.integers(1, 70)
)
def test_every_id_but_the_first_is_scored_once(
    random_parameters: RandomParameters, length: int, streams: int, warm_up: int, window: int
) -> None:
    parameters, text = random_parameters(scale=0), TEXT[:length]  # all ids are equally likely
    expected = Score(pytest.approx(math.log(5), abs=1e-6), length - 1)  # type: ignore[arg-type]
    assert mean_score(score_stream(parameters, text)) == expected
    assert mean_score(score_windows(parameters, text, window=window)) == expected
    assert estimate_stream(parameters, text, streams=streams, warm_up=warm_up) == expected


@pytest.mark.parametrize("length", [0, 1])
@pytest.mark.parametrize("score", [score_stream, score_windows, estimate_stream])
def test_a_text_of_fewer_than_two_characters_is_refused(
    random_parameters: RandomParameters, score: Callable[..., object], length: int
) -> None:
    with pytest.raises(CharlmError, match=f"a text of {length} characters: at least 2"):
        score(random_parameters(), TEXT[:length])


def test_a_window_of_nothing_is_refused(random_parameters: RandomParameters) -> None:
    with pytest.raises(CharlmError, match="--window 0: should be 1 or more"):
        score_windows(random_parameters(), TEXT, window=0)
