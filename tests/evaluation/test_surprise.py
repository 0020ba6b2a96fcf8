"""The nats of each character, as JSON lines."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from charlm.evaluation.surprise import record_surprise
from charlm.network.rnn import Floats
from charlm.text.vocabulary import Vocabulary

BYTES = Vocabulary("byte", (*map(chr, range(256)), None), end_of_text_id=256)


def blocks(*sizes: int) -> Iterator[Floats]:
    """Yield nats in blocks of these sizes: 0.25, 0.5, 0.75 and so on."""
    start = 1
    for size in sizes:
        yield (np.arange(start, start + size) / 4).astype(np.float32)
        start += size


def parse(written: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in b"".join(written).decode("ascii").splitlines()]


@pytest.mark.parametrize(("lines_at_once", "calls"), [(1, 4), (2, 3), (3, 2), (1000, 2)])
def test_each_id_but_the_first_has_a_line(lines_at_once: int, calls: int, vocabulary: Vocabulary) -> None:
    written: list[bytes] = []
    ids = np.array([2, 1, 0, 3, 4])
    list(record_surprise(blocks(3, 1), ids, vocabulary, written.append, lines_at_once=lines_at_once))
    assert parse(written) == [
        {"position": 1, "character": "a", "nats": 0.25},
        {"position": 2, "character": "\n", "nats": 0.5},
        {"position": 3, "character": None, "reserved": "unknown", "nats": 0.75},
        {"position": 4, "character": None, "reserved": "end of text", "nats": 1.0},
    ]
    assert len(written) == calls
    assert all(lines.endswith(b"\n") for lines in written)


def test_bytes_are_numbers() -> None:
    written: list[bytes] = []
    list(record_surprise(blocks(2), np.array([0, 255, 256]), BYTES, written.append))
    assert parse(written) == [
        {"position": 1, "byte": 255, "nats": 0.25},
        {"position": 2, "byte": None, "reserved": "end of text", "nats": 0.5},
    ]


def test_characters_that_are_not_ascii_are_escaped() -> None:
    written: list[bytes] = []
    list(record_surprise(blocks(1), np.array([0, 1]), Vocabulary("char", ("a", "é")), written.append))
    assert written == [b'{"position": 1, "character": "\\u00e9", "nats": 0.25}\n']


def test_blocks_are_passed_on_unchanged(vocabulary: Vocabulary) -> None:
    columns = np.array([[0.25], [0.5]], np.float32)
    passed_on = list(record_surprise([columns], np.array([0, 1, 2]), vocabulary, lambda _: None))
    assert passed_on == [columns]


def test_each_block_is_written_before_it_is_passed_on(vocabulary: Vocabulary) -> None:
    written: list[bytes] = []
    scores = record_surprise(blocks(1, 1), np.array([0, 1, 2]), vocabulary, written.append)
    next(scores)
    assert len(parse(written)) == 1
    next(scores)
    assert len(parse(written)) == 2
