"""How much each character of a text surprises a model, as JSON lines."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from charlm.files import open_aside
from charlm.rnn import Floats
from charlm.vocabulary import Vocabulary

STANDARD_OUTPUT = Path("-")
LINES = 1 << 14  # written at once


def recorded(
    blocks: Iterable[Floats], ids: NDArray[Any], vocabulary: Vocabulary, target: Path
) -> Iterator[Floats]:
    """Pass on the nats of ids 1 to n - 1, which come in blocks in text order, and write a line for each.

        {"position": 1, "character": "x", "nats": 1.234}

    `position` counts the scored ids [n] from 0. At level byte the key is `byte`, with a number. An id that is no
    character has null there, and a key `reserved`, "unknown" or "end of text". Nothing is kept in memory.
    `target` is - for standard output, or a file, which is there once the blocks have ended; raises CharlmError
    where it cannot be written.
    """
    labels = _labels(vocabulary)
    position = 1
    with _writer(target) as write:
        for block in blocks:
            for start in range(0, block.size, LINES):
                nats = block.ravel()[start : start + LINES].tolist()
                scored = [labels[index] for index in ids[position : position + len(nats)].tolist()]
                lines = (
                    f'{{"position": {number}, {label}, "nats": {value:.7g}}}\n'
                    for number, (label, value) in enumerate(zip(scored, nats, strict=True), start=position)
                )
                write("".join(lines).encode("ascii"))
                position += len(nats)
            yield block


def _labels(vocabulary: Vocabulary) -> list[str]:
    """Return what stands between the position and the nats of each id."""
    reserved = {vocabulary.unknown_id: "unknown", vocabulary.end_of_text_id: "end of text"}
    key = "byte" if vocabulary.level == "byte" else "character"
    return [
        f'"{key}": null, "reserved": "{reserved[index]}"'
        if character is None
        else f'"{key}": {json.dumps(ord(character) if vocabulary.level == "byte" else character)}'
        for index, character in enumerate(vocabulary.characters)
    ]


@contextlib.contextmanager
def _writer(target: Path) -> Iterator[Callable[[bytes], object]]:
    """Give a function that writes to standard output, or to a file."""
    if target == STANDARD_OUTPUT:
        yield lambda line: sys.stdout.write(line.decode("ascii"))
    else:
        with open_aside(target) as write:
            yield write
