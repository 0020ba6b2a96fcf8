"""Nats per character, compared with the definition in float64."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import reference
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models import random_parameters

from charlm.errors import CharlmError
from charlm.evaluation.scoring import (
    Difference,
    Score,
    bits,
    estimate_stream,
    ids_read,
    mean_and_error,
    mean_score,
    perplexity,
    score_ids,
    score_stream,
    score_windows,
    standard_error,
)
from charlm.network.rnn import Parameters

TEXT = np.random.default_rng(4).integers(0, 5, 60).astype(np.uint8)


@pytest.mark.parametrize("size", [1, 299, 700, 5000])
def test_the_standard_error_is_that_of_means_of_300_characters_however_they_come(size: int) -> None:
    rng = np.random.default_rng(0)
    hard = np.repeat(rng.normal(2, 0.5, 5), 600)[:2700]  # passages, for both
    texts = [np.append(hard + rng.normal(0, 0.1, 2700), [9.0] * 299).astype(np.float32) for _ in range(2)]
    one, other = (mean_score(np.split(text, range(size, len(text), size))) for text in texts)
    means = [[text[300 * block :][:300].astype(np.float64).mean() for block in range(9)] for text in texts]
    assert one.standard_error == pytest.approx(reference.standard_error(means[0]), rel=0.01)
    differences = [a - b for a, b in zip(*means, strict=True)]
    assert one.difference_error(other) == pytest.approx(reference.standard_error(differences), rel=0.01)
    assert mean_score([np.array([1.0], np.float32), np.array([[2.0], [6.0]], np.float32)]) == Score(3.0, 3)
    assert mean_score([texts[0][:2399]]).standard_error is None
    assert mean_score([texts[0][:2400]]).standard_error is not None
    assert one.difference_error(mean_score([texts[0][:2400]])) is None


@pytest.mark.parametrize("blocks", [8, 16, 80])
@pytest.mark.parametrize(("correlation", "least"), [(0.0, 0.005), (0.3, 0.03)])
def test_of_100_means_about_5_are_further_off_than_two_errors(blocks: int, correlation: float, least: float) -> None:
    rng, process = np.random.default_rng(1), np.zeros((2000, 20 + blocks))
    for time in range(1, process.shape[1]):
        process[:, time] = correlation * process[:, time - 1] + rng.normal(size=len(process))
    means = process[:, 20:]
    errors = np.array([standard_error(row) for row in means], np.float64)
    assert least < np.mean(np.abs(means.mean(1)) > 2 * errors) < 0.09


@pytest.fixture
def parameters() -> Parameters:
    """Return a network of two layers."""
    return random_parameters(layers=2)


def test_stream_scores_each_id_given_all_ids_before_it(parameters: Parameters) -> None:
    expected = reference.nats(parameters, TEXT.tolist())
    for block in (1, 7, 2048):
        scores = np.concatenate(list(score_stream(parameters, TEXT, block=block)))
        np.testing.assert_allclose(scores, expected, atol=2e-5)


@pytest.mark.parametrize("window", [1, 7, 59, 60, 1000])
def test_a_window_is_scored_from_the_zero_state_among_others_or_alone(parameters: Parameters, window: int) -> None:
    windows = [TEXT[start : start + window + 1].tolist() for start in range(0, len(TEXT) - 1, window)]
    expected = [score for text in windows for score in reference.nats(parameters, text)]
    options: Any
    for options in ({}, {"windows_at_once": 3}):
        parts = list(score_windows(parameters, TEXT, window=window, **options))
        np.testing.assert_allclose(np.concatenate(parts), expected, atol=2e-5)
    assert window != 7 or len(parts) == 3  # 8 windows and the shorter last one, by threes


def test_estimate_reads_each_piece_after_its_warm_up(parameters: Parameters) -> None:
    text = TEXT[:22].tolist()  # 21 pairs: pieces of 7
    expected = [
        *reference.nats(parameters, text[:8]),
        *reference.nats(parameters, text[5:15])[2:],
        *reference.nats(parameters, text[12:22])[2:],
    ]
    estimate = estimate_stream(parameters, TEXT[:22], streams=3, warm_up=2)
    assert estimate.nats_per_char == pytest.approx(np.mean(expected), abs=1e-5)
    assert estimate_stream(parameters, TEXT, streams=1) == mean_score(score_stream(parameters, TEXT))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.integers(2, 60), streams=st.integers(1, 70), warm_up=st.integers(0, 20), window=st.integers(1, 70))
def test_every_id_but_the_first_is_scored_once(length: int, streams: int, warm_up: int, window: int) -> None:
    parameters, text = random_parameters(scale=0), TEXT[:length]  # all ids are equally likely
    expected = Score(pytest.approx(math.log(5), abs=1e-6), length - 1)  # type: ignore[arg-type]
    assert mean_score(score_stream(parameters, text)) == expected
    assert mean_score(score_windows(parameters, text, window=window)) == expected
    assert estimate_stream(parameters, text, streams=streams, warm_up=warm_up) == expected


def test_what_cannot_be_scored_is_refused(parameters: Parameters) -> None:
    for length in (0, 1):
        with pytest.raises(CharlmError, match=f"a text of {length} characters?: at least 2"):
            score_ids(parameters, TEXT[:length], protocol="stream", window=9)
    with pytest.raises(CharlmError, match="window 0: must be 1 or more"):
        score_ids(parameters, TEXT, protocol="windows", window=0)
    broken = replace(parameters, logits_bias=np.array([np.nan, 0, 0, 0, 0], np.float32))
    with pytest.raises(CharlmError, match="the loss is nan: the weights are too large"):
        list(score_ids(broken, TEXT, protocol="stream", window=2))


def test_the_error_of_a_mean_of_some_characters_is_that_of_a_ratio_of_sums() -> None:
    rng, positions = np.random.default_rng(0), np.array([0, 299, 300, 650, 899, 1000, 1300, 1500, 2000, 2399])
    values = rng.random(10)
    mean, error = mean_and_error(values, positions)
    sums = [(values - values.mean())[positions // 300 == block].sum() for block in range(8)]
    assert mean == pytest.approx(values.mean())
    assert error == pytest.approx(reference.standard_error(sums) * 8 / 10, rel=0.01)
    assert mean_and_error(values[:-2], positions[:-2])[1] is None  # seven blocks
    assert mean_and_error(values, 2 * positions, block=600) == (mean, error)
    assert mean_and_error(np.array([-np.inf, *values[1:]]), positions) == (-np.inf, None)


def test_the_error_of_whole_blocks_is_that_of_the_score() -> None:
    values = np.random.default_rng(0).random(2700)
    score = mean_score([values])
    assert mean_and_error(values, np.arange(2700)) == pytest.approx((score.nats_per_char, score.standard_error))
    assert mean_score([np.ones(2400)]).standard_error == 0


def test_a_difference_is_clear_beyond_three_errors_and_what_is_shown_of_it() -> None:
    for nats, error, is_clear in (
        *((-0.0301, 0.01, True), (0.0301, 0.01, True), (0.0299, 0.01, False), (9.0, None, False)),
        *((6e-5, 0.0, True), (4e-5, 0.0, False)),
    ):
        assert Difference(nats, error).is_clear is is_clear
    assert (str(Difference(-0.25, 0.0125)), str(Difference(0.25, None))) == ("0.2500 ± 0.0125 nats", "0.2500 nats")
    assert Score(3.5, 9).minus(Score(1.25, 9)) == Difference(2.25, None)


def test_bits_and_perplexity_are_those_of_the_definition_and_infinite_beyond_a_float() -> None:
    assert [bits(1.5), perplexity(1.5)] == pytest.approx([1.5 * math.log2(math.e), math.e**1.5])
    assert perplexity(1e4) == perplexity(math.inf) == math.inf


def test_an_estimate_reads_each_piece_and_what_comes_before_it() -> None:
    for length, read in ((40, 40 + 5), (14, 14 + 2 * 5), (15, 15 + 3 * 5), (1000, 1000 + 7 * 5)):
        assert ids_read(length, streams=1 if length == 40 else 7, warm_up=5) == read
