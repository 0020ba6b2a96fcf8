"""A trained model in memory: loading, generating, scoring, stepping by hand; `evaluate`."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from arrays import check_close
from commands import charlm as command
from corpora import ABBA
from models import change_model
from run_folders import read_metrics

import charlm
from charlm.api.evaluation import text_to_score
from charlm.config.recipes import DEFAULT_CORPUS
from charlm.errors import CharlmError
from charlm.evaluation.baselines import baseline_scores
from charlm.evaluation.ngrams import count_ngrams, score_ngrams
from charlm.network.model_file import read_model, write_model
from charlm.text.copies import find_copies
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


def test_a_run_is_its_best_model_and_leaves_out_other_characters(
    model: charlm.Model, plays: charlm.Model, trained_run: Path
) -> None:
    assert charlm.load(trained_run).path == plays.path == trained_run / "best.safetensors"
    assert (
        charlm.load(str(trained_run / "last.safetensors")).path == trained_run / "last.safetensors"
    )
    assert charlm.load(plays) is plays
    np.testing.assert_array_equal(plays.score("The€ ferry"), plays.score("The ferry"))
    assert str(plays.generate("€The", seed=1)) == str(plays.generate("The", seed=1))
    assert model.vocabulary.left_out("a€") == {}  # it has an unknown id


def test_a_config_that_is_not_right_is_refused_when_it_is_asked_for(model_file: Path) -> None:
    change_model(model_file, lambda fields: fields["config"].update(modle={"units": 3}))
    with pytest.raises(CharlmError, match=rf"^{model_file}: modle: .*; did you mean model\?"):
        _ = charlm.load(model_file).config


def test_a_text_is_the_same_in_pieces_as_a_whole_and_by_the_command(
    plays: charlm.Model, model: charlm.Model
) -> None:
    options = (
        "-p",
        "The ferry",
        "-n",
        50,
        "--seed",
        1,
        "-t",
        0.5,
        "--top-k",
        5,
        "--top-p",
        0.9,
        "--min-p",
        0.01,
    )
    settings: dict[str, Any] = {
        "length": 50,
        "seed": 1,
        "temperature": 0.5,
        "top_k": 5,
        "top_p": 0.9,
        "min_p": 0.01,
    }
    pieces = list(plays.generate("The ferry", **settings))
    assert (len(pieces), len("".join(pieces))) == (50, 50)
    assert (whole := str(plays.generate("The ferry", **settings))) == "".join(pieces)
    assert (
        str(plays.generate("The ferry", **settings, stop=whole[20:24]))
        == whole[: whole.index(whole[20:24])]
    )
    assert command("sample", plays.path, *options).stdout == f"The ferry{''.join(pieces)}"
    assert str(plays.generate(length=30, temperature=0)) == str(
        plays.generate(length=30, top_k=1, seed=3)
    )
    assert (
        len(str(model.generate(length=60, seed=1, ignore_end=True)))
        >= 60
        > len(str(model.generate(length=60, seed=1)))
    )


def test_a_loss_that_is_not_finite_is_an_error_without_a_warning(
    model_file: Path, tmp_path: Path
) -> None:
    known = read_model(model_file)
    known.parameters.logits_kernel[:] = 3e38
    write_model(model_file, known)
    (tmp_path / "text.txt").write_text("abab", encoding="utf-8")
    huge = charlm.load(model_file)
    for call in (lambda: huge.score("abab"), lambda: charlm.evaluate(huge, tmp_path / "text.txt")):
        with pytest.raises(CharlmError, match="the loss is"):
            call()


def test_logits_steps_and_scores_are_those_of_the_definition(plays: charlm.Model) -> None:
    ids, parameters = plays.vocabulary.encode(TEXT).tolist(), plays.trained.parameters
    expected, _ = reference.read(parameters, ids)
    state, rows = None, []
    for index in ids:
        logits, state = plays.step([index], state)
        rows.append(logits[0])
    logits, scores = plays.logits(TEXT), plays.score(ids)
    assert {logits.dtype, scores.dtype} == {np.dtype(np.float32)}
    check_close(
        [logits, np.stack(rows), scores],
        [expected, expected, reference.nats(parameters, ids)],
        atol=5e-5,
    )
    for text in ("T", "T€"):
        with pytest.raises(CharlmError, match="at least 2"):
            plays.score(text)


def test_ids_that_are_not_of_the_vocabulary_are_refused(model: charlm.Model) -> None:
    wrong: Any
    for wrong, found in (([5], 5), ([0, -1], -1)):
        for call in (model.step, model.logits, model.score):
            with pytest.raises(
                CharlmError, match=f"^(ids|text): found {found}; must be from 0 to 4$"
            ):
                call(wrong)


def test_a_text_is_read_from_a_state_as_the_end_of_both_and_has_the_states_of_its_steps(
    model: charlm.Model,
) -> None:
    state, text = model.zero_state(), "abbab\n"
    states, seen = model.states(text), []
    assert [layer.shape for layer in states] == [(6, 4), (6, 4)]
    assert [layer.shape for layer in model.zero_state(0)] == [(0, 4), (0, 4)]
    for index in model.vocabulary.encode(text):
        _, state = model.step([index], state)
        seen.append(state)
    check_close(states, [np.concatenate(layer) for layer in zip(*seen, strict=True)], atol=1e-6)
    rest: dict[str, Any] = {"text": text[3:], "state": seen[2]}
    found = [model.logits(**rest), model.score(**rest), *model.states(**rest)]
    check_close(
        found,
        [model.logits(text)[3:], model.score(text)[3:], *(layer[3:] for layer in states)],
        atol=1e-5,
    )
    with pytest.raises(CharlmError, match="state: cannot be used with protocol windows"):
        model.score(**rest, protocol="windows")


def test_surprise_shows_each_character_escaped_with_its_nats(model: charlm.Model) -> None:
    found = model.surprise("ab\n")
    assert found.characters == ("a", "b", "\n")
    np.testing.assert_array_equal(found.nats, model.score("ab\n"))
    shown = replace(found, nats=np.array([12.9, 0.25], np.float32))._repr_html_()
    assert '<span title="not scored">a</span>' in shown
    assert [f".l{level}{{" in shown for level in (0, 1, 9, 10)] == [False, True, True, False]
    assert '<span class="l9" title="12.90 nats">b</span>' in shown
    escaped = replace(found, characters=("<", "&", '"'))._repr_html_()
    assert all(character in escaped for character in (">&lt;<", ">&amp;<", ">&quot;<"))


# Evaluating


def test_the_figures_are_those_of_the_scores_of_the_model(model: charlm.Model, text: Path) -> None:
    text.write_text(70 * ABBA, encoding="utf-8")
    ways: dict[str, dict[str, Any]] = {
        "stream": {},
        "windows of 7": {"protocol": "windows", "window": 7},
    }
    for protocol, settings in ways.items():
        found, nats = (
            charlm.evaluate(model, text, **settings),
            model.score(70 * ABBA, **settings).astype(float),
        )
        means = [nats[start : start + 300].mean() for start in range(0, len(nats) - 299, 300)]
        assert found.nats_per_char == pytest.approx(nats.mean(), abs=1e-6)
        assert found.bits_per_char == pytest.approx(nats.mean() / math.log(2), abs=1e-6)
        assert found.perplexity == pytest.approx(math.exp(nats.mean()), abs=1e-4)
        assert found.standard_error == pytest.approx(reference.standard_error(means), rel=0.02)
        assert (found.characters, found.text, found.protocol) == (
            70 * len(ABBA) - 1,
            str(text),
            protocol,
        )
        assert (found.baselines, found.copies, found.longest_copy, found.training_characters) == (
            None,
            None,
            "",
            0,
        )


def test_baselines_and_copies_are_those_of_the_training_text(trained_run: Path, text: Path) -> None:
    model, training = charlm.load(trained_run), open_corpus(trained_run / "corpus").split("train")
    copied = model.vocabulary.decode(training[5000:5040])
    text.write_text(f"QQQ{copied}QQQ\u20ac", encoding="utf-8")
    found = charlm.evaluate(trained_run, text, baselines=True, copies=True)
    ids = model.vocabulary.encode(f"QQQ{copied}QQQ")
    scores = baseline_scores(ids, model.vocabulary, training)
    assert found.baselines == pytest.approx(
        {name: score.nats_per_char for name, score in scores.items()}
    )
    assert copied in found.longest_copy
    assert found.copies == find_copies(ids, training)
    assert (found.training_characters, found.given_characters) == (len(training), len(training))
    assert (found.left_out, found.characters) == ({"\u20ac": 1}, 45)


def test_the_model_is_compared_with_the_5_gram_on_the_same_characters(trained_run: Path) -> None:
    found = charlm.evaluate(trained_run, split="train", baselines=True)
    model, ids = charlm.load(trained_run), open_corpus(trained_run / "corpus").split("train")
    nats = model.score(model.vocabulary.decode(ids)).astype(float)
    five = np.concatenate(
        [*score_ngrams(count_ngrams(ids, vocabulary_size=len(model.vocabulary), order=5), ids)]
    )
    whole = len(nats) // 300 * 300
    blocks = (five - nats)[:whole].reshape(-1, 300).mean(1).tolist()
    assert found.comparison is not None
    assert found.comparison.margin_nats == pytest.approx(five.mean() - nats.mean(), abs=1e-5)
    assert found.comparison.standard_error == pytest.approx(
        reference.standard_error(blocks), rel=0.01
    )
    assert found.total_bits == pytest.approx(nats.sum() / math.log(2), rel=1e-5)


def test_without_the_training_text_there_is_no_comparison(model: charlm.Model, text: Path) -> None:
    text.write_text(700 * ABBA, encoding="utf-8")
    assert charlm.evaluate(model, text, baselines=True).comparison is None


@pytest.mark.parametrize("split", [None, "train", "validation", "test"])
def test_the_text_of_the_run_is_scored_and_another_divided_like_it(
    split: Split | None, trained_run: Path
) -> None:
    model, corpus, part = (
        charlm.load(trained_run),
        open_corpus(trained_run / "corpus"),
        split or "validation",
    )
    name, ids, _ = text_to_score(model, None, split=split, corpus=corpus)
    assert name == f"{part} text of the run"
    np.testing.assert_array_equal(ids, corpus.split(part))
    if split is not None:
        text = trained_run.parent / "text.txt"
        name, ids, _ = text_to_score(model, text, split=split, corpus=None)
        assert name == f"{split} part of {text}"
        np.testing.assert_array_equal(ids, corpus.split(split))


def test_the_best_model_scores_what_was_logged(
    trained_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged = [
        line["nats_per_char"] for line in read_metrics(trained_run) if line["split"] == "validation"
    ]
    best, score = read_model(trained_run / "best.safetensors"), charlm.evaluate(trained_run)
    assert score.nats_per_char == pytest.approx(best.facts["score"]["nats_per_char"], rel=1e-5)
    assert score.nats_per_char == pytest.approx(min(logged), rel=1e-5)
    assert len(best.facts["score"]["block_means"]) == 1999 // 300
    assert score.standard_error is None  # six blocks
    monkeypatch.chdir(trained_run)
    for name in (".", "best.safetensors", trained_run / "last.safetensors"):
        assert charlm.evaluate(charlm.load(name)).text == "validation text of the run"


# The model that comes with charlm


@pytest.mark.slow
def test_the_model_that_comes_with_charlm_is_scored_on_the_validation_part_of_the_plays() -> None:
    found = charlm.evaluate("river-plays", copies=True)
    expected = charlm.evaluate("river-plays", DEFAULT_CORPUS, split="validation", copies=True)
    assert found.text == "validation text of river_plays"
    assert replace(found, text=expected.text) == expected


@pytest.mark.slow
def test_a_report_on_the_model_that_comes_with_charlm_reads_the_same_text() -> None:
    found = charlm.inspect("river-plays", only=["surprise"]).data["surprise"]
    plays = DEFAULT_CORPUS.read_text(encoding="utf-8")
    validation = plays[len(plays) * 9 // 10 :]
    assert len(found) > 1000
    assert "".join(one["character"] for one in found) == validation[1 : len(found) + 1]


# Wrong arguments


def test_an_argument_that_does_not_fit_is_refused(
    model: charlm.Model, model_file: Path, text: Path
) -> None:
    wrong: dict[str, dict[str, Any]] = {
        "protocol: found 'backwards'; must be stream or windows": {"protocol": "backwards"},
        ".*: copies cannot be found, because the training text is not known": {"copies": True},
        ".*: its training text is not known, and no text was named": {"text": None},
        r"test part of .*/text\.txt: found 0 characters; expected at least 2": {"split": "test"},
    }
    text.write_text("ab", encoding="utf-8")
    for message, settings in wrong.items():
        with pytest.raises(CharlmError, match=f"^{message}"):
            charlm.evaluate(**{"model": model, "text": text, **settings})
    text.write_bytes(b"\xe9")
    change_model(model_file, lambda fields: fields["config"]["corpus"].update(encoding="klingon"))
    with pytest.raises(CharlmError, match=r": corpus\.encoding: found 'klingon'"):
        charlm.evaluate(charlm.load(model_file), text)
