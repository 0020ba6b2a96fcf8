"""What `charlm evaluate` prints and writes: the score, --baselines, --surprise and --dynamic."""

import json
import math
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import charlm, check_failure, check_usage_error, table

from charlm.evaluation.scoring import mean_score, score_stream
from charlm.network.bundle import Bundle, read_bundle, write_bundle
from charlm.text.corpus import open_corpus

BASELINES = {"bz2", "lzma", "unigram", "5-gram"}


def figures(*arguments: str | Path, stdin: str = "") -> dict[str, Any]:
    """Return the object that `evaluate --json` prints."""
    command = charlm("evaluate", *arguments, "--json", stdin=stdin)
    assert command.exit_code == 0, command.stderr
    found: dict[str, Any] = json.loads(command.stdout)
    return found


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


def stream_nats(run: Path, split: str, *, checkpoint: str = "best") -> float:
    """Return the mean nats of a part of the text of a run, read as a stream."""
    parameters = read_bundle(run / checkpoint).parameters
    return mean_score(score_stream(parameters, open_corpus(run / "corpus").split(split))).nats_per_char


def with_bias(bundle: Bundle, *bias: float) -> Bundle:
    parameters = replace(bundle.parameters, logits_bias=np.array(bias, np.float32))
    return replace(bundle, parameters=parameters)


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


def test_number_of_characters_left_out_is_said(trained_run: Path, tmp_path: Path) -> None:
    text = write(tmp_path / "text.txt", "a€a€a")
    command = charlm("evaluate", trained_run, text, "--unknown", "skip", "--json")
    assert command.stderr == f"charlm: 2 characters of {text} that the model does not know were left out\n"
    assert json.loads(command.stdout)["skipped_characters"] == 2


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


def test_a_text_too_short_for_a_compressor_is_said_to_be(bundle_folder: Path, tmp_path: Path) -> None:
    text = write(tmp_path / "text.txt", "abba")
    assert figures(bundle_folder, text, "--baselines")["baselines_uncertain"] == ["bz2", "lzma"]
    last = charlm("evaluate", bundle_folder, text, "--baselines").stdout.splitlines()[-1]
    assert last == "  the text is too short or too uniform to be compared with bz2, lzma"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def test_surprise_is_written_into_a_pipe(bundle_folder: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    figures(bundle_folder, write(tmp_path / "text.txt", "abba"), "--surprise", pipe)
    reader.join()
    assert len(read[0].splitlines()) == 3
    assert pipe.is_fifo()


def test_no_file_is_left_if_the_loss_is_not_finite(bundle: Bundle, tmp_path: Path) -> None:
    write_bundle(tmp_path / "b", with_bias(bundle, 3e38, -3e38, 0, 0, 0))
    text = write(tmp_path / "text.txt", "abab")
    command = charlm("evaluate", tmp_path / "b", text, "--surprise", tmp_path / "nats.jsonl")
    assert command.exit_code == 1
    assert "the loss is inf" in command.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "text.txt"]


def test_an_ensemble_is_scored_by_the_mean_of_the_logits(bundle: Bundle, tmp_path: Path) -> None:
    text = write(tmp_path / "text.txt", "abba\nab")
    write_bundle(tmp_path / "one", with_bias(bundle, 0, 1, 2, -3, 0))
    write_bundle(tmp_path / "two", with_bias(bundle, 2, 0, 1, 0, -4))
    write_bundle(tmp_path / "mean", with_bias(bundle, 1, 0.5, 1.5, -1.5, -2))
    ensemble = figures(tmp_path / "one", text, "--with", tmp_path / "two")
    expected = figures(tmp_path / "mean", text)
    assert ensemble["nats_per_char"] == pytest.approx(expected["nats_per_char"], abs=1e-6)
    assert ensemble["with"] == [str(tmp_path / "two")]
    assert expected["with"] == []


# Errors


@pytest.mark.usefixtures("place")
@table("""
evaluate                                         | runs/: no run here
evaluate missing                                 | missing: no such folder
evaluate text.txt                                | text.txt: a file, not a run; put the run first
evaluate begun                                   | begun: no best/ in this run yet
evaluate bundle                                  | bundle: a bundle without its run
evaluate bundle missing.txt                      | missing.txt: no such file or folder
evaluate bundle empty.txt                        | at least 2
evaluate bundle latin.txt                        | latin.txt: not valid utf-8
evaluate bundle other.txt                        | 'X' (U+0058)
evaluate bundle nul.txt                          | character 3 of nul.txt, U+0000
evaluate bundle late.txt                         | character 1,500,001 of late.txt, 'X' (U+0058)
evaluate bundle bundle                           | of bundle/
evaluate huge text.txt                           | the loss is inf: the weights are too large
evaluate bundle text.txt --surprise no/where     | no/where: cannot be written: No such file
evaluate bundle text.txt --dynamic               | needs the training text
evaluate bundle text.txt --copies                | bundle: a bundle without its run: --copies needs
""")
def test_failure_is_one_line_that_names_its_cause(line: str, expected: str) -> None:
    check_failure(line, expected)


@pytest.mark.usefixtures("place")
@table("""
evaluate bundle --split all                      | '--split'
evaluate bundle --protocol backwards             | '--protocol'
evaluate bundle --window 0                       | '--window'
evaluate bundle --window 100                     | --window is the length of the windows of --protocol windows
evaluate bundle --dynamic --protocol windows     | --dynamic reads the text as a stream
evaluate bundle --dynamic --with bundle          | --dynamic evaluates a single model; leave out --with
""")
def test_wrong_usage_names_the_option(line: str, expected: str) -> None:
    check_usage_error(line, expected)
