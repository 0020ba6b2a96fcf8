"""`evaluate`: what it returns, and what it refuses."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_folders import read_metrics
from threadpoolctl import threadpool_info, threadpool_limits

import charlm
from charlm.api.evaluation import Evaluation, text_to_score
from charlm.errors import CharlmError
from charlm.evaluation.scoring import Score, mean_score, score_stream
from charlm.network.bundle import Bundle, read_bundle, write_bundle
from charlm.runs import run
from charlm.text.corpus import Corpus, Split, open_corpus

TEXT = "abba\nab\n" * 5


@pytest.fixture
def model(bundle_folder: Path) -> charlm.Model:
    """Load the random bundle."""
    return charlm.load(bundle_folder)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Write a text that the random bundle knows all characters of."""
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


# evaluate


@pytest.mark.parametrize("settings", [{}, {"protocol": "windows", "window": 7}])
def test_the_score_is_the_mean_of_the_scores_of_the_model(
    settings: dict[str, Any], model: charlm.Model, text: Path
) -> None:
    evaluation = charlm.evaluate(model, text, **settings)
    assert evaluation.score.nats_per_char == pytest.approx(model.score(TEXT, **settings).mean(), abs=1e-6)
    assert evaluation.score.characters == len(TEXT) - 1
    assert (evaluation.text, evaluation.baselines) == (str(text), None)


def test_the_best_model_scores_what_training_has_logged_before_it_was_calibrated(trained_run: Path) -> None:
    logged = [line["nats_per_char"] for line in read_metrics(trained_run) if line["split"] == "validation"]
    best, score = read_bundle(trained_run / "best"), charlm.evaluate(trained_run).score
    assert charlm.evaluate(charlm.load(trained_run)).score == score
    assert score.nats_per_char == pytest.approx(best.facts["score"]["nats_per_char"], rel=1e-6)
    assert score.nats_per_char < min(logged)
    before = best.parameters.divide_logits(1 / best.facts["temperature"])
    validation = open_corpus(trained_run / "corpus").split("validation")
    assert mean_score(score_stream(before, validation)).nats_per_char == pytest.approx(min(logged), rel=1e-5)
    assert best.facts["score"]["block_means"] == pytest.approx(score.block_means, rel=1e-5)
    assert len(score.block_means) == 1999 // 500


@pytest.mark.parametrize("split", [None, "train", "validation", "test"])
def test_the_text_of_the_run_is_scored_if_there_is_no_other(split: Split | None, trained_run: Path) -> None:
    model, corpus, part = charlm.load(trained_run), open_corpus(trained_run / "corpus"), split or "validation"
    name, ids, _ = text_to_score(model, None, split=split, unknown="error", corpus=corpus)
    assert name == f"{part} text of the run"
    np.testing.assert_array_equal(ids, corpus.split(part))


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_text_is_divided_like_a_corpus_of_it(split: Split, trained_run: Path) -> None:
    text, corpus = trained_run.parent / "text.txt", open_corpus(trained_run / "corpus")
    name, ids, _ = text_to_score(charlm.load(trained_run), text, split=split, unknown="error", corpus=None)
    assert name == f"{split} part of {text}"
    np.testing.assert_array_equal(ids, corpus.split(split))


def test_a_bundle_without_its_run_needs_a_text(model: charlm.Model) -> None:
    with pytest.raises(CharlmError, match="a bundle without its run: name the text to score after it"):
        charlm.evaluate(model)


def test_a_run_without_its_text_is_told_from_a_bundle_without_its_run(trained_run: Path, tmp_path: Path) -> None:
    shutil.copytree(trained_run, tmp_path / "run", ignore=shutil.ignore_patterns("corpus"))
    model = charlm.load(tmp_path / "run")
    with pytest.raises(CharlmError, match=r"run/corpus: missing: --copies needs the training text"):
        charlm.evaluate(model, copies=True)


def test_the_run_of_the_current_folder_is_found(trained_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained_run / "best")
    assert charlm.evaluate(charlm.load(".")).text == "validation text of the run"


