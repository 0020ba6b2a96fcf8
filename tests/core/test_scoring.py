"""The loss in nats per character, compared with its definition in float64."""

import math

import numpy as np
import pytest
import reference
from limits import memory_limit
from models import random_parameters, with_tensors

from charlm.core import reading, scoring
from charlm.core.rnn import Parameters
from charlm.core.scoring import (
    Score,
    estimate_stream,
    mean_score,
    score_ids,
    score_stream,
    score_windows,
)
from charlm.errors import CharlmError

TEXT = np.random.default_rng(4).integers(0, 5, 60).astype(np.uint8)


def test_the_mean_of_parts_is_the_mean_of_all_losses() -> None:
    parts = [np.array([1.0], np.float32), np.array([[2.0], [6.0]], np.float32)]
    assert mean_score(parts) == Score(3.0, 3)


# Protocols


@pytest.fixture
def parameters() -> Parameters:
    """Return a network of two layers."""
    return random_parameters(layers=2)


@pytest.mark.parametrize("block", [1, 7, 2048])
def test_a_stream_scores_each_id_after_all_ids_before_it(
    parameters: Parameters,
    block: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "BLOCK", block)
    losses = np.concatenate([*score_ids(parameters, TEXT, protocol="stream", window=7)])
    np.testing.assert_allclose(losses, reference.nats(parameters, TEXT.tolist()), atol=2e-5)


@pytest.mark.parametrize("most", [128, 3, 1], ids=["together", "by threes", "one by one"])
@pytest.mark.parametrize("window", [1, 7, 59, 60, 1000])
def test_a_window_is_scored_from_the_zero_state(
    parameters: Parameters,
    window: int,
    most: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scoring, "WINDOWS_AT_ONCE", most)
    expected = []
    for start in range(0, len(TEXT) - 1, window):
        expected += reference.nats(parameters, TEXT[start : start + window + 1].tolist())
    losses = np.concatenate([*score_ids(parameters, TEXT, protocol="windows", window=window)])
    np.testing.assert_allclose(losses, expected, atol=2e-5)


def test_windows_of_a_large_vocabulary_are_read_in_little_memory() -> None:
    parameters = random_parameters(vocabulary_size=100_000, units=1)
    with memory_limit(40_000_000):  # the logits of 128 windows need 51 MB
        score = mean_score(score_windows(parameters, np.arange(200), window=1))
    expected = mean_score(score_stream(parameters, np.arange(200)))
    assert score.nats_per_char == pytest.approx(expected.nats_per_char, 0.1)


# Estimates


@pytest.mark.parametrize(
    ("streams", "warm_up"),
    [pytest.param(3, 2, id="three streams"), pytest.param(9, 3, id="twice the warm-up")],
)
def test_an_estimate_reads_each_segment_after_its_warm_up(
    streams: int, warm_up: int, parameters: Parameters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "STREAMS", streams)
    monkeypatch.setattr(scoring, "WARM_UP", warm_up)
    text = TEXT[:22].tolist()
    first = reference.nats(parameters, text[:8])
    second = reference.nats(parameters, text[7 - warm_up : 15])[warm_up:]
    third = reference.nats(parameters, text[14 - warm_up : 22])[warm_up:]
    expected = np.mean([*first, *second, *third])
    estimate = estimate_stream(parameters, TEXT[:22])
    assert estimate.nats_per_char == pytest.approx(expected, abs=1e-5)


def test_an_estimate_with_a_single_stream_is_exact(parameters: Parameters) -> None:
    assert estimate_stream(parameters, TEXT) == mean_score(score_stream(parameters, TEXT))


# Refusals


@pytest.mark.parametrize(("length", "shown"), [(0, "0 characters"), (1, "1 character")])
def test_a_text_that_is_too_short_is_refused(
    parameters: Parameters,
    length: int,
    shown: str,
) -> None:
    with pytest.raises(CharlmError, match=f"a text of {shown}: at least 2"):
        score_ids(parameters, TEXT[:length], protocol="stream", window=9)


def test_a_loss_of_nan_is_refused(parameters: Parameters) -> None:
    bias = np.array([np.nan, 0, 0, 0, 0], np.float32)
    broken = with_tensors(parameters, {"logits.bias": bias})
    with pytest.raises(CharlmError, match="the loss is nan: the weights are too large"):
        list(score_ids(broken, TEXT, protocol="stream", window=2))


# Figures of a score


@pytest.mark.parametrize("nats", [700, 1e4, math.inf])
def test_a_perplexity_beyond_the_range_of_a_float_is_infinite(nats: float) -> None:
    assert scoring.perplexity(nats) == math.inf
