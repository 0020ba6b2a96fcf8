"""The nats of each character of a text, as JSON lines."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from numpy.typing import NDArray

from charlm.network.rnn import Floats
from charlm.text.vocabulary import Vocabulary

LINES_AT_ONCE = 1 << 14


def record_surprise(
    blocks: Iterable[Floats],
    ids: NDArray[Any],
    vocabulary: Vocabulary,
    write: Callable[[bytes], object],
    *,
    lines_at_once: int = LINES_AT_ONCE,
) -> Iterator[Floats]:
    """Yield the nats of a text unchanged, and write a line of JSON for each character but the first.

        {"position": 1, "character": "x", "nats": 1.234}

    `position` counts the ids from 0. At level byte the second key is `byte`, with a number. For a reserved id its value
    is null, and a key `reserved` with "unknown" or "end of text" follows. The memory taken does not grow with the text.

    Args:
        blocks: The nats of ids 1 to n - 1, float32 arrays in text order.
        ids: Integers [n].
        vocabulary: The characters by id.
        write: Called with whole lines, ASCII.
        lines_at_once: How many lines to write in one call, at most; 1 or more.

    Yields:
        The blocks, each after its lines have been written.

    """
    labels = _labels(vocabulary)
    position = 1
    for block in blocks:
        for start in range(0, block.size, lines_at_once):
            nats = block.ravel()[start : start + lines_at_once].tolist()
            scored = [labels[index] for index in ids[position : position + len(nats)].tolist()]
            lines = (
                f'{{"position": {number}, {label}, "nats": {value:.7g}}}\n'
                for number, (label, value) in enumerate(zip(scored, nats, strict=True), start=position)
            )
            write("".join(lines).encode("ascii"))
            position += len(nats)
        yield block


def _labels(vocabulary: Vocabulary) -> list[str]:
    """Return, by id, the text between the position and the nats."""
    reserved = {vocabulary.unknown_id: "unknown", vocabulary.end_of_text_id: "end of text"}
    key = "byte" if vocabulary.level == "byte" else "character"
    return [
        f'"{key}": null, "reserved": "{reserved[index]}"'
        if character is None
        else f'"{key}": {json.dumps(ord(character) if vocabulary.level == "byte" else character)}'
        for index, character in enumerate(vocabulary.characters)
    ]