def test_a_text_that_is_too_short_is_named(model: charlm.Model, text: Path) -> None:
    text.write_text("a", encoding="utf-8")
    with pytest.raises(CharlmError, match=r"^test part of .*/text\.txt: 0 characters: at least 2 are needed"):
        charlm.evaluate(model, text, split="test")


def test_an_encoding_that_python_lacks_is_refused_with_its_place(bundle: Bundle, text: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "own", replace(bundle, config="corpus: {encoding: klingon}"))
    with pytest.raises(CharlmError, match=r"own/config\.yaml: corpus\.encoding: found 'klingon'"):
        charlm.evaluate(charlm.load(tmp_path / "own"), text)


@pytest.mark.parametrize("text", ["", 5])
def test_what_is_not_a_path_is_refused(model: charlm.Model, text: Any) -> None:
    with pytest.raises(CharlmError, match=rf"^text: found {text!r}; must be the path of a file or folder"):
        charlm.evaluate(model, text)


def test_the_text_of_a_run_is_read_once_to_check_it(trained_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []

    def count(folder: Path) -> Corpus:
        opened.append(folder)
        return open_corpus(folder)

    monkeypatch.setattr(run, "open_corpus", count)
    charlm.evaluate(charlm.load(trained_run), split="test", mixed=True, copies=True)
    assert opened == [trained_run / "corpus"]


def test_products_run_on_one_thread_while_a_text_is_scored(model: charlm.Model, text: Path) -> None:
    seen = set[int]()

    def look(_: bytes) -> None:
        seen.update(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")

    with threadpool_limits(2, "blas"):
        charlm.evaluate(model, text, write_surprise=look)
    assert seen == {1}


def test_dynamic_evaluation_comes_with_its_rate_and_the_score_of_the_trained_weights(trained_run: Path) -> None:
    model = charlm.load(trained_run)
    static, learning = (charlm.evaluate(model, split="test", dynamic=dynamic) for dynamic in (False, True))
    assert (static.static, static.dynamic_rates, static.is_worse) == (None, (), False)
    assert learning.static == static.score
    assert learning.dynamic_rates[0] > 0
    assert learning.score.characters == static.score.characters
    assert learning.score.nats_per_char < static.score.nats_per_char
    assert not learning.is_worse


@pytest.mark.slow
def test_each_network_of_an_ensemble_adapts(trained_run: Path, tmp_path: Path) -> None:
    shutil.copytree(trained_run / "best", tmp_path / "twin")
    alone, twins = (
        charlm.evaluate(charlm.load(trained_run, others=others), split="test", dynamic=True)
        for others in ([], [tmp_path / "twin"])
    )
    assert twins.dynamic_rates == 2 * alone.dynamic_rates
    assert twins.score.nats_per_char == pytest.approx(alone.score.nats_per_char, abs=1e-6)
    others = charlm.load(trained_run, others=[trained_run / "last"])
    mixed = charlm.evaluate(others, split="test", dynamic=True, mixed=True)
    assert len(mixed.dynamic_rates) == 2
    assert mixed.score.nats_per_char < alone.score.nats_per_char


def test_a_score_that_is_worse_than_that_of_the_trained_weights_is_told() -> None:
    static, worse = Score(2.0, 10), Score(2.0001, 10)
    assert Evaluation("text", worse, None, static=static).is_worse
    assert not Evaluation("text", static, None, static=static).is_worse


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"protocol": "backwards"}, "protocol: found 'backwards'; must be stream or windows"),
        ({"split": "dev"}, "split: found 'dev'; must be train, validation or test"),
        ({"unknown": "ignore"}, "unknown: found 'ignore'; must be error or skip"),
        ({"dynamic": True, "protocol": "windows"}, "protocol: found windows; dynamic evaluation and mixtures read"),
        ({"dynamic": True}, ".*: a bundle without its run: --dynamic needs the training text"),
        ({"mixed": True}, ".*: a bundle without its run: --mix needs the training text"),
    ],
)
def test_an_argument_out_of_range_is_refused(
    settings: dict[str, Any], message: str, model: charlm.Model, text: Path
) -> None:
    with pytest.raises(CharlmError, match=f"^{message}"):
        charlm.evaluate(model, text, **settings)
