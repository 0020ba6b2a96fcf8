"""What `charlm evaluate` prints and writes: the score, --baselines and --copies."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from commands import charlm

from charlm.api.evaluation import evaluate
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
    found, score = figures(*given), evaluate(trained_run, protocol="windows", window=100)
    nats = score.nats_per_char
    printed = charlm("evaluate", *given).stdout
    assert printed.startswith(
        f"{trained_run}/best.safetensors: validation text of the run, 1,999 characters, windows of 100\n"
    )
    assert (found["protocol"], found["characters"]) == ("windows of 100", 1999)
    for key, value in (("nats_per_char", nats), ("bits_per_char", nats / math.log(2)), ("perplexity", math.exp(nats))):
        assert found[key] == pytest.approx(value)
        assert f"{value:.4f}" in printed
    assert found["standard_error"] == pytest.approx(score.standard_error)
    assert f"by blocks of 500 characters: {score.standard_error:.4f} nats\n" in printed


@pytest.mark.usefixtures("place")
def test_characters_left_out_of_the_text_are_named_and_in_the_json() -> None:
    command = charlm("evaluate", "m.safetensors", "other.txt", "--json")
    assert command.stderr == (
        "charlm: left out of other.txt, since the model does not know them: 'X' (U+0058) 1 time\n"
    )
    found = json.loads(command.stdout)
    assert (found["left_out"], found["characters"], found["text"]) == ({"X": 1}, 3, "other.txt")
    assert set(found) == {
        *("model", "text", "protocol", "nats_per_char", "bits_per_char", "perplexity", "characters", "standard_error"),
        *("left_out", "baselines", "training_characters", "given_characters", "copies", "longest_copy"),
    }


# --baselines, --copies


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


def test_copies_are_told_with_their_place_in_the_training_text(trained_run: Path, tmp_path: Path) -> None:
    corpus = open_corpus(trained_run / "corpus")
    copied = corpus.vocabulary.decode(corpus.split("train")[100:150])
    text = tmp_path / "text.txt"
    text.write_text(f"QQ{copied}", encoding="utf-8")
    found = figures(trained_run, text, "--copies")
    assert found["copies"] == {"share": 50 / 52, "length": 50, "start": 2, "position": 100}
    assert found["longest_copy"] == copied
    last = charlm("evaluate", trained_run, text, "--copies").stdout.splitlines()[-1]
    assert last.startswith("  96.2% occurs in the training text in spans of 20 or more; the longest has 50 characters")
