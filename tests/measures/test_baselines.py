"""The scores of simple models, and the comparison of a network with an 8-gram model."""

import lzma
import math
from typing import Any

import numpy as np
import pytest
import reference
from numpy.typing import NDArray

from charlm.core.scoring import mean_score
from charlm.core.vocabulary import Vocabulary
from charlm.measures.baselines import (
    Comparison,
    baseline_scores,
    compressed_nats,
    ngram_score,
)
from charlm.measures.ngrams import count_ngrams, score_ngrams
from charlm.runs.folder import DEFAULT_CORPUS

PLAYS = DEFAULT_CORPUS.read_text(encoding="utf-8")[:40_000]
LETTERS = Vocabulary(tuple(sorted({*PLAYS, "é"})))
TRAINING = LETTERS.encode(PLAYS[:30_000])
HELD_OUT = LETTERS.encode(PLAYS[30_000:])


@pytest.fixture(scope="module")
def losses_of_8_gram() -> NDArray[np.float64]:
    """Return the losses of an 8-gram model on the held-out text."""
    model = count_ngrams(TRAINING, vocabulary_size=len(LETTERS), order=8)
    return np.concatenate([*score_ngrams(model, HELD_OUT)])


# The compressor


def added_bytes(length: int) -> int:
    """Return how many bytes some held-out characters add to the compressed training text."""
    before = PLAYS[:30_001].encode()
    whole = PLAYS[: 30_000 + length].encode()
    return len(lzma.compress(whole, preset=9)) - len(lzma.compress(before, preset=9))


def test_the_compressor_is_scored_by_the_bytes_that_a_text_adds() -> None:
    expected = 8 * math.log(2) * added_bytes(10_000) / 9_999
    assert compressed_nats(HELD_OUT, LETTERS, TRAINING) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("length", "added", "has_score"), [(580, 180, False), (740, 232, True)], ids=str
)
def test_the_compressor_has_a_score_from_200_bytes_on(
    length: int, added: int, has_score: bool
) -> None:
    assert added_bytes(length) == pytest.approx(added, abs=15)
    assert ("lzma" in baseline_scores(HELD_OUT[:length], LETTERS, TRAINING)) == has_score


ZEROS = np.zeros(50_000, int)


@pytest.mark.parametrize(
    ("training", "text"),
    [
        pytest.param(TRAINING, HELD_OUT[:2], id="two characters"),
        pytest.param(TRAINING, ZEROS[:5_000], id="a single character repeated"),
        pytest.param(ZEROS, ZEROS[:5_000], id="the same character in both texts"),
    ],
)
def test_the_compressor_has_no_score_for_a_trivial_text(training: Any, text: Any) -> None:
    assert set(baseline_scores(text, LETTERS, training)) == {"uniform", "8-gram"}


# All baselines


def nats_of_baselines(*training: Any) -> dict[str, float]:
    """Return the loss of each baseline, and check that it is the loss of all but the first id."""
    scores = baseline_scores(HELD_OUT, LETTERS, *training)
    assert {score.characters for score in scores.values()} == {9_999}
    return {name: score.nats_per_char for name, score in scores.items()}


def test_every_baseline_has_a_score(losses_of_8_gram: NDArray[np.float64]) -> None:
    assert len(losses_of_8_gram) == 9_999
    assert nats_of_baselines(TRAINING) == {
        "uniform": pytest.approx(math.log(len(LETTERS))),
        "8-gram": pytest.approx(losses_of_8_gram.mean()),
        "lzma": compressed_nats(HELD_OUT, LETTERS, TRAINING),
    }


def test_two_baselines_need_no_training_text() -> None:
    compressed = compressed_nats(HELD_OUT, LETTERS, TRAINING[:0])
    assert nats_of_baselines() == {"uniform": math.log(len(LETTERS)), "lzma": compressed}


