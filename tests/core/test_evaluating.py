"""Evaluations: the text that they read, the score of a network, its sample, and what is kept."""

from dataclasses import replace
from pathlib import Path

import pytest
from corpora import make_corpus
from fake_engine import FakeEngines
from fake_runs import LONG_TEXT

from charlm.config.schema import Config, SamplingConfig
from charlm.core.evaluating import (
    EVALUATED_CHARACTERS,
    Evaluation,
    evaluate_model,
    generate_sample,
    present_model,
)
from charlm.core.generation import TextRequest, generate_text
from charlm.core.model_file import TrainedModel
from charlm.core.sampler import Sampler
from charlm.core.scoring import Score, estimate_stream
from charlm.runs.choosing import new_engine, score_opponent, training_text
from charlm.text.corpus import Corpus

# The text


def test_an_evaluation_reads_the_start_of_the_validation_text(tmp_path: Path) -> None:
    text = training_text(make_corpus(tmp_path, "ab" * 1_100_000))
    assert text.validation is not None
    assert len(text.validation) == EVALUATED_CHARACTERS == 200_000


def test_a_validation_text_of_one_character_is_not_scored(tmp_path: Path) -> None:
    text = training_text(make_corpus(tmp_path, "ababa"))
    assert (text.validation, text.split) == (None, "train")
    assert score_opponent(text) is None


@pytest.mark.parametrize(
    ("text", "has_paragraphs"),
    [
        ("a line\n\n" + 98 * "a line\n", True),
        ("a line\n\n" + 99 * "a line\n", False),
        (99 * "a line", False),
    ],
    ids=["1 in 100", "1 in 101", "no lines"],
)
def test_a_text_with_blank_lines_has_paragraphs(
    text: str, has_paragraphs: bool, tmp_path: Path
) -> None:
    corpus = make_corpus(tmp_path, text, validation_fraction=0)
    assert training_text(corpus).has_paragraphs == has_paragraphs


# An evaluation


def evaluate(corpus: Corpus) -> Evaluation:
    """Evaluate the first weights of a network."""
    config = Config(sampling=SamplingConfig(length=9))
    engine = new_engine(config, corpus, FakeEngines())
    text = training_text(corpus)
    model = present_model(engine, config, text, step=3, epoch=0.5)
    return evaluate_model(engine, model, config, text, train_nats=1.5)


def test_a_network_is_scored_on_the_validation_text(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, LONG_TEXT)
    evaluation = evaluate(corpus)
    score = estimate_stream(evaluation.model.parameters, corpus.split("validation"))
    assert evaluation.score == replace(score, split="validation")
    assert len(evaluation.sample) == 9
    kept = Score.from_fields(evaluation.model.facts["score"])
    assert kept is not None
    assert kept.block_means == pytest.approx(score.block_means, abs=1e-6)
    assert evaluation.model.facts["score"] == {
        "split": "validation",
        "nats_per_char": score.nats_per_char,
        "characters": score.characters,
        "block_means": [*kept.block_means],
    }


def test_a_sample_is_the_text_that_charlm_sample_generates(trained: TrainedModel) -> None:
    settings = SamplingConfig(length=30, prompt="ab", top_k=2, temperature=0.8)
    request = TextRequest(30, Sampler(temperature=0.8, top_k=2), seed=3, prompt="ab")
    generated = "".join(generate_text(trained, request))
    assert generate_sample(Config(seed=3, sampling=settings), trained) == f"ab{generated}"
