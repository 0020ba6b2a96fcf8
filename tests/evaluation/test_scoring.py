"""Nats per character, compared with the definition in float64, and the scores of simple models."""

import lzma
import math
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from limits import memory_limit
from models import random_parameters, with_tensors

from charlm.config.recipes import DEFAULT_CORPUS
from charlm.errors import CharlmError
from charlm.evaluation import baselines, scoring
from charlm.evaluation.baselines import (
    Comparison,
    Verdict,
    baseline_scores,
    compressed_nats,
)
from charlm.evaluation.ngrams import count_ngrams, predict_ngrams, score_ngrams
from charlm.evaluation.scoring import (
    Difference,
    Score,
    estimate_stream,
    mean_and_error,
    mean_score,
    score_ids,
    score_stream,
    score_windows,
)
from charlm.network.rnn import Parameters
from charlm.text.vocabulary import Vocabulary

TEXT = np.random.default_rng(4).integers(0, 5, 60).astype(np.uint8)


@pytest.mark.parametrize("size", [1, 299, 700, 5000])
def test_the_standard_error_is_that_of_means_of_300_characters_however_they_come(size: int) -> None:
    rng = np.random.default_rng(0)
    hard = np.repeat(rng.normal(2, 0.5, 5), 600)[:2700]  # passages, for both
    texts = [
        np.append(hard + rng.normal(0, 0.1, 2700), [9.0] * 299).astype(np.float32) for _ in range(2)
    ]
    one, other = (mean_score(np.split(text, range(size, len(text), size))) for text in texts)
    means = [
        [text[300 * block :][:300].astype(np.float64).mean() for block in range(9)]
        for text in texts
    ]
    assert one.standard_error == pytest.approx(reference.standard_error(means[0]), rel=0.01)
    differences = [a - b for a, b in zip(*means, strict=True)]
    assert one.difference_error(other) == pytest.approx(
        reference.standard_error(differences), rel=0.01
    )
    assert mean_score([np.array([1.0], np.float32), np.array([[2.0], [6.0]], np.float32)]) == Score(
        3.0, 3
    )
    assert mean_score([np.ones(2400)]).standard_error == 0
    assert mean_score([texts[0][:2399]]).standard_error is None
    assert mean_score([texts[0][:2400]]).standard_error is not None
    assert one.difference_error(mean_score([texts[0][:2400]])) is None


@pytest.mark.parametrize("blocks", [8, 16, 80])
@pytest.mark.parametrize(("correlation", "least"), [(0.0, 0.005), (0.3, 0.03)])
def test_of_100_means_about_5_are_further_off_than_two_errors(
    blocks: int, correlation: float, least: float
) -> None:
    rng, process = np.random.default_rng(1), np.zeros((2000, 20 + blocks))
    for time in range(1, process.shape[1]):
        process[:, time] = correlation * process[:, time - 1] + rng.normal(size=len(process))
    means = process[:, 20:]
    errors = np.array([scoring.standard_error(row) for row in means], np.float64)
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
def test_a_window_is_scored_from_the_zero_state_among_others_or_alone(
    parameters: Parameters, window: int
) -> None:
    windows = [
        TEXT[start : start + window + 1].tolist() for start in range(0, len(TEXT) - 1, window)
    ]
    expected = [score for text in windows for score in reference.nats(parameters, text)]
    options: Any
    for options in ({}, {"windows_at_once": 3}):
        parts = list(score_windows(parameters, TEXT, window=window, **options))
        np.testing.assert_allclose(np.concatenate(parts), expected, atol=2e-5)
    assert window != 7 or len(parts) == 3  # 8 windows and the shorter last one, by threes


def test_estimate_reads_each_piece_after_its_warm_up(parameters: Parameters) -> None:
    text = TEXT[:22].tolist()  # 21 pairs: segments of 7
    segments = (
        reference.nats(parameters, text[5:15])[2:],
        reference.nats(parameters, text[12:22])[2:],
    )
    expected = [*reference.nats(parameters, text[:8]), *segments[0], *segments[1]]
    estimate = estimate_stream(parameters, TEXT[:22], streams=3, warm_up=2)
    assert estimate.nats_per_char == pytest.approx(np.mean(expected), abs=1e-5)
    assert estimate_stream(parameters, TEXT, streams=1) == mean_score(
        score_stream(parameters, TEXT)
    )


