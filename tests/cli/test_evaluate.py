"""What `charlm evaluate` prints and writes: the score, --baselines, --surprise and --dynamic."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from commands import charlm

from charlm.text.corpus import open_corpus

BASELINES = {"uniform", "lzma", "unigram", "5-gram"}


def figures(*arguments: str | Path) -> dict[str, Any]:
    """Return the object that `evaluate --json` prints."""
    command = charlm("evaluate", *arguments, "--json")
    assert command.exit_code == 0, command.stderr
    found: dict[str, Any] = json.loads(command.stdout)
    return found


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


# The text and the score


def test_json_has_the_score_and_the_protocol(trained_run: Path) -> None:
    found = figures(trained_run, "--protocol", "windows", "--window", "100")
    assert set(found) >= {"nats_per_char", "bits_per_char", "perplexity", "characters"}
    assert (found["protocol"], found["window"]) == ("windows", 100)
    assert found["bits_per_char"] == pytest.approx(found["nats_per_char"] / math.log(2))
    assert found["perplexity"] == pytest.approx(math.exp(found["nats_per_char"]))


def test_printed_score_is_that_of_the_json(trained_run: Path) -> None:
    found = figures(trained_run)
    printed = charlm("evaluate", trained_run).stdout
    assert printed.startswith(f"{trained_run}/best: validation text of the run, 1,999 characters, stream\n")
    for key in ("nats_per_char", "bits_per_char", "perplexity"):
        assert f"{found[key]:.4f}" in printed


# --baselines, --surprise, --dynamic, --with


def test_baselines_are_a_table_with_the_model_and_the_best_first(trained_run: Path) -> None:
    _, head, *rows, note = charlm("evaluate", trained_run, "--baselines").stdout.splitlines()
    assert head.split() == ["nats", "bits", "perplexity"]
    assert {row[:12].strip() for row in rows} == {*BASELINES, "this model"}
    scores = [tuple(map(float, row[12:].split())) for row in rows]
    assert scores == sorted(scores)
    for nats, bits, perplexity in scores:
        assert bits == pytest.approx(nats / math.log(2), abs=1e-3)
        assert perplexity == pytest.approx(math.exp(nats), rel=1e-3)
    assert "the 16,000 characters of the training text" in note


def test_copies_are_told_with_their_place_in_the_training_text(trained_run: Path, tmp_path: Path) -> None:
    corpus = open_corpus(trained_run / "corpus")
    copied = corpus.vocabulary.decode(corpus.split("train")[100:150])
    text = write(tmp_path / "text.txt", f"QQ{copied}")
    found = figures(trained_run, text, "--copies")["copies"]
    assert found == {"share": 50 / 52, "length": 50, "text": copied, "start": 2, "position": 100}
    last = charlm("evaluate", trained_run, text, "--copies").stdout.splitlines()[-1]
    assert last.startswith("  96.2% occurs in the training text in spans of 20 or more; the longest has 50 characters")


# Errors
