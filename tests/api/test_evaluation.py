"""`evaluate`: what it returns, and what it refuses."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from models import change_model
from run_folders import read_metrics

import charlm
from charlm.api.evaluation import text_to_score
from charlm.errors import CharlmError
from charlm.evaluation.baselines import baseline_nats
from charlm.network.model_file import read_model
from charlm.text.copies import find_copies
from charlm.text.corpus import Split, open_corpus

TEXT = "abba\nab\n" * 5


@pytest.fixture
def model(model_file: Path) -> charlm.Model:
    """Load the random model."""
    return charlm.load(model_file)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Write a text that the random model knows all characters of."""
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("settings", "protocol"), [({}, "stream"), ({"protocol": "windows", "window": 7}, "windows of 7")]
)
def test_the_figures_are_those_of_the_scores_of_the_model(
    settings: dict[str, Any], protocol: str, model: charlm.Model, text: Path
) -> None:
    text.write_text(70 * TEXT, encoding="utf-8")
    found, nats = charlm.evaluate(model, text, **settings), model.score(70 * TEXT, **settings).astype(float)
    means = [nats[start : start + 300].mean() for start in range(0, len(nats) - 299, 300)]
    assert found.nats_per_char == pytest.approx(nats.mean(), abs=1e-6)
    assert found.bits_per_char == pytest.approx(nats.mean() / math.log(2), abs=1e-6)
    assert found.perplexity == pytest.approx(math.exp(nats.mean()), abs=1e-4)
    assert found.standard_error == pytest.approx(reference.standard_error(means), rel=0.02)
    assert (found.characters, found.text, found.protocol) == (70 * len(TEXT) - 1, str(text), protocol)
    assert (found.baselines, found.copies, found.longest_copy, found.training_characters) == (None, None, "", 0)


def test_baselines_and_copies_are_those_of_the_training_text(trained_run: Path, text: Path) -> None:
    model, training = charlm.load(trained_run), open_corpus(trained_run / "corpus").split("train")
    copied = model.vocabulary.decode(training[5000:5040])
    text.write_text(f"QQQ{copied}QQQ\u20ac", encoding="utf-8")
    found = charlm.evaluate(trained_run, text, baselines=True, copies=True)
    ids = model.vocabulary.encode(f"QQQ{copied}QQQ")
    assert found.baselines == pytest.approx(baseline_nats(ids, model.vocabulary, training))
    assert copied in found.longest_copy
    assert found.copies == find_copies(ids, training)
    assert (found.training_characters, found.given_characters) == (len(training), len(training))
    assert (found.left_out, found.characters) == ({"\u20ac": 1}, 45)


@pytest.mark.parametrize("split", [None, "train", "validation", "test"])
def test_the_text_of_the_run_is_scored_if_there_is_no_other_and_another_is_divided_like_it(
    split: Split | None, trained_run: Path
) -> None:
    model, corpus, part = charlm.load(trained_run), open_corpus(trained_run / "corpus"), split or "validation"
    name, ids, _ = text_to_score(model, None, split=split, corpus=corpus)
    assert name == f"{part} text of the run"
    np.testing.assert_array_equal(ids, corpus.split(part))
    if split is not None:
        text = trained_run.parent / "text.txt"
        name, ids, _ = text_to_score(model, text, split=split, corpus=None)
        assert name == f"{split} part of {text}"
        np.testing.assert_array_equal(ids, corpus.split(split))


def test_the_best_model_scores_what_training_has_logged_and_its_run_is_found_from_its_folder(
    trained_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged = [line["nats_per_char"] for line in read_metrics(trained_run) if line["split"] == "validation"]
    best, score = read_model(trained_run / "best.safetensors"), charlm.evaluate(trained_run)
    assert score.nats_per_char == pytest.approx(best.facts["score"]["nats_per_char"], rel=1e-5)
    assert score.nats_per_char == pytest.approx(min(logged), rel=1e-5)
    assert len(best.facts["score"]["block_means"]) == 1999 // 300
    assert score.standard_error is None  # six blocks
    monkeypatch.chdir(trained_run)
    for name in (".", "best.safetensors", trained_run / "last.safetensors"):
        assert charlm.evaluate(charlm.load(name)).text == "validation text of the run"


def test_an_argument_that_does_not_fit_is_refused(model: charlm.Model, model_file: Path, text: Path) -> None:
    wrong: dict[str, dict[str, Any]] = {
        "protocol: found 'backwards'; must be stream or windows": {"protocol": "backwards"},
        ".*: not in a run that has its text, which --copies needs": {"copies": True},
        ".*: not in a run that has its text: name the text to score after it": {"text": None},
        r"test part of .*/text\.txt: 0 characters: at least 2 are needed": {"split": "test"},
    }
    text.write_text("ab", encoding="utf-8")
    for message, settings in wrong.items():
        with pytest.raises(CharlmError, match=f"^{message}"):
            charlm.evaluate(**{"model": model, "text": text, **settings})
    text.write_bytes(b"\xe9")
    change_model(model_file, lambda fields: fields["config"]["corpus"].update(encoding="klingon"))
    with pytest.raises(CharlmError, match=r": corpus\.encoding: found 'klingon'"):
        charlm.evaluate(charlm.load(model_file), text)