def test_what_cannot_be_scored_is_refused(parameters: Parameters) -> None:
    for length in (0, 1):
        with pytest.raises(CharlmError, match=f"a text of {length} characters?: at least 2"):
            score_ids(parameters, TEXT[:length], protocol="stream", window=9)
    with pytest.raises(CharlmError, match="window: found 0; must be a whole number, 1 or more"):
        score_ids(parameters, TEXT, protocol="windows", window=0)
    broken = with_tensors(parameters, {"logits.bias": np.array([np.nan, 0, 0, 0, 0], np.float32)})
    with pytest.raises(CharlmError, match="the loss is nan: the weights are too large"):
        list(score_ids(broken, TEXT, protocol="stream", window=2))


@pytest.mark.filterwarnings("error")
def test_windows_that_overflow_in_several_threads_are_refused_without_a_warning() -> None:
    """The threads do not have the settings of the thread that begins them."""
    parameters = random_parameters(units=40, layers=2, activation="relu")
    for layer in parameters.layers:
        layer.recurrent_kernel[...] = 1e30
    ids = np.tile(TEXT, 40)
    with (
        np.errstate(over="ignore", invalid="ignore"),
        pytest.raises(CharlmError, match="the weights are too large"),
    ):
        list(score_ids(parameters, ids, protocol="windows", window=16))


