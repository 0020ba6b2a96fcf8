"""Sources named by the user -> documents -> text in the normal form NFC.

A source is a file, a folder or standard input. Files whose names end in .gz are decompressed.
"""

import codecs
import gzip
import io
import os
import sys
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import cast

from charlm.config.schema import CorpusConfig
from charlm.core.vocabulary import (
    MAX_MARKS,
    UNKNOWN_GLYPH,
    has_too_many_marks,
    unify_line_ends,
)
from charlm.errors import CharlmError
from charlm.hardware import memory_bytes
from charlm.storage import is_run, printable, reading
from charlm.text.corpus import is_corpus
from charlm.wording import short_repr

STANDARD_INPUT = "-"
BLOCK_BYTES = 1 << 20
MEMORY_SHARE = 16
"""A document may take at most 1/16 of the memory, because tokenizing needs up to eleven times the
document's size."""
BYTE_ORDER_MARK = "\ufeff"
_SAVE_AS_TEXT = "save it as plain text"
BINARY_FILES = {
    b"PK\x03\x04": ("a Word document or another ZIP archive", _SAVE_AS_TEXT),
    b"{\\rtf": ("a document in rich text format", _SAVE_AS_TEXT),
    b"\xd0\xcf\x11\xe0": ("an old Word or Excel document", _SAVE_AS_TEXT),
    b"%PDF": ("a PDF", "extract its text first, for instance with pdftotext"),
}
"""Kind of a file that is not plain text and advice, by its first bytes."""
BYTES = "iso8859-1"
"""Python's name of latin-1, the encoding that gives each byte a character."""
BYTES_AS_TEXT = "-s corpus.encoding=latin-1 gives each byte an id"
"""Advice for data that is not text."""
MAX_INVALID = 0.1
"""Largest share of U+FFFD in a text with `corpus.errors: replace`; a binary file has more."""
MAX_NAME = 50
"""Maximum number of characters in the name of a text; a run's folder name, which adds a time, must
fit in 255 bytes."""
NOT_FOR_FILES = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"}
"""Text encodings of Python that are escapes, or decode to surrogates."""


class UndecodableError(CharlmError):
    """A document is not valid in its encoding, or not a complete gzip file.

    Args:
        name: The name of the document in messages.
        reason: The defect and its position.
        advice: Instructions for the user, if this is the only document.

    """

    def __init__(self, name: str, reason: str, advice: str) -> None:
        super().__init__(f"{name}: {reason}; {advice}")
        self.reason = reason


@dataclass(frozen=True, eq=False)
class Document:
    """A file or standard input, which holds one text."""

    name: str
    """Name in messages."""
    path: Path | None
    """File of the document; None = standard input."""

    @cached_property
    def _standard_input(self) -> bytearray:
        return self._join_blocks()

    def read(self) -> bytearray:
        """Return the decompressed bytes.

        Raises:
            CharlmError: The file cannot be read, or is larger than a sixteenth of the memory.
            UndecodableError: The name ends in .gz, but the file is not a complete gzip file.

        """
        return self._standard_input if self.path is None else self._join_blocks()

    def _join_blocks(self) -> bytearray:
        limit = (memory_bytes() or sys.maxsize) // MEMORY_SHARE
        data = bytearray()
        for block in self.blocks():
            data += block
            if len(data) > limit:
                raise CharlmError(
                    f"{self.name}: larger than {limit:,} bytes, a sixteenth of the memory; "
                    "split it into several files"
                )
        return data

    def blocks(self) -> Iterator[bytes]:
        """Yield the decompressed bytes in blocks; standard input is read as soon as it comes.

        Raises:
            CharlmError: The file cannot be read.
            UndecodableError: The name ends in .gz, but the file is not a complete gzip file.

        """
        try:
            if self.path is None:
                stdin = cast(io.BufferedReader, sys.stdin.buffer)
                yield from iter(partial(stdin.read1, BLOCK_BYTES), b"")
                return
            with self.path.open("rb") as raw:
                file = gzip.GzipFile(fileobj=raw) if self.path.suffix.lower() == ".gz" else raw
                yield from iter(partial(file.read, BLOCK_BYTES), b"")
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            reason = f"not a complete gzip file: {error}"
            raise UndecodableError(self.name, reason, "compress it again") from None
        except OSError as error:
            raise CharlmError(f"{self.name}: cannot be read: {error.strerror}") from None


def find_documents(sources: Iterable[str]) -> tuple[list[Document], dict[str, str]]:
    """Return the documents in the given sources, in order, each file once.

    Args:
        sources: Files, folders or `-` for standard input. Folders are read with their subfolders,
            in sorted order, without hidden files and __pycache__.

    Returns:
        The documents; and the reason for each file or folder that was left out, by its name: runs
        and corpora of charlm, links to folders, devices, pipes and sockets.

    Raises:
        CharlmError: A source does not exist, or is a run, a device, a pipe or a socket.
        UnreadableError: A source, or a file or folder in it, cannot be looked up, for instance
            because its path is too long.

    """
    documents: dict[str, Document] = {}
    left_out: dict[str, str] = {}
    for source in dict.fromkeys(sources):
        if source == STANDARD_INPUT:
            documents[source] = Document(source, None)
            continue
        path = Path(source)
        with reading(path):
            _check_source(source)
            for file in _files(path, left_out):
                documents.setdefault(os.path.realpath(file), Document(printable(file), file))
    return [*documents.values()], left_out


def _check_source(source: str) -> None:
    """Refuse a source that is not a file or a folder of texts; raises CharlmError or OSError."""
    path = Path(source)
    if not source or not path.exists():
        raise CharlmError(f"{source}: no such file or folder")
    if not path.is_file() and not path.is_dir():
        raise CharlmError(f"{printable(path)}: not a regular file; use - for standard input")
    if is_run(path):
        corpus = printable(path / "corpus")
        raise CharlmError(f"{printable(path)}: is a run, not a text; its text is {corpus}")


