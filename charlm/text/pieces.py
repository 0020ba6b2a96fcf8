"""Documents -> pieces that can be decoded alone -> batches of pieces, each the work of one process at a time.

A large file is cut where neither the decoder nor a normal form looks back. What is done with a batch is left to
`charlm.text.passes`.
"""

import codecs
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from charlm.config.schema import CorpusConfig
from charlm.text.documents import Document

PIECE_BYTES = 16 << 20
"""The approximate size of a piece of a large file, and the size at which a batch is full."""
BATCH_PIECES = 1000
"""The number of pieces at which a batch is full."""
SEARCHED_BYTES = 1 << 16
"""How much of a file is read at a time to find the next place for a cut."""
CUTTABLE = {"utf-8", "ascii", "iso8859-1", "cp1252"}
"""Encodings, by Python's names, in which a byte below 128 is a character of its own wherever it occurs."""


@dataclass(frozen=True, eq=False, slots=True)
class Piece:
    """A document, or a part of it that can be decoded alone; compared by identity, as documents are."""

    document: Document
    start: int = 0
    """The first byte in the file."""
    end: int | None = None
    """The byte after the last one; None = to the end of the file."""
    is_whole: bool = True
    """Whether the piece is the whole document."""


@dataclass(frozen=True)
class Batch:
    """Some pieces in order, and the bytes that they take in their files."""

    pieces: tuple[Piece, ...]
    file_bytes: int


def cut_document(document: Document, *, size: int, config: CorpusConfig, piece_bytes: int = PIECE_BYTES) -> list[Piece]:
    """Cut a document into pieces, in order.

    A compressed file, and one in an encoding that has to be read from the start, is one piece.

    Args:
        document: The document.
        size: Its file's size in bytes.
        config: How the document is decoded.
        piece_bytes: The size from which on a piece ends at the next place where the document may be cut, 1 or more.

    Raises:
        CharlmError: the file cannot be read.

    """
    encoding = codecs.lookup(config.encoding).name if config.level == "char" else "iso8859-1"
    if size <= piece_bytes or encoding not in CUTTABLE or document.is_compressed:
        return [Piece(document)]
    only_ascii = config.normalize != "none"
    borders, start = [0], piece_bytes
    while start < size and (border := _next_border(document, start, encoding=encoding, only_ascii=only_ascii)):
        borders.append(border)
        start = border + piece_bytes
    if len(borders) == 1:
        return [Piece(document)]
    ends = [*borders[1:], None]
    return [Piece(document, start, end, is_whole=False) for start, end in zip(borders, ends, strict=True)]


def _next_border(document: Document, start: int, *, encoding: str, only_ascii: bool) -> int | None:
    """Return the position of the next byte before which a document may be cut, from `start` on; None = there is none.

    No ASCII character combines with the one before it in a normal form (UAX #15). In UTF-8, the bytes 0x80 to 0xBF
    continue a character.
    """
    position = start
    for block in document.read(advance=lambda _: None, block_bytes=SEARCHED_BYTES, start=start):
        values = np.frombuffer(block, np.uint8)
        if only_ascii:
            allowed = values < 0x80
        else:
            allowed = (values & 0xC0 != 0x80) if encoding == "utf-8" else np.ones(len(values), np.bool_)
        if allowed.any():
            return position + int(np.argmax(allowed))
        position += len(block)
    return None


def make_batches(pieces: Iterable[tuple[Piece, int]], *, batch_bytes: int = PIECE_BYTES) -> Iterator[Batch]:
    """Yield the pieces in batches, in order.

    Args:
        pieces: Each piece with the bytes that it takes in its file.
        batch_bytes: The bytes at which a batch is full.

    """
    held: list[Piece] = []
    size = 0
    for piece, file_bytes in pieces:
        held.append(piece)
        size += file_bytes
        if size >= batch_bytes or len(held) >= BATCH_PIECES:
            yield Batch(tuple(held), size)
            held, size = [], 0
    if held:
        yield Batch(tuple(held), size)


def cut_documents(
    documents: Sequence[Document], config: CorpusConfig, *, piece_bytes: int | None
) -> Iterator[tuple[Piece, int]]:
    """Yield the pieces of documents, in order, each with the bytes that it takes in its file.

    Args:
        documents: The documents.
        config: How they are decoded.
        piece_bytes: As for `cut_document`; None = no document is cut.

    Raises:
        CharlmError: a file cannot be read.

    """
    for document in documents:
        size = document.file_bytes()
        if piece_bytes is None:
            yield Piece(document), size
            continue
        for piece in cut_document(document, size=size, config=config, piece_bytes=piece_bytes):
            yield piece, (size if piece.end is None else piece.end) - piece.start
