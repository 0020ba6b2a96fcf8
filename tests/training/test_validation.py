"""Which evaluation is the best so far, and on which text."""

import math
from pathlib import Path

import pytest
from corpora import make_corpus

from charlm.config.recipes import DEFAULT_CORPUS
from charlm.config.schema import Config, EarlyStoppingConfig, TrainingConfig
from charlm.evaluation.baselines import measure_baselines
from charlm.runs.run import Run
from charlm.text.findings import describe_text
from charlm.training.checkpoints import Progress
from charlm.training.validation import TextReport, Validator


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