def _files(path: Path, left_out: dict[str, str]) -> Iterator[Path]:
    """Yield the files of a source, and add the names and reasons of other files to `left_out`."""
    if not path.is_dir():
        yield path
        return
    for entry in sorted(path.iterdir()):
        if entry.name.startswith(".") or entry.name == "__pycache__":
            continue
        with reading(entry):
            if entry.is_dir() and entry.is_symlink():
                left_out[printable(entry)] = "a link to a folder"
            elif is_run(entry) or is_corpus(entry):
                left_out[printable(entry)] = "a run or a corpus of charlm"
            elif entry.is_dir() or entry.is_file():
                yield from _files(entry, left_out)
            else:
                left_out[printable(entry)] = "not a regular file"


def name_text(sources: Sequence[str]) -> str:
    """Return a name for a text, given its sources or the names of its documents.

    Returns:
        The name of the file without its suffix, or of the folder. Several sources are named after
        the folder that contains all of them, otherwise after the first source. The name has 1 to
        MAX_NAME letters, digits, `.`, `_` and `-`.

    """
    sources = ["stdin" if source == STANDARD_INPUT else source for source in sources] or ["text"]
    try:
        path = Path(os.path.commonpath(sources))
    except ValueError:  # absolute and relative paths
        path = Path()
    if path.name in ("", ".."):
        path = Path(sources[0])
    name = Path(path.name.removesuffix(".gz")).stem
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir can raise
        name = path.absolute().name
    allowed = [
        character if character in "._-" or unicodedata.category(character)[0] in "LMN" else " "
        for character in unicodedata.normalize("NFC", name)
    ]
    return "-".join("".join(allowed).split())[:MAX_NAME].strip(".-") or "text"


def check_encoding(encoding: str, *, key: str = "corpus.encoding") -> None:
    """Raise CharlmError unless Python has a text encoding of this name.

    Args:
        encoding: The name, as the settings keep it.
        key: The setting in the message.

    """
    try:
        "".encode(encoding)
        is_known = encoding not in NOT_FOR_FILES
    except (LookupError, ValueError):
        is_known = False
    if not is_known:
        raise CharlmError(
            f"{key}: found {short_repr(encoding)}; expected a text encoding that Python "
            "supports, for instance utf-8, utf-16, cp1252, latin-1 or gb18030"
        )


def decode(data: bytes | bytearray, config: CorpusConfig, *, name: str) -> str:
    r"""Return the text of a document in the normal form NFC.

    Line ends become \n, except in latin-1, which stands for bytes. A byte order mark at the start
    is dropped, and that of UTF-16 is heeded.

    Args:
        data: The bytes of the document.
        config: The encoding, which `check_encoding` has accepted, and the treatment of errors.
        name: The name of the document in messages.

    Raises:
        UndecodableError: The bytes are not text, not valid in this encoding, or there are too many
            combining marks in a row. The message has advice.

    """
    text = decode_bytes(data, config, name=name)
    if config.encoding != BYTES:
        text = unify_line_ends(text)
    if has_too_many_marks(text):
        reason = f"more than {MAX_MARKS:,} combining marks in a row"
        raise UndecodableError(name, reason, "remove some of them")
    return unicodedata.normalize("NFC", text.removeprefix(BYTE_ORDER_MARK))


def decode_bytes(data: bytes | bytearray, config: CorpusConfig, *, name: str) -> str:
    """Return the characters of a document as they are; see `decode` for arguments and errors."""
    encoding = config.encoding
    if encoding == "utf-8" and has_utf16_mark(data):
        encoding = "utf-16"
    elif encoding.startswith("utf"):
        check_is_text(data, name)
    if encoding == "utf-8" and b"\0" in data:
        if config.errors == "strict":
            advice = _advise(encoding, example="utf-16-le")
            raise UndecodableError(name, "has zero bytes, so it is not plain text", advice)
        data = data.replace(b"\0", b"\xff")
    try:
        text = data.decode(encoding, config.errors)
    except UnicodeError as error:
        reason = f"not valid {encoding}"
        if isinstance(error, UnicodeDecodeError):
            reason += f" at byte {error.start:,} (0x{data[error.start]:02X})"
        raise UndecodableError(name, reason, _advise(encoding)) from None
    if config.errors == "replace" and text.count(UNKNOWN_GLYPH) > MAX_INVALID * len(text):
        reason = f"more than {MAX_INVALID:.0%} is not valid {encoding}, so it is not plain text"
        raise UndecodableError(name, reason, _advise(encoding))
    return text


def is_utf8(data: bytes | bytearray) -> bool:
    """Return whether a text is UTF-8 and could hardly be anything else: it is not only ASCII."""
    if data.isascii():
        return False
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def has_utf16_mark(data: bytes | bytearray) -> bool:
    """Return whether a text begins with the byte order mark of UTF-16."""
    return data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))


def check_is_text(data: bytes | bytearray, name: str) -> None:
    """Raise UndecodableError for the beginning of a file of a known kind that is not plain text."""
    for start, (kind, advice) in BINARY_FILES.items():
        if data.startswith(start):
            raise UndecodableError(name, kind, advice)


def _advise(encoding: str, *, example: str = "cp1252") -> str:
    return (
        f"set its encoding for training, for instance -s corpus.encoding={example}, or convert it "
        f"to {encoding}; -s corpus.errors=replace reads bytes that are not valid as U+FFFD; "
        f"{BYTES_AS_TEXT}"
    )
