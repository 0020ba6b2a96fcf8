"""The sampled texts of an evaluation, compared with those of `generate_text`."""

import math
from pathlib import Path

import pytest
from corpora import make_corpus

from charlm.config.recipes import DEFAULT_CORPUS
from charlm.config.schema import Config, EarlyStoppingConfig, SamplingConfig, TrainingConfig
from charlm.evaluation.baselines import measure_baselines
from charlm.network.bundle import Bundle
from charlm.runs.run import Run
from charlm.sampling.generation import TextRequest, generate_text
from charlm.sampling.sampler import Sampler
from charlm.training.checkpoints import Progress
from charlm.training.validation import Validator, score_simple_models


def validator(
    folder: Path, *, min_delta: float = 0.0, text: str = "abcd" * 10, sampling: SamplingConfig | None = None
) -> Validator:
    stopping = EarlyStoppingConfig(min_delta=min_delta)
    training = TrainingConfig(epochs=1, early_stopping=stopping)
    config = Config(training=training, sampling=sampling or SamplingConfig(), seed=3)
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


def test_the_sample_is_that_of_charlm_sample_with_its_prompt(bundle: Bundle, tmp_path: Path) -> None:
    settings = SamplingConfig(length=30, prompt="ab", top_k=2, temperature=0.8)
    expected = "".join(generate_text(bundle, TextRequest(30, Sampler(0.8, top_k=2), seed=3, prompt="ab")))
    assert validator(tmp_path, sampling=settings).sample(bundle) == f"ab{expected}"


def test_without_a_length_there_is_no_sample(bundle: Bundle, tmp_path: Path) -> None:
    assert validator(tmp_path, sampling=SamplingConfig(length=0)).sample(bundle) == ""


def test_the_simple_models_score_what_the_baselines_of_evaluate_do(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, DEFAULT_CORPUS.read_text(encoding="utf-8")[:20_000])
    validation = corpus.split("validation")
    expected = measure_baselines(validation, corpus.vocabulary, corpus.split("train")).nats_per_char
    found = score_simple_models(corpus, validation)
    assert found == pytest.approx({name: expected[name] for name in ("5-gram", "bz2")})
    assert score_simple_models(corpus, None) == {}
