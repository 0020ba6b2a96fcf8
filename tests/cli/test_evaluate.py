"""What `charlm evaluate` prints and writes: the score, --baselines, --surprise and --dynamic."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import charlm

from charlm.api.evaluation import Evaluation, evaluate
from charlm.api.model import load
from charlm.network.bundle import read_bundle, write_bundle
from charlm.text.corpus import open_corpus

BASELINES = {"uniform", "lzma", "unigram", "5-gram"}


def figures(*arguments: str | Path) -> dict[str, Any]:
    """Return the object that `evaluate --json` prints."""
    command = charlm("evaluate", *arguments, "--json")
    assert command.exit_code == 0, command.stderr
    found: dict[str, Any] = json.loads(command.stdout)
    return found


# The text and the score


def test_the_score_is_printed_and_in_the_json_with_the_protocol(trained_run: Path) -> None:
    given = (trained_run, "--protocol", "windows", "--window", "100")
    found, score = figures(*given), evaluate(load(trained_run), protocol="windows", window=100).score
    nats = score.nats_per_char
    printed = charlm("evaluate", *given).stdout
    assert printed.startswith(f"{trained_run}/best: validation text of the run, 1,999 characters, windows of 100\n")
    assert (found["protocol"], found["window"], found["characters"]) == ("windows", 100, 1999)
    for key, value in (("nats_per_char", nats), ("bits_per_char", nats / math.log(2)), ("perplexity", math.exp(nats))):
        assert found[key] == pytest.approx(value)
        assert f"{value:.4f}" in printed
    assert found["standard_error"] == pytest.approx(score.standard_error)
    assert f"by blocks of 500 characters: {score.standard_error:.4f} nats\n" in printed


def test_what_a_mixture_gains_is_printed_with_the_error_of_the_difference(trained_run: Path) -> None:
    found, mixed = figures(trained_run, "--mix"), evaluate(load(trained_run), mixed=True)
    assert mixed.static is not None
    error = mixed.score.difference_error(mixed.static)
    assert found["static_difference_error"] == pytest.approx(error)
    gain = found["static_nats_per_char"] - found["nats_per_char"]
    line = f"  {gain:.4f} nats below the network as it was trained, standard error {error:.4f}\n"
    assert line in charlm("evaluate", trained_run, "--mix").stdout


def test_what_an_ensemble_gains_over_its_best_network_is_printed_with_the_error_of_the_difference(
    trained_run: Path, tmp_path: Path
) -> None:
    best = read_bundle(trained_run / "best")
    write_bundle(tmp_path / "worse", replace(best, parameters=best.parameters.divide_logits(3)))
    found = figures(trained_run, "--with", tmp_path / "worse")
    scores = [
        evaluate(each, trained_run / "corpus", split="validation").score for each in (trained_run, tmp_path / "worse")
    ]
    together = evaluate(load(trained_run, others=[tmp_path / "worse"])).score
    assert [alone["nats_per_char"] for alone in found["alone"]] == [score.nats_per_char for score in scores]
    errors = [together.difference_error(score) for score in scores]
    assert [alone["difference_error"] for alone in found["alone"]] == pytest.approx(errors)
    gain = scores[0].nats_per_char - together.nats_per_char
    line = f"  {gain:.4f} nats below the best of its networks, standard error {errors[0]:.4f}\n"
    assert line in charlm("evaluate", trained_run, "--with", tmp_path / "worse").stdout


# --baselines, --surprise, --dynamic, --with


def test_baselines_are_a_table_with_the_model_and_the_best_first(trained_run: Path) -> None:
    _, head, *rows, note, _ = charlm("evaluate", trained_run, "--baselines").stdout.splitlines()
    assert head.split() == ["nats", "bits", "perplexity"]
    assert {row[:12].strip() for row in rows} == {*BASELINES, "this model"}
    scores = [tuple(map(float, row[12:].split())) for row in rows]
    assert scores == sorted(scores)
    for nats, bits, perplexity in scores:
        assert bits == pytest.approx(nats / math.log(2), abs=1e-3)
        assert perplexity == pytest.approx(math.exp(nats), rel=1e-3)
    assert "the 16,000 characters of the training text" in note


def test_a_score_that_learning_makes_worse_is_told_in_a_line(
    trained_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not charlm("evaluate", trained_run, "--mix").stderr
    monkeypatch.setattr(Evaluation, "is_worse", True)
    assert not charlm("evaluate", trained_run).stderr
    for option in ("--mix", "--dynamic"):
        (line,) = charlm("evaluate", trained_run, option).stderr.splitlines()
        assert line.startswith(f"charlm: {option} makes the score worse here: ")


def test_copies_are_told_with_their_place_in_the_training_text(trained_run: Path, tmp_path: Path) -> None:
    corpus = open_corpus(trained_run / "corpus")
    copied = corpus.vocabulary.decode(corpus.split("train")[100:150])
    text = tmp_path / "text.txt"
    text.write_text(f"QQ{copied}", encoding="utf-8")
    found = figures(trained_run, text, "--copies")["copies"]
    assert found == {"share": 50 / 52, "length": 50, "text": copied, "start": 2, "position": 100}
    last = charlm("evaluate", trained_run, text, "--copies").stdout.splitlines()[-1]
    assert last.startswith("  96.2% occurs in the training text in spans of 20 or more; the longest has 50 characters")
