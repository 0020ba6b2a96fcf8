"""The two passes over a batch of pieces: count its characters, write its ids. Any process can make them.

Everything that is passed in and returned can be pickled.
"""

import functools
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from charlm.config.schema import CorpusConfig
from charlm.errors import CharlmError
from charlm.text.corpus import stored_dtype
from charlm.text.decoding import CODE_POINTS, HEAD_BYTES, code_points, texts
from charlm.text.documents import Advance, Document
from charlm.text.pieces import Batch, Piece
from charlm.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class Reading:
    """How pieces are read."""

    config: CorpusConfig
    block_bytes: int
    """Largest number of bytes read at a time, 1 or more."""
    advance: Advance | None = None
    """Is called for each block with the bytes that it takes in the file."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a piece held when it was read."""

    bytes: int
    """After decompression."""
    characters: int
    identity: str
    """Differs if the contents do: the SHA-256 of a whole document; of a part, the inode, the size and the time of the
    last change of the file, before and after the part was read."""


@dataclass(frozen=True)
class Counted:
    """The result of the first pass over a batch."""

    held: tuple[Held, ...]
    """For each piece."""
    code_points: NDArray[np.int64]
    """Those that occur, ascending, int64 [n]."""
    counts: NDArray[np.int64]
    """How often each of them occurs, int64 [n]."""


@dataclass(frozen=True)
class Placed:
    """A batch, and where its ids belong in ids.bin."""

    batch: Batch
    positions: tuple[int, ...]
    """The position of the first id of each piece, in ids."""


def count_batch(batch: Batch, *, reading: Reading) -> Counted:
    """Return how often each code point occurs in a batch, and what its pieces held.

    Raises:
        CharlmError: a file cannot be read or decoded.

    """
    counts = np.zeros(CODE_POINTS, np.int64)

    def add(text: str) -> None:
        found = _bincount(code_points(text))
        counts[: len(found)] += found

    held = tuple(_read(piece, add, reading) for piece in batch.pieces)
    found = np.flatnonzero(counts)
    return Counted(held, found, counts[found])


def write_batch(placed: Placed, *, path: Path, vocabulary: Vocabulary, reading: Reading) -> tuple[Held, ...]:
    """Write the ids of a batch at their places; return what its pieces held.

    Args:
        placed: The batch.
        path: An existing file, ids.bin. The end_of_text id is written before the first piece of a document that does
            not start at 0.
        vocabulary: What turns characters into ids; a character that is not in it gets some other id.
        reading: How the pieces are read.

    Raises:
        CharlmError: a file cannot be read or decoded.
        OSError: `path` cannot be written.

    """
    to_ids, size = _encoder(vocabulary), stored_dtype(vocabulary).itemsize
    held = []
    with path.open("r+b") as file:
        for piece, position in zip(placed.batch.pieces, placed.positions, strict=True):
            if piece.start == 0 and position > 0:
                file.seek((position - 1) * size)
                file.write(np.array(vocabulary.end_of_text_id, stored_dtype(vocabulary)).tobytes())
            else:
                file.seek(position * size)
            held.append(_read(piece, lambda text: file.write(to_ids(text)), reading))
    return tuple(held)


def digest_document(document: Document, *, reading: Reading) -> tuple[str, str]:
    """Return the SHA-256 of a document that is cut into pieces, and its identity as `Held.identity` of a part is."""
    digest = hashlib.sha256()
    before = _file_state(document)
    for block in document.read(advance=lambda _: None, block_bytes=reading.block_bytes):
        digest.update(block)
    return digest.hexdigest(), f"{before} {_file_state(document)}"


def _read(piece: Piece, consume: Callable[[str], object], reading: Reading) -> Held:
    """Pass the text of a piece to `consume`; return what the piece held."""
    document, digest = piece.document, hashlib.sha256()
    size = characters = 0
    before = "" if piece.is_whole else _file_state(document)

    def blocks() -> Iterator[bytes]:
        """Yield the bytes of the piece, counted and hashed as they are read."""
        nonlocal size
        advance = reading.advance or (lambda _: None)
        for block in document.read(advance=advance, block_bytes=reading.block_bytes, start=piece.start, end=piece.end):
            if piece.is_whole:
                digest.update(block)
            size += len(block)
            yield block

    head = b"" if piece.is_whole else _head(document)
    for text in texts(blocks(), reading.config, name=document.name, start=piece.start, head=head):
        consume(text)
        characters += len(text)
    identity = digest.hexdigest() if piece.is_whole else f"{before} {_file_state(document)}"
    return Held(size, characters, identity)


def _head(document: Document) -> bytes:
    return next(document.read(advance=lambda _: None, block_bytes=HEAD_BYTES, end=HEAD_BYTES), b"")


def _file_state(document: Document) -> str:
    try:
        state = document.path.stat()
    except OSError as error:
        raise CharlmError(f"{document.name}: cannot be read: {error.strerror}") from None
    return f"{state.st_dev}:{state.st_ino}:{state.st_size}:{state.st_mtime_ns}"


def _bincount(values: NDArray[np.uint8] | NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return how often each number from 0 up occurs, int64 [highest + 1 or more]."""
    if values.dtype != np.uint8 or len(values) % 2:
        return np.bincount(values)
    # taking bytes in pairs halves the time: bincount converts every value to int64 first
    pairs = np.bincount(values.view(np.uint16), minlength=1 << 16).reshape(1 << 8, 1 << 8)
    counts: NDArray[np.int64] = pairs.sum(axis=0) + pairs.sum(axis=1)
    return counts


@functools.lru_cache(maxsize=1)
def _encoder(vocabulary: Vocabulary) -> Callable[[str], bytes]:
    """Return a function from text to the bytes of its ids; a character that was not counted gets some other id."""
    table = np.full(CODE_POINTS, vocabulary.unknown_id or 0, stored_dtype(vocabulary))
    known = vocabulary.table >= 0
    table[: len(known)][known] = vocabulary.table[known]
    ascii_table = table[:256].tobytes()

    def to_ids(text: str) -> bytes:
        """Return the ids of a text as bytes."""
        if table.itemsize == 1 and text.isascii():
            return text.encode("ascii").translate(ascii_table)
        return table.take(code_points(text)).tobytes()

    return to_ids