@pytest.mark.parametrize(("length", "is_read"), [(1_000_000, True), (1_000_002, False)])
def test_the_baselines_learn_from_the_last_million_characters(length: int, is_read: bool) -> None:
    """The second character of the training text is a one, and all others are zeros."""
    training = np.zeros(length, np.uint8)
    training[1] = 1
    text = np.array([0, 1])
    zeros_only = ngram_score(text, LETTERS, np.zeros(1_000_000, np.uint8))
    assert (ngram_score(text, LETTERS, training) != zeros_only) == is_read
    assert (baseline_scores(text, LETTERS, training)["8-gram"] != zeros_only) == is_read


# The comparison with the 8-gram model


def test_the_comparison_is_based_on_paired_blocks(losses_of_8_gram: NDArray[np.float64]) -> None:
    rng = np.random.default_rng(2)
    hard = np.repeat(rng.normal(2, 0.5, 40), 250)[:9_999]  # passages that are hard for both models
    losses = hard + rng.normal(0, 0.1, 9_999)
    ngram = baseline_scores(HELD_OUT, LETTERS, TRAINING)["8-gram"]
    comparison = Comparison.of(mean_score([losses]), ngram)
    differences = losses_of_8_gram - losses
    block_means = differences[: 33 * 300].reshape(33, 300).mean(1).tolist()
    expected_error = reference.standard_error(block_means)
    assert comparison.ngram_nats_per_char == pytest.approx(losses_of_8_gram.mean())
    assert comparison.margin_nats == pytest.approx(differences.mean())
    assert comparison.standard_error == pytest.approx(expected_error, rel=0.01)
    assert comparison.characters == 9_999


@pytest.mark.parametrize(
    ("nats", "error", "characters", "is_clear"),
    [
        pytest.param(-0.0301, 0.01, 10**6, True, id="below minus three errors"),
        pytest.param(0.0299, 0.01, 10**6, False, id="within three errors"),
        pytest.param(0.0460, 0.01, 2400, True, id="beyond 4.5 errors of 8 blocks"),
        pytest.param(0.0440, 0.01, 2400, False, id="within 4.5 errors of 8 blocks"),
        pytest.param(9.0, None, 2399, False, id="no error"),
        pytest.param(6e-5, 0.0, 2400, True, id="shown as 0.0001"),
        pytest.param(4e-5, 0.0, 2400, False, id="shown as zero"),
    ],
)
def test_a_margin_is_clear_if_chance_hardly_explains_it(
    nats: float, error: float | None, characters: int, is_clear: bool
) -> None:
    assert Comparison(1.5, nats, error, characters).is_clear is is_clear


SENTENCES = [
    pytest.param(
        0.1043,
        0.0061,
        "0.1043 ± 0.0061 nats per character better than an 8-gram model (1.3380), "
        "on 119,999 characters",
        id="better",
    ),
    pytest.param(
        -0.25,
        0.01,
        "0.2500 ± 0.0100 nats per character worse than an 8-gram model (1.3380), "
        "on 119,999 characters",
        id="worse",
    ),
    pytest.param(
        0.03,
        0.01,
        "0.0300 ± 0.0100 nats per character better than an 8-gram model (1.3380), "
        "on 119,999 characters, which may be chance",
        id="three errors",
    ),
    pytest.param(
        0.5,
        None,
        "not compared with an 8-gram model (1.3380): "
        "119,999 characters are too few to estimate its error",
        id="unknown error",
    ),
]


@pytest.mark.parametrize(("margin", "error", "text"), SENTENCES)
def test_a_comparison_is_shown_in_a_sentence(margin: float, error: float | None, text: str) -> None:
    assert str(Comparison(1.338, margin, error, 119_999)) == text


@pytest.mark.parametrize("error", [0.01, None], ids=["compared", "too few characters"])
def test_a_comparison_names_the_initial_model(error: float | None) -> None:
    sentence = str(Comparison(1.338, 0.5, error, 2399, "english"))
    assert sentence.endswith("; the network began with english, which had read other texts")