def test_the_error_of_a_mean_of_some_characters_is_that_of_a_ratio_of_sums() -> None:
    rng, positions = (
        np.random.default_rng(0),
        np.array([0, 299, 300, 650, 899, 1000, 1300, 1500, 2000, 2399]),
    )
    values = rng.random(10)
    mean, error = mean_and_error(values, positions)
    sums = [(values - values.mean())[positions // 300 == block].sum() for block in range(8)]
    assert mean == pytest.approx(values.mean())
    assert error == pytest.approx(reference.standard_error(sums) * 8 / 10, rel=0.01)
    assert mean_and_error(values[:-2], positions[:-2])[1] is None  # seven blocks
    assert mean_and_error(values, 2 * positions, block=600) == (mean, error)
    assert mean_and_error(np.array([-np.inf, *values[1:]]), positions) == (-np.inf, None)


def test_a_difference_is_clear_beyond_three_errors_and_what_is_shown_of_it() -> None:
    for nats, error, is_clear in (
        *((-0.0301, 0.01, True), (0.0301, 0.01, True), (0.0299, 0.01, False), (9.0, None, False)),
        *((6e-5, 0.0, True), (4e-5, 0.0, False)),
    ):
        assert Difference(nats, error).is_clear is is_clear
    assert (str(Difference(-0.25, 0.0125)), str(Difference(0.25, None))) == (
        "0.2500 ± 0.0125 nats",
        "0.2500 nats",
    )
    assert Score(3.5, 9).minus(Score(1.25, 9)) == Difference(2.25, None)


def test_bits_and_perplexity_are_those_of_the_definition_and_infinite_beyond_a_float() -> None:
    assert [scoring.bits(1.5), scoring.perplexity(1.5)] == pytest.approx(
        [1.5 * math.log2(math.e), math.e**1.5]
    )
    assert scoring.perplexity(1e4) == scoring.perplexity(math.inf) == math.inf


def test_an_estimate_reads_each_piece_and_what_comes_before_it() -> None:
    for length, read in ((40, 40 + 5), (29, 29 + 2 * 5), (30, 30 + 3 * 5), (1000, 1000 + 7 * 5)):
        assert scoring.ids_read(length, streams=1 if length == 40 else 7, warm_up=5) == read


# Simple models


TEXTS = st.lists(st.integers(0, 3), max_size=60)


class Definition:
    """Interpolated modified Kneser-Ney, computed as Chen and Goodman define it, one probability at a time."""

    def __init__(self, text: list[int], size: int, order: int) -> None:
        self.size = size
        self.counts: list[dict[tuple[int, ...], int]] = []
        for length in range(1, order + 1):
            grams = [tuple(text[i : i + length]) for i in range(len(text) - length + 1)]
            if length == order:
                self.counts.append(Counter(grams))
                continue
            before = defaultdict(set)
            for i in range(1, len(text) - length + 1):
                before[tuple(text[i : i + length])].add(text[i - 1])
            self.counts.append({gram: len(ids) for gram, ids in before.items()})

    def discount(self, order: int, count: int) -> float:
        """Return D(count)."""
        n = Counter(self.counts[order - 1].values())
        base = n[1] / (n[1] + 2 * n[2]) if n[1] else 0.5
        k = min(count, 3)
        if k == 0:
            return 0
        wanted = k - (k + 1) * base * n[k + 1] / n[k] if n[k] else base
        return min(max(wanted, 0.1), k)

    def probability(self, context: tuple[int, ...], index: int) -> float:
        """Return p(index | context)."""
        order = len(context) + 1
        counts = [self.counts[order - 1].get((*context, other), 0) for other in range(self.size)]
        below = self.probability(context[1:], index) if context else 1 / self.size
        if sum(counts) == 0:
            return below
        lost = sum(self.discount(order, count) for count in counts)
        kept = counts[index] - self.discount(order, counts[index])
        return (kept + lost * below) / sum(counts)


@given(
    training=TEXTS,
    text=TEXTS,
    order=st.integers(1, 5),
    first=st.integers(0, 5),
    block=st.integers(1, 40),
)
def test_predictions_and_nats_are_those_of_the_definition(
    training: list[int], text: list[int], order: int, first: int, block: int
) -> None:
    definition, ids = Definition(training, 4, order), np.array(text, np.uint8)
    contexts = [tuple(text[max(0, i - order + 1) : i]) for i in range(len(text))]
    expected = [
        [definition.probability(context, index) for index in range(4)] for context in contexts
    ]
    model = count_ngrams(np.array(training, np.uint8), vocabulary_size=4, order=order)
    found = [row for rows in predict_ngrams(model, ids, first=first, block=block) for row in rows]
    np.testing.assert_allclose(found, expected[first:], rtol=1e-9)
    nats = [each for part in score_ngrams(model, ids, block=block) for each in part]
    chosen = [row[index] for row, index in zip(expected, text, strict=True)]
    np.testing.assert_allclose(nats, -np.log(chosen[1:]), rtol=1e-9)


def test_vocabulary_of_all_characters_does_not_overflow() -> None:
    size = 0x110000
    text = np.array([size - 1, size - 2, size - 1, size - 3] * 50, np.uint32)
    small = np.array([3, 2, 3, 1] * 50, np.uint8)
    models = [(ids, count_ngrams(ids, vocabulary_size=n)) for ids, n in ((text, size), (small, 4))]
    large_nats, small_nats = (np.concatenate([*score_ngrams(model, ids)]) for ids, model in models)
    assert large_nats[-100:] == pytest.approx(small_nats[-100:], abs=0.1)


PLAYS = DEFAULT_CORPUS.read_text(encoding="utf-8")[:40_000]
LETTERS = Vocabulary(tuple(sorted({*PLAYS, "é"})))
TRAINING, HELD = LETTERS.encode(PLAYS[:30_000]), LETTERS.encode(PLAYS[30_000:])


# The compressor


def test_score_of_the_compressor_is_what_the_text_adds_to_the_training_text() -> None:
    before, both = PLAYS[:30_001].encode(), PLAYS.encode()
    added = len(lzma.compress(both, preset=9)) - len(lzma.compress(before, preset=9))
    assert compressed_nats(HELD, LETTERS, TRAINING) == pytest.approx(
        8 * math.log(2) * added / 9_999, rel=0.02
    )
    for length, added in ((580, 180), (740, 232)):  # fewer than 200 bytes say little
        both = PLAYS[: 30_000 + length].encode()
        assert len(lzma.compress(both, preset=9)) - len(
            lzma.compress(before, preset=9)
        ) == pytest.approx(added, abs=15)
        assert ("lzma" in baseline_scores(HELD[:length], LETTERS, TRAINING)) == (added > 200)


def test_a_text_too_short_or_too_uniform_for_the_compressor_has_no_score_of_it() -> None:
    uniform = np.zeros(5_000, int)
    for training, text in (
        (TRAINING, HELD[:2]),
        (TRAINING, uniform),
        (np.zeros(50_000, int), uniform),
    ):
        assert set(baseline_scores(text, LETTERS, training)) == {"uniform", "unigram", "5-gram"}


# N-gram models


def nats_of_baselines(*arguments: Any) -> dict[str, float]:
    """Return the scores of the baselines without their blocks; each must be on all characters of HELD but the first."""
    scores = baseline_scores(HELD, LETTERS, *arguments)
    assert {score.characters for score in scores.values()} == {9_999}
    return {name: score.nats_per_char for name, score in scores.items()}


def test_every_baseline_has_its_score_on_all_characters_but_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size = len(LETTERS)
    counts = np.bincount(TRAINING, minlength=size) + 1
    five = np.concatenate(
        list(score_ngrams(count_ngrams(TRAINING, vocabulary_size=size, order=5), HELD))
    )
    assert len(five) == 9_999
    assert nats_of_baselines(TRAINING) == {
        "uniform": pytest.approx(math.log(size)),
        "unigram": pytest.approx(-np.log(counts / counts.sum())[HELD[1:]].mean()),
        "5-gram": pytest.approx(five.mean()),
        "lzma": compressed_nats(HELD, LETTERS, TRAINING),
    }
    alone = {"uniform": math.log(size), "lzma": compressed_nats(HELD, LETTERS, TRAINING[:0])}
    assert nats_of_baselines() == alone  # without a training text
    expected = nats_of_baselines(TRAINING[-1_000:])
    monkeypatch.setattr(
        baselines, "MAX_TRAINING_CHARACTERS", 1_000
    )  # only the end of a long one is used
    assert nats_of_baselines(TRAINING) == expected


# The comparison with the 5-gram model


def test_the_comparison_has_the_margin_and_the_error_of_the_paired_blocks() -> None:
    rng = np.random.default_rng(2)
    hard = np.repeat(rng.normal(2, 0.5, 40), 250)[:9_999]  # passages that are hard for both models
    nats = hard + rng.normal(0, 0.1, 9_999)
    five = np.concatenate(
        [*score_ngrams(count_ngrams(TRAINING, vocabulary_size=len(LETTERS), order=5), HELD)]
    )
    comparison = Comparison.of(
        mean_score([nats]), baseline_scores(HELD, LETTERS, TRAINING)["5-gram"]
    )
    blocks = (five - nats)[: 33 * 300].reshape(33, 300).mean(1).tolist()
    assert comparison.ngram_nats_per_char == pytest.approx(five.mean())
    assert comparison.margin_nats == pytest.approx(five.mean() - nats.mean())
    assert comparison.standard_error == pytest.approx(reference.standard_error(blocks), rel=0.01)
    assert comparison.characters == 9_999


@pytest.mark.parametrize(("length", "is_known"), [(2_400, False), (2_401, True)])
def test_below_2400_scored_characters_nothing_is_compared(length: int, *, is_known: bool) -> None:
    ngram = baseline_scores(HELD[:length], LETTERS, TRAINING)["5-gram"]
    score = mean_score([np.random.default_rng(0).random(length - 1)])
    comparison = Comparison.of(score, ngram)
    assert (comparison.standard_error is not None) == is_known
    assert (comparison.verdict != "not compared") == is_known


@pytest.mark.parametrize(
    ("margin", "error", "verdict", "text"),
    [
        pytest.param(
            *(0.1043, 0.0061, "better"),
            "0.1043 ± 0.0061 nats per character better than a 5-gram model (1.3380), on 11,999 characters",
            id="better",
        ),
        pytest.param(
            *(-0.25, 0.01, "worse"),
            "0.2500 ± 0.0100 nats per character worse than a 5-gram model (1.3380), on 11,999 characters",
            id="worse",
        ),
        pytest.param(
            *(0.03, 0.01, "no clear difference"),
            "not clearly different from a 5-gram model (1.3380): 0.0300 ± 0.0100 nats per character better, "
            "on 11,999 characters",
            id="three errors are not more than three",
        ),
        pytest.param(
            *(-0.00004, 0.0, "no clear difference"),
            "not clearly different from a 5-gram model (1.3380): 0.0000 ± 0.0000 nats per character worse, "
            "on 11,999 characters",
            id="less than what is shown",
        ),
        pytest.param(
            *(0.5, None, "not compared"),
            "not compared with a 5-gram model (1.3380): 11,999 characters are too few to know the error",
            id="error not known",
        ),
    ],
)
def test_three_standard_errors_decide_what_is_said_of_a_margin(
    margin: float, error: float | None, verdict: Verdict, text: str
) -> None:
    comparison = Comparison(1.338, margin, error, 11_999)
    assert comparison.verdict == verdict
    assert str(comparison) == text


def test_total_bits_are_those_of_all_scored_characters() -> None:
    assert Score(2 * math.log(2), 1_500).total_bits == pytest.approx(3_000)


def test_windows_of_a_network_with_a_large_vocabulary_are_read_in_little_memory() -> None:
    parameters = random_parameters(vocabulary_size=100_000, units=1)
    with memory_limit(40_000_000):  # the logits of 128 windows at once are 51 MB
        score = mean_score(score_windows(parameters, np.arange(200), window=1))
    assert score.nats_per_char == pytest.approx(
        mean_score(score_stream(parameters, np.arange(200))).nats_per_char, 0.1
    )
