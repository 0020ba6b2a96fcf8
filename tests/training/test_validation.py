"""The sampled texts of an evaluation, compared with those of `generate_text`."""

import math
from pathlib import Path

import numpy as np
import pytest
from corpora import make_corpus

from charlm.config.recipes import DEFAULT_CORPUS
from charlm.config.schema import Config, EarlyStoppingConfig, SamplingConfig, TrainingConfig
from charlm.evaluation.baselines import measure_baselines
from charlm.network.bundle import Bundle
from charlm.network.rnn import nats, unroll, zero_state
from charlm.runs.run import Run
from charlm.sampling.generation import TextRequest, encode_prompt, generate_text
from charlm.sampling.sampler import Sampler
from charlm.text.findings import describe_text
from charlm.training.checkpoints import Progress
from charlm.training.validation import TextReport, Validator, temperatures, write_sample


@pytest.mark.parametrize(
    ("configured", "expected"), [(0.8, (0.8, 0.5, 1)), (0.5, (0.5, 0.8, 1)), (1.0, (1, 0.5, 0.8)), (0, (0, 0.5, 1))]
)
def test_there_are_three_different_temperatures_the_configured_one_first(
    configured: float, expected: tuple[float, ...]
) -> None:
    assert temperatures(configured) == expected


def test_the_text_is_that_of_charlm_sample(bundle: Bundle) -> None:
    settings = SamplingConfig(length=30, prompt="ab", top_k=2)
    first = write_sample(bundle, settings, seed=3, temperature=0.8)
    assert first is not None
    text = generate_text(bundle, TextRequest(30, Sampler(0.8, top_k=2), seed=3, prompt="ab"))
    assert (first.temperature, first.text) == (0.8, f"ab{text}")


def test_without_a_length_there_is_no_text(bundle: Bundle) -> None:
    assert write_sample(bundle, SamplingConfig(length=0), seed=1, temperature=0.8) is None


@pytest.mark.parametrize("seed", range(5))
def test_the_nats_are_those_of_the_text_read_again(bundle: Bundle, seed: int) -> None:
    for temperature in (0, 0.5, 1, 2):
        sample = write_sample(bundle, SamplingConfig(length=40, prompt="ba"), seed=seed, temperature=temperature)
        assert sample is not None
        assert "".join(sample.glyphs) == sample.text.removeprefix("ba")
        assert len(sample.nats) == len(sample.glyphs)
        ids = bundle.vocabulary.encode(sample.text)[:, None]
        logits, _ = unroll(bundle.parameters, ids[:-1], zero_state(bundle.parameters, 1))
        logits[..., bundle.vocabulary.unknown_id] = -np.inf  # never sampled
        expected = nats(logits, ids[1:])[len(encode_prompt(bundle.vocabulary, "ba")) - 1 :, 0]
        np.testing.assert_allclose(sample.nats, expected, atol=1e-5)


def validator(folder: Path, *, min_delta: float = 0.0, text: str = "abcd" * 10) -> Validator:
    stopping = EarlyStoppingConfig(min_delta=min_delta)
    config = Config(training=TrainingConfig(epochs=1, early_stopping=stopping))
    return Validator(Run(folder / "run", config, make_corpus(folder, text)))


@pytest.mark.parametrize(("nats", "is_best"), [(1.9, True), (2.0, False), (2.1, False), (math.nan, False)])
def test_only_a_lower_loss_is_the_best(nats: float, is_best: bool, tmp_path: Path) -> None:
    progress = Progress(step=9, best_nats=2.0, best_step=5, evaluations_without_best=1)
    assert validator(tmp_path).update_best(nats, progress) == is_best
    assert (progress.best_nats, progress.best_step) == ((nats, 9) if is_best else (2.0, 5))
    assert progress.evaluations_without_best == (0 if is_best else 2)


def test_a_loss_must_be_lower_by_the_margin(tmp_path: Path) -> None:
    progress = Progress(best_nats=2.0)
    assert not validator(tmp_path, min_delta=0.1).update_best(1.95, progress)


@pytest.mark.parametrize(("nats", "is_best"), [(3.0, True), (math.inf, False), (math.nan, False)])
def test_the_first_finite_loss_is_the_best(nats: float, is_best: bool, tmp_path: Path) -> None:
    assert validator(tmp_path).update_best(nats, Progress()) == is_best


@pytest.mark.parametrize(("text", "split"), [("abcd" * 10, "validation"), ("ab", "train")])
def test_the_training_text_is_used_if_there_is_no_validation_text(text: str, split: str, tmp_path: Path) -> None:
    assert validator(tmp_path, text=text).split == split


def test_the_report_is_that_of_the_text_and_of_the_baselines(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, DEFAULT_CORPUS.read_text(encoding="utf-8")[:20_000])
    validation = corpus.split("validation")
    report = TextReport(corpus, validation)
    expected = measure_baselines(validation, corpus.vocabulary, corpus.split("train")).nats_per_char
    assert report.simple_nats() == pytest.approx({name: expected[name] for name in ("5-gram", "bz2")})
    assert report.facts() == describe_text(corpus)


def test_without_a_validation_text_nothing_is_scored(tmp_path: Path) -> None:
    assert TextReport(make_corpus(tmp_path, "abba" * 50), None).simple_nats() == {}
