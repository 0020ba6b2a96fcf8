"""What is scored, and by which protocol."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import charlm

from charlm.bundle import Bundle, read_bundle, write_bundle
from charlm.corpus import open_corpus
from charlm.errors import CharlmError
from charlm.evaluation import DynamicRule, dynamic_rule, ids_to_score, run_corpus, score_ids
from charlm.scoring import mean_score, score_stream, score_windows


def figures(*arguments: str | Path, stdin: str = "") -> dict[str, Any]:
    command = charlm("evaluate", *arguments, "--json", stdin=stdin)
    assert command.exit_code == 0, command.stderr
    found: dict[str, Any] = json.loads(command.stdout)
    return found


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


# Protocols


def test_stream_is_one_reading_from_start_to_end(bundle: Bundle) -> None:
    ids = np.array([1, 2, 0, 2, 1])
    expected = np.concatenate(list(score_stream(bundle.parameters, ids)))
    score = mean_score(score_ids(bundle, ids, protocol="stream", window=2))
    assert score.nats_per_char == pytest.approx(expected.mean())
    assert score.characters == 4


def test_windows_begin_anew(bundle: Bundle) -> None:
    ids = np.array([1, 2, 0, 2, 1])
    halves = [*score_stream(bundle.parameters, ids[:3]), *score_stream(bundle.parameters, ids[2:])]
    score = mean_score(score_ids(bundle, ids, protocol="windows", window=2))
    assert score.nats_per_char == pytest.approx(np.concatenate(halves).mean())
    assert score.characters == 4


def test_a_text_without_a_pair_of_characters_is_refused(bundle: Bundle) -> None:
    with pytest.raises(CharlmError, match="at least 2"):
        mean_score(score_ids(bundle, np.array([1]), protocol="stream", window=2))


def test_the_nats_of_each_character_come_in_text_order(bundle: Bundle) -> None:
    ids = np.array([1, 2, 0, 2, 1])
    expected = np.concatenate(list(score_windows(bundle.parameters, ids, window=2)))
    found = np.concatenate(list(score_ids(bundle, ids, protocol="windows", window=2)))
    np.testing.assert_array_equal(found, expected)


def test_a_loss_that_is_not_finite_is_refused_where_it_comes_up(bundle: Bundle) -> None:
    bias = np.array([np.nan, 0, 0, 0, 0], np.float32)
    broken = replace(bundle, parameters=replace(bundle.parameters, logits_bias=bias))
    with pytest.raises(CharlmError, match="the loss is nan: the weights are too large"):
        next(score_ids(broken, np.array([1, 2, 0]), protocol="stream", window=2))


# Which text


def score_of(run: Path, split: str) -> float:
    bundle = read_bundle(run / "best")
    return mean_score(score_stream(bundle.parameters, open_corpus(run / "corpus").split(split))).nats_per_char


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_the_parts_of_the_runs_own_text_are_scored(split: str, trained_run: Path) -> None:
    assert figures(trained_run, "--split", split)["nats_per_char"] == pytest.approx(score_of(trained_run, split))


def test_the_validation_text_is_the_default(trained_run: Path) -> None:
    found = figures(trained_run)
    assert (found["text"], found["characters"]) == ("validation text of the run", 1999)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_text_is_divided_as_a_corpus_of_it_would_be(split: str, trained_run: Path) -> None:
    ours, text = (
        figures(trained_run, *more, "--split", split) for more in ([], [trained_run.parent / "text.txt"])
    )
    assert text["nats_per_char"] == pytest.approx(ours["nats_per_char"])
    assert text["characters"] == ours["characters"]


def test_a_text_is_scored_whole_by_default(trained_run: Path) -> None:
    found = figures(trained_run, trained_run.parent / "text.txt")
    assert (found["text"], found["characters"]) == (str(trained_run.parent / "text.txt"), 19_999)


def test_a_text_comes_from_standard_input(bundle_folder: Path, tmp_path: Path) -> None:
    from_file = figures(bundle_folder, write(tmp_path / "text.txt", "abba\n"))
    piped = figures(bundle_folder, "-", stdin="abba\n")
    assert piped["nats_per_char"] == from_file["nats_per_char"]


def test_line_ends_are_read_as_they_are(bundle_folder: Path, tmp_path: Path) -> None:
    text = write(tmp_path / "text.txt", "a\r\nb")  # the return character is the unknown id
    assert figures(bundle_folder, text)["characters"] == 3


def test_a_character_the_model_does_not_know_is_refused_or_left_out(trained_run: Path, tmp_path: Path) -> None:
    text = write(tmp_path / "text.txt", "The €ferry")
    command = charlm("evaluate", trained_run, text)
    assert command.exit_code == 1
    assert "'€' (U+20AC)" in command.stderr
    assert figures(trained_run, text, "--unknown", "skip")["characters"] == 8


def test_last_is_scored_where_it_is_asked_for(trained_run: Path) -> None:
    expected = mean_score(
        score_stream(
            read_bundle(trained_run / "last").parameters, open_corpus(trained_run / "corpus").split("test")
        )
    )
    found = figures(trained_run, "--checkpoint", "last", "--split", "test")
    assert found["nats_per_char"] == pytest.approx(expected.nats_per_char)


# A bundle without its run


def test_a_bundle_copied_elsewhere_needs_a_text(trained_run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(trained_run / "best", tmp_path / "copy")
    command = charlm("evaluate", copy)
    assert command.exit_code == 1
    assert command.stderr == f"charlm: {copy}: a bundle without its run: name the text to score after it\n"


def test_a_bundle_copied_elsewhere_divides_a_text_as_the_run_did(trained_run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(trained_run / "best", tmp_path / "copy")
    found = figures(copy, trained_run.parent / "text.txt", "--split", "test")
    assert found["nats_per_char"] == pytest.approx(score_of(trained_run, "test"))


def test_the_text_of_the_run_is_known_where_the_bundle_lies_in_it(trained_run: Path, tmp_path: Path) -> None:
    bundle = read_bundle(trained_run / "best")
    corpus = run_corpus(trained_run / "best", bundle)
    assert corpus is not None
    assert corpus.folder == trained_run / "corpus"
    assert run_corpus(shutil.copytree(trained_run / "best", tmp_path / "copy"), bundle) is None


def test_another_text_in_its_place_is_refused(trained_run: Path, bundle: Bundle) -> None:
    with pytest.raises(CharlmError, match="corpus: not the corpus that the run learnt from"):
        run_corpus(trained_run / "best", bundle)


def test_an_empty_part_is_refused(trained_run: Path, bundle: Bundle, bundle_folder: Path, tmp_path: Path) -> None:
    text = write(tmp_path / "text.txt", "abba")
    _, ids = ids_to_score(bundle_folder, bundle, text, split="test", unknown="error")
    assert len(ids) == 0
    assert charlm("evaluate", bundle_folder, text, "--split", "test").exit_code == 1


# What is printed


def test_json_has_the_figures_and_how_they_came_about(trained_run: Path) -> None:
    found = figures(trained_run, "--protocol", "windows", "--window", "100")
    assert set(found) >= {"nats_per_char", "bits_per_char", "perplexity", "characters"}
    assert (found["protocol"], found["window"]) == ("windows", 100)
    assert found["bits_per_char"] == pytest.approx(found["nats_per_char"] / math.log(2))
    assert found["perplexity"] == pytest.approx(math.exp(found["nats_per_char"]))


def test_an_infinite_perplexity_is_null_in_json(bundle: Bundle, tmp_path: Path) -> None:
    bias = np.array([1000, 0, 0, 0, 0], np.float32)
    write_bundle(tmp_path / "b", replace(bundle, parameters=replace(bundle.parameters, logits_bias=bias)))
    (tmp_path / "text.txt").write_text("abab")
    found = json.loads(charlm("evaluate", tmp_path / "b", tmp_path / "text.txt", "--json").stdout)
    assert found["nats_per_char"] == pytest.approx(1000, rel=0.1)
    assert found["perplexity"] is None


def test_windows_are_those_of_the_scoring_function(trained_run: Path) -> None:
    ids = open_corpus(trained_run / "corpus").split("test")
    expected = mean_score(score_windows(read_bundle(trained_run / "best").parameters, ids, window=100))
    found = figures(trained_run, "--protocol", "windows", "--window", "100", "--split", "test")
    assert found["nats_per_char"] == pytest.approx(expected.nats_per_char)


def test_a_person_reads_the_same_figures(trained_run: Path) -> None:
    found = figures(trained_run)
    printed = charlm("evaluate", trained_run).stdout
    assert printed.startswith(f"{trained_run}/best: validation text of the run, 1,999 characters, stream\n")
    for key in ("nats_per_char", "bits_per_char", "perplexity"):
        assert f"{found[key]:.4f}" in printed


# Dynamic evaluation


def test_a_rule_has_its_own_values_unless_told() -> None:
    assert dynamic_rule().name == "rms"
    assert dynamic_rule("sgd", rate=0.5, decay=None, stretch=7) == DynamicRule(
        "sgd", 0.5, dynamic_rule("sgd").decay, 7
    )


@pytest.mark.parametrize("rule", ["rms", "sgd"])
def test_dynamic_evaluation_tells_its_rule_and_scores_every_character(trained_run: Path, rule: str) -> None:
    found = figures(trained_run, "--dynamic", "--dynamic-rule", rule)
    assert found["dynamic"]["name"] == rule
    assert found["characters"] == figures(trained_run)["characters"]


def test_dynamic_evaluation_at_rate_zero_is_the_stream(trained_run: Path) -> None:
    found = figures(trained_run, "--dynamic", "--dynamic-rate", "0", "--dynamic-decay", "0")
    assert found["nats_per_char"] == pytest.approx(score_of(trained_run, "validation"), abs=1e-5)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--dynamic-rate", "0.1"], "--dynamic-rate is for --dynamic"),
        (["--dynamic", "--protocol", "windows"], "--dynamic reads a stream"),
        (["--dynamic", "--dynamic-decay", "2"], "0<=x<=1"),
        (["--dynamic", "--dynamic-stretch", "0"], "x>=1"),
    ],
)
def test_options_that_do_not_go_with_it_are_refused(trained_run: Path, options: list[str], problem: str) -> None:
    process = charlm("evaluate", trained_run, *options)
    assert process.exit_code == 2
    assert problem in process.stderr


def test_the_rms_rule_wants_the_training_text(trained_run: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(trained_run / "best", tmp_path / "bundle")
    process = charlm("evaluate", bundle, write(tmp_path / "text.txt", "abba"), "--dynamic")
    assert process.exit_code == 1
    assert process.stderr.startswith("charlm: --dynamic-rule rms needs the training text")
