"""A trained model in memory: loading, generating, scoring, stepping by hand; `evaluate`."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from arrays import check_close
from corpora import ABBA
from models import change_model
from run_folders import read_metrics

import charlm
from charlm.api.evaluation import read_scored_text
from charlm.core.model_file import read_model, write_model
from charlm.core.scoring import score_texts
from charlm.errors import CharlmError
from charlm.measures.baselines import baseline_scores
from charlm.runs.folder import DEFAULT_CORPUS
from charlm.text.corpus import Split, open_corpus

TEXT = "The ferry crossed the river.\n"


@pytest.fixture(scope="module")
def plays(trained_run: Path) -> charlm.Model:
    """Load the trained run."""
    return charlm.load(trained_run)


@pytest.fixture
def model(model_file: Path) -> charlm.Model:
    """Load a random model with a line break, a, b, an unknown id and an end-of-text id."""
    return charlm.load(model_file)


def test_unknown_characters_are_left_out(plays: charlm.Model) -> None:
    np.testing.assert_array_equal(plays.score("The€ ferry"), plays.score("The ferry"))
    assert str(plays.generate("€The", seed=1)) == str(plays.generate("The", seed=1))


def test_a_wrong_config_is_refused_when_it_is_used(model_file: Path) -> None:
    change_model(model_file, lambda fields: fields["config"].update(seed=-1))
    with pytest.raises(CharlmError, match=rf"^{model_file}: seed: found -1; "):
        _ = charlm.load(model_file).config


# Generating

SETTINGS: dict[str, Any] = {
    "length": 50,
    "seed": 1,
    "temperature": 0.5,
    "top_k": 5,
    "top_p": 0.9,
    "min_p": 0.01,
}


def test_a_text_is_generated_in_chunks(plays: charlm.Model) -> None:
    chunks = [*plays.generate("The ferry", **SETTINGS)]
    assert len(chunks) == 50
    assert "".join(chunks) == str(plays.generate("The ferry", **SETTINGS))


def test_a_text_ends_before_the_stop_text(plays: charlm.Model) -> None:
    text = str(plays.generate("The ferry", **SETTINGS))
    stop = text[20:24]
    stopped = plays.generate("The ferry", **SETTINGS, stop=stop)
    assert str(stopped) == text[: text.index(stop)]


def test_the_end_of_the_text_can_be_ignored(model: charlm.Model) -> None:
    assert len(str(model.generate(length=60, seed=1))) < 60
    assert len(str(model.generate(length=60, seed=1, ignore_end=True))) >= 60


# Scoring


def test_a_score_that_is_not_finite_is_an_error(model_file: Path) -> None:
    trained = read_model(model_file)
    trained.parameters.logits_kernel[:] = 3e38
    write_model(model_file, trained)
    with pytest.raises(CharlmError, match="the loss is"):
        charlm.load(model_file).score("abab")


@pytest.fixture(scope="module")
def ids(plays: charlm.Model) -> list[int]:
    """Return the ids of TEXT."""
    ids: list[int] = plays.vocabulary.encode(TEXT).tolist()
    return ids


def test_logits_and_scores_are_those_of_the_reference(plays: charlm.Model, ids: list[int]) -> None:
    state = None
    rows = []
    for index in ids:
        logits, state = plays.step([index], state)
        rows.append(logits[0])
    expected, _ = reference.read(plays.trained.parameters, ids)
    check_close([rows, plays.logits(TEXT)], [expected, expected], atol=5e-5)
    scores = plays.score(ids)
    check_close([scores], [reference.nats(plays.trained.parameters, ids)], atol=5e-5)
    assert plays.logits(TEXT).dtype == scores.dtype == np.float32


@pytest.mark.parametrize("text", ["", []])
def test_an_empty_text_has_no_logits(text: Any, plays: charlm.Model) -> None:
    assert plays.logits(text).shape == (0, len(plays.vocabulary))


def test_many_texts_are_scored_like_each_of_them(plays: charlm.Model) -> None:
    texts = ["The ferry", "", "T", "A river.", *(TEXT[:end] for end in range(2, 302, 2))]
    scores = score_texts(plays.trained.parameters, [*map(plays.vocabulary.encode, texts)])
    for text, nats in zip(texts, scores, strict=True):
        expected = plays.score(text) if len(text) > 1 else np.empty(0)
        np.testing.assert_allclose(nats, expected, atol=5e-5)


# States


@pytest.fixture
def stepped_states(model: charlm.Model) -> list[Any]:
    """Return the state after each character of STATE_TEXT."""
    state = model.zero_state()
    states = []
    for index in model.vocabulary.encode(STATE_TEXT):
        _, state = model.step([index], state)
        states.append(state)
    return states


STATE_TEXT = "abbab\n"


def test_the_zero_state_has_a_row_for_each_stream(model: charlm.Model) -> None:
    assert [layer.shape for layer in model.zero_state()] == [(1, 4), (1, 4)]
    assert [layer.shape for layer in model.zero_state(0)] == [(0, 4), (0, 4)]
    assert len(model.zero_state(1_000_000)[0]) == 1_000_000


def test_a_text_has_the_states_of_its_steps(model: charlm.Model, stepped_states: list[Any]) -> None:
    states = model.states(STATE_TEXT)
    assert [layer.shape for layer in states] == [(6, 4), (6, 4)]
    expected = [np.concatenate(layer) for layer in zip(*stepped_states, strict=True)]
    check_close(states, expected, atol=1e-6)


def test_a_text_can_be_read_from_a_state(model: charlm.Model, stepped_states: list[Any]) -> None:
    rest: dict[str, Any] = {"text": STATE_TEXT[3:], "state": stepped_states[2]}
    results = [model.logits(**rest), model.score(**rest), *model.states(**rest)]
    whole = [model.logits(STATE_TEXT), model.score(STATE_TEXT), *model.states(STATE_TEXT)]
    check_close(results, [each[3:] for each in whole], atol=1e-5)


def test_windows_cannot_start_from_a_state(model: charlm.Model) -> None:
    with pytest.raises(CharlmError, match="state: cannot be used with protocol windows"):
        model.score("abb", state=model.zero_state(), protocol="windows")


# Surprise in a notebook


def test_surprise_has_the_loss_of_each_character(model: charlm.Model) -> None:
    surprise = model.surprise("ab\n")
    assert surprise.characters == ("a", "b", "\n")
    np.testing.assert_array_equal(surprise.nats, model.score("ab\n"))


def test_surprise_is_shown_as_colours(model: charlm.Model) -> None:
    nats = np.array([12.9, 0.25], np.float32)
    page = replace(model.surprise("ab\n"), nats=nats)._repr_html_()
    assert '<span title="not scored">a</span>' in page
    assert '<span class="l4" title="12.90 nats">b</span>' in page
    assert ".l4 {" in page


# Evaluating


@pytest.mark.parametrize(
    ("protocol", "settings"),
    [
        pytest.param("stream", {}, id="stream"),
        pytest.param("windows of 7", {"protocol": "windows", "window": 7}, id="windows"),
    ],
)
def test_an_evaluation_has_the_mean_of_the_scores(
    protocol: str,
    settings: dict[str, Any],
    model: charlm.Model,
    text: Path,
) -> None:
    text.write_text(70 * ABBA, encoding="utf-8")
    evaluation = charlm.evaluate(model, text, **settings)
    nats = model.score(70 * ABBA, **settings).astype(float)
    block_means = [nats[start : start + 300].mean() for start in range(0, len(nats) - 299, 300)]
    error = reference.standard_error(block_means)
    assert evaluation.nats_per_char == pytest.approx(nats.mean(), abs=1e-6)
    assert evaluation.bits_per_char == pytest.approx(nats.mean() / math.log(2), abs=1e-6)
    assert evaluation.perplexity == pytest.approx(math.exp(nats.mean()), abs=1e-4)
    assert evaluation.standard_error == pytest.approx(error, rel=0.02)
    assert evaluation.characters == 70 * len(ABBA) - 1
    assert evaluation.text == str(text)
    assert evaluation.protocol == protocol


def test_an_evaluation_can_have_baselines_from_the_training_text(
    trained_run: Path,
    text: Path,
) -> None:
    text.write_text("QQQ The ferry QQQ\u20ac", encoding="utf-8")
    model = charlm.load(trained_run)
    training = open_corpus(trained_run / "corpus").split("train")
    evaluation = charlm.evaluate(trained_run, text, baselines=True)
    ids = model.vocabulary.encode("QQQ The ferry QQQ")
    scores = baseline_scores(ids, model.vocabulary, training)
    expected = {name: score.nats_per_char for name, score in scores.items()}
    assert evaluation.baselines == pytest.approx(expected)
    assert evaluation.training_characters == len(training)
    assert evaluation.given_characters == len(training)
    assert (evaluation.left_out, evaluation.characters) == ({"\u20ac": 1}, len(ids) - 1)


def test_the_model_is_compared_with_the_8_gram_on_the_same_characters(
    trained_run: Path, text: Path
) -> None:
    model = charlm.load(trained_run)
    text.write_text(DEFAULT_CORPUS.read_text("utf-8")[60_000:63_000], encoding="utf-8")
    ids = model.vocabulary.encode(text.read_text("utf-8"))
    nats = model.score(ids).astype(float)
    evaluation = charlm.evaluate(trained_run, text, baselines=True)
    assert evaluation.baselines is not None
    assert evaluation.comparison is not None
    margin = evaluation.baselines["8-gram"] - nats.mean()
    assert evaluation.comparison.margin_nats == pytest.approx(margin, abs=1e-5)
    assert evaluation.total_bits == pytest.approx(nats.sum() / math.log(2), rel=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"split": "train"}, id="training part"),
        pytest.param({"text": "text.txt"}, id="file with the training text"),
        pytest.param({"text": "part.txt"}, id="file from the training text"),
        pytest.param({"text": "run/corpus", "split": "train"}, id="training part of the corpus"),
    ],
)
def test_a_text_that_the_model_learnt_is_not_compared(
    options: dict[str, Any], trained_run: Path
) -> None:
    text = trained_run.parent / "text.txt"
    Path("text.txt").symlink_to(text)
    Path("run").symlink_to(trained_run)
    Path("part.txt").write_text(text.read_text("utf-8")[100:3000], encoding="utf-8")
    found = charlm.evaluate("run", **options, baselines=True)
    assert found.baselines is not None
    assert found.baselines.keys() == {"uniform", "lzma"}
    assert (found.comparison, found.training_characters) == (None, 0)
    assert found.no_comparison == "the model learnt this text"
    with pytest.raises(CharlmError, match="copies cannot be found: the model learnt this text"):
        charlm.evaluate("run", **options, copies=True)


def test_a_text_is_known_by_its_characters(trained_run: Path, text: Path) -> None:
    digests = [charlm.evaluate(trained_run, split=split).text_sha256 for split in ("test", "train")]
    test = open_corpus(trained_run / "corpus").split("test")
    text.write_text(charlm.load(trained_run).vocabulary.decode(test), encoding="utf-8")
    assert charlm.evaluate(trained_run, text).text_sha256 == digests[0] != digests[1]


@pytest.mark.parametrize(
    ("split", "scored"),
    [(None, "validation"), ("train", "train"), ("validation", "validation"), ("test", "test")],
)
def test_a_part_of_the_text_of_the_run_is_scored(
    split: Split | None,
    scored: Split,
    trained_run: Path,
) -> None:
    corpus = open_corpus(trained_run / "corpus")
    text = read_scored_text(charlm.load(trained_run), None, split=split)
    shown = {"train": "training", "validation": "validation", "test": "test"}
    assert text.name == f"{shown[scored]} text of the run"
    np.testing.assert_array_equal(text.ids, corpus.split(scored))


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_another_text_is_split_like_the_text_of_the_run(split: Split, trained_run: Path) -> None:
    text = trained_run.parent / "text.txt"
    scored = read_scored_text(charlm.load(trained_run), text, split=split)
    assert scored.name == f"{split} part of {text}"
    np.testing.assert_array_equal(scored.ids, open_corpus(trained_run / "corpus").split(split))


def test_the_best_model_scores_what_was_logged(
    trained_run: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logged = [
        line["nats_per_char"] for line in read_metrics(trained_run) if line["split"] == "validation"
    ]
    best, score = read_model(trained_run / "best.safetensors"), charlm.evaluate(trained_run)
    assert score.nats_per_char == pytest.approx(best.facts["score"]["nats_per_char"], rel=1e-5)
    assert score.nats_per_char == pytest.approx(min(logged), rel=1e-5)
    assert len(best.facts["score"]["block_means"]) == 1999 // 300
    assert score.standard_error is None  # six blocks
    assert (score.baselines, score.comparison, score.copies) == (None, None, None)
    monkeypatch.chdir(trained_run)
    for name in (".", "best.safetensors", trained_run / "last.safetensors"):
        assert charlm.evaluate(charlm.load(name)).text == "validation text of the run"


# The model that comes with charlm


@pytest.mark.slow
def test_the_model_that_comes_with_charlm_is_scored_on_the_validation_part_of_the_plays() -> None:
    found = charlm.evaluate("river-plays", copies=True)
    expected = charlm.evaluate(
        "river-plays",
        DEFAULT_CORPUS,
        split="validation",
        copies=True,
    )
    assert found.text == "validation text of river_plays"
    assert replace(found, text=expected.text) == expected


# Wrong arguments


def test_an_argument_that_does_not_fit_is_refused(
    model: charlm.Model,
    text: Path,
) -> None:
    wrong: dict[str, dict[str, Any]] = {
        "protocol: found 'backwards'; must be stream or windows": {"protocol": "backwards"},
        ".*: copies cannot be found: the training text of the model is not known": {"copies": True},
        ".*: its training text is not known, and no text was named": {"text": None},
        r"test part of .*/text\.txt: the model knows 0 of": {"split": "test"},
    }
    text.write_text("ab", encoding="utf-8")
    for message, settings in wrong.items():
        with pytest.raises(CharlmError, match=f"^{message}"):
            charlm.evaluate(**{"model": model, "text": text, **settings})
