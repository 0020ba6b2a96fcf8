"""Evaluations: the text that they read, the score of a network, its sample, and what is kept."""

from dataclasses import replace
from pathlib import Path

import pytest
from corpora import make_corpus
from fake_engine import FakeEngines
from fake_runs import LONG_TEXT, train

from charlm.config.schema import Config, SamplingConfig
from charlm.core.evaluating import (
    EvaluatedNetwork,
    evaluate_network,
    network_of,
    prepare_evaluated_text,
    sample_text,
)
from charlm.core.generation import TextRequest, generate_text
from charlm.core.model_file import TrainedModel
from charlm.core.sampler import Sampler
from charlm.core.scoring import Score, estimate_stream
from charlm.runs.choosing import new_engine
from charlm.text.corpus import Corpus

# The text


def test_a_score_on_a_part_of_the_validation_text_names_the_part(tmp_path: Path) -> None:
    text = prepare_evaluated_text(make_corpus(tmp_path, "ab" * 1_100_000))
    assert text.measured_on == "the first 200,000 characters of the validation text"
    assert text.ids is not None
    assert len(text.ids) == 200_000


@pytest.mark.parametrize(
    ("text", "is_short", "split", "measured_on"),
    [
        ("ab" * 12_005, False, "validation", "the validation text"),
        ("ab" * 12_000, True, "validation", "the validation text"),
        ("ababa", False, "train", "the training text"),
    ],
    ids=["2,401", "2,400", "one character"],
)
def test_a_validation_text_needs_2400_scored_characters_for_an_error(
    text: str, is_short: bool, split: str, measured_on: str, tmp_path: Path
) -> None:
    opened = prepare_evaluated_text(make_corpus(tmp_path, text))
    found = (opened.is_short, opened.split, opened.measured_on)
    assert found == (is_short, split, measured_on)
    assert (opened.ngram is None) == (opened.ids is None) == (split == "train")


# An evaluation


def evaluate(corpus: Corpus) -> EvaluatedNetwork:
    """Evaluate the first weights of a network."""
    config = Config(sampling=SamplingConfig(length=9))
    engine = new_engine(config, corpus, FakeEngines())
    model = network_of(engine, config, corpus, step=3, epoch=0.5)
    return evaluate_network(
        engine, model, prepare_evaluated_text(corpus), config=config, train_nats=1.5
    )


def test_a_network_is_scored_on_the_validation_text(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, LONG_TEXT)
    evaluation = evaluate(corpus)
    score = estimate_stream(evaluation.model.parameters, corpus.split("validation"))
    assert evaluation.score == replace(score, split="validation")
    assert (len(evaluation.sample), len(evaluation.probes)) == (9, 4)
    kept = Score.from_fields(evaluation.model.facts["score"])
    assert kept is not None
    assert kept.block_means == pytest.approx(score.block_means, abs=1e-6)
    assert evaluation.model.facts["score"] == {
        "split": "validation",
        "nats_per_char": score.nats_per_char,
        "characters": score.characters,
        "block_means": [*kept.block_means],
    }


def test_without_validation_text_the_training_loss_is_the_score(tmp_path: Path) -> None:
    facts = evaluate(make_corpus(tmp_path, "abba\n" * 9, validation_fraction=0)).model.facts
    assert facts["score"] == {"split": "train", "nats_per_char": 1.5}
    assert (facts["step"], facts["epoch"]) == (3, 0.5)


def test_a_sample_is_the_text_that_charlm_sample_generates(trained: TrainedModel) -> None:
    settings = SamplingConfig(length=30, prompt="ab", top_k=2, temperature=0.8)
    request = TextRequest(30, Sampler(temperature=0.8, top_k=2), seed=3, prompt="ab")
    generated = "".join(generate_text(trained, request))
    assert sample_text(Config(seed=3, sampling=settings), trained) == f"ab{generated}"


def test_without_validation_text_the_training_loss_decides_the_best_model(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", "corpus.validation_fraction=0")
    evaluated = [line for line in trained.metrics if line["step"] % 10 == 0]
    lowest = min(line["nats_per_char"] for line in evaluated)
    assert trained.model("best.safetensors").facts["score"]["nats_per_char"] == lowest
    assert trained.outcome.nats_per_char == lowest
