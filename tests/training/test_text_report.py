"""What is known of a text before training."""

from pathlib import Path

import pytest
from corpora import make_corpus

from charlm.config.recipes import DEFAULT_CORPUS
from charlm.evaluation.baselines import measure_baselines
from charlm.text.findings import describe_text
from charlm.training.text_report import TextReport


def test_the_report_is_that_of_the_text_and_of_the_baselines(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, DEFAULT_CORPUS.read_text(encoding="utf-8")[:20_000])
    validation = corpus.split("validation")
    report = TextReport(corpus, validation)
    expected = measure_baselines(validation, corpus.vocabulary, corpus.split("train")).nats_per_char
    assert report.simple_nats() == pytest.approx({name: expected[name] for name in ("5-gram", "bz2")})
    assert report.facts() == describe_text(corpus)


def test_without_a_validation_text_nothing_is_scored(tmp_path: Path) -> None:
    assert TextReport(make_corpus(tmp_path, "abba" * 50), None).simple_nats() == {}
