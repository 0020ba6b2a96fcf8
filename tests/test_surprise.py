"""The nats of each character, as JSON lines."""

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import charlm

from charlm import surprise
from charlm.bundle import Bundle, read_bundle, write_bundle
from charlm.corpus import open_corpus
from charlm.errors import CharlmError
from charlm.rnn import Floats
from charlm.scoring import score_stream, score_windows
from charlm.surprise import recorded
from charlm.vocabulary import Vocabulary

BYTES = Vocabulary("byte", (*map(chr, range(256)), None), end_of_text_id=256)


def blocks(*sizes: int) -> Iterator[Floats]:
    start = 1
    for size in sizes:
        yield (np.arange(start, start + size) / 4).astype(np.float32)
        start += size


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_each_id_but_the_first_has_a_line(
    at_once: int, vocabulary: Vocabulary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surprise, "LINES", at_once)
    target = tmp_path / "nats.jsonl"
    passed_on = list(recorded(blocks(3, 1), np.array([2, 1, 0, 3, 4]), vocabulary, target))
    assert [block.tolist() for block in passed_on] == [[0.25, 0.5, 0.75], [1.0]]
    assert lines(target) == [
        {"position": 1, "character": "a", "nats": 0.25},
        {"position": 2, "character": "\n", "nats": 0.5},
        {"position": 3, "character": None, "reserved": "unknown", "nats": 0.75},
        {"position": 4, "character": None, "reserved": "end of text", "nats": 1.0},
    ]


def test_bytes_are_numbers(tmp_path: Path) -> None:
    list(recorded(blocks(2), np.array([0, 255, 256]), BYTES, tmp_path / "nats.jsonl"))
    assert lines(tmp_path / "nats.jsonl") == [
        {"position": 1, "byte": 255, "nats": 0.25},
        {"position": 2, "byte": None, "reserved": "end of text", "nats": 0.5},
    ]


def test_a_file_takes_its_place_when_it_is_whole(vocabulary: Vocabulary, tmp_path: Path) -> None:
    target = tmp_path / "nats.jsonl"
    target.write_text("old")
    scores = recorded(blocks(1, 1), np.array([0, 1, 2]), vocabulary, target)
    next(scores)
    assert target.read_text() == "old"
    list(scores)
    assert len(lines(target)) == 2


def test_nothing_is_left_of_a_run_that_fails(vocabulary: Vocabulary, tmp_path: Path) -> None:
    def interrupted() -> Iterator[Floats]:
        yield from blocks(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(recorded(interrupted(), np.array([0, 1, 2]), vocabulary, tmp_path / "nats.jsonl"))
    assert list(tmp_path.iterdir()) == []


def test_a_link_stays_a_link(vocabulary: Vocabulary, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real.jsonl")
    list(recorded(blocks(1), np.array([0, 1]), vocabulary, tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()
    assert len(lines(tmp_path / "real.jsonl")) == 1


def test_a_pipe_is_written_to_and_not_replaced(vocabulary: Vocabulary, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    list(recorded(blocks(1), np.array([0, 1]), vocabulary, pipe))
    reader.join()
    assert json.loads(read[0])["character"] == "a"
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    ("target", "reason"), [("nowhere/nats.jsonl", "No such file or directory"), ("/dev/full", "No space left")]
)
def test_what_cannot_be_written_is_named(
    target: str, reason: str, vocabulary: Vocabulary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CharlmError, match=f"^{target}: cannot be written: {reason}"):
        list(recorded(blocks(1), np.array([0, 1]), vocabulary, Path(target)))


# The command


@pytest.mark.parametrize("protocol", ["stream", "windows"])
def test_the_lines_are_the_nats_of_the_protocol(protocol: str, trained_run: Path, tmp_path: Path) -> None:
    target = tmp_path / "nats.jsonl"
    command = charlm("evaluate", trained_run, "--protocol", protocol, "--surprise", target)
    assert command.stdout == charlm("evaluate", trained_run, "--protocol", protocol).stdout
    corpus, parameters = open_corpus(trained_run / "corpus"), read_bundle(trained_run / "best").parameters
    ids = corpus.split("validation")
    score = score_stream if protocol == "stream" else score_windows
    found = lines(target)
    assert [line["position"] for line in found] == list(range(1, len(ids)))
    assert "".join(line["character"] for line in found) == corpus.vocabulary.decode(ids[1:])
    expected = np.concatenate(list(score(parameters, ids)))
    np.testing.assert_allclose([line["nats"] for line in found], expected, rtol=1e-5)


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_the_score_gives_way_on_standard_output(extra: list[str], trained_run: Path) -> None:
    command = charlm("evaluate", trained_run, "--surprise", "-", *extra)
    assert command.stderr == charlm("evaluate", trained_run, *extra).stdout
    assert len([json.loads(line) for line in command.stdout.splitlines()]) == 1_999


def test_a_folder_is_refused(trained_run: Path, tmp_path: Path) -> None:
    command = charlm("evaluate", trained_run, "--surprise", tmp_path)
    assert command.exit_code == 2
    assert "is a directory" in command.stderr


def test_nothing_is_left_where_the_loss_is_not_finite(bundle: Bundle, tmp_path: Path) -> None:
    bias = np.array([3e38, -3e38, 0, 0, 0], np.float32)
    write_bundle(tmp_path / "b", replace(bundle, parameters=replace(bundle.parameters, logits_bias=bias)))
    (tmp_path / "text.txt").write_text("abab")
    command = charlm("evaluate", tmp_path / "b", tmp_path / "text.txt", "--surprise", tmp_path / "nats.jsonl")
    assert command.exit_code == 1
    assert "the loss is inf" in command.stderr
    assert not (tmp_path / "nats.jsonl").exists()
