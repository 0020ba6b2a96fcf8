"""Sources named by the user -> documents -> text: each file is read whole, decoded, and brought into normal form NFC.

A source is a file, a folder or standard input. Files whose names end in .gz are decompressed.
"""

import codecs
import gzip
import os
import sys
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from charlm.errors import CharlmError
from charlm.hardware import memory_bytes
from charlm.storage import near_file_hint, printable, reading
from charlm.text.vocabulary import MAX_MARKS, has_too_many_marks
from charlm.wording import short_repr

STANDARD_INPUT = "-"
BLOCK_BYTES = 1 << 20
MEMORY_SHARE = 16
"""A document takes up to eleven times its size in memory; it may have a sixteenth of the machine's."""
BYTE_ORDER_MARK = "\ufeff"
MAX_NAME = 50
"""The longest name of a text, in characters: a folder with the time and this in its name has at most 255 bytes."""
NOT_FOR_FILES = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"}
"""Python has these as text encodings, but they are escapes or decode to surrogates."""
OWN_FILES = ("metrics.jsonl", "corpus.json")
"""What a run and a corpus of charlm have: they may lie in the folder of the texts that they are made from."""
RUN_FILES = ("config.yaml", "metrics.jsonl")
"""The files of a run that has begun."""


class UndecodableError(CharlmError):
    """A document is not valid in its encoding, or not a complete gzip file.

    Args:
        name: What messages call the document.
        reason: What was found in it, and where.
        advice: What would do, if this is the only document.

    """

    def __init__(self, name: str, reason: str, advice: str) -> None:
        super().__init__(f"{name}: {reason}; {advice}")
        self.reason = reason


@dataclass(frozen=True, eq=False)
class Document:
    """One text."""

    name: str
    """What messages call it."""
    path: Path | None
    """Its file; None = standard input."""
    data: bytes = b""
    """What came from standard input."""

    def read(self) -> bytes | bytearray:
        """Return the decompressed bytes.

        Raises:
            CharlmError: the file cannot be read, or is larger than a sixteenth of the memory.
            UndecodableError: its name ends in .gz, and it is not a complete gzip file.

        """
        if self.path is None:
            return self.data
        most, data = (memory_bytes() or sys.maxsize) // MEMORY_SHARE, bytearray()
        try:
            with self.path.open("rb") as raw:
                file = gzip.GzipFile(fileobj=raw) if self.path.suffix.lower() == ".gz" else raw
                while len(data) <= most and (block := file.read(BLOCK_BYTES)):
                    data += block
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UndecodableError(
                self.name, f"not a complete gzip file: {error}", "compress it anew"
            ) from None
        except OSError as error:
            raise CharlmError(f"{self.name}: cannot be read: {error.strerror}") from None
        if len(data) > most:
            raise CharlmError(
                f"{self.name}: more than {most:,} bytes, a sixteenth of the memory; cut it into files"
            )
        return data


def find_documents(sources: Iterable[str]) -> tuple[list[Document], dict[str, str]]:
    """Return the documents that some sources name, in the order of the sources, each file once.

    Args:
        sources: Files, folders or `-` for standard input. The files of a folder and of its subfolders are sorted; what
            is hidden there, or called __pycache__, does not count.

    Returns:
        The documents; and the reason for each file or folder that was left out, by its name: runs and corpora of
        charlm, links to folders, and what is not a regular file.

    Raises:
        CharlmError: a source does not exist, or is a run, a device, a pipe or a socket.
        UnreadableError: a source cannot be looked up, for instance because a path in it is too long.

    """
    documents, left_out = dict[str, Document](), dict[str, str]()
    for source in dict.fromkeys(sources):
        if source == STANDARD_INPUT:
            documents[source] = Document(source, None, sys.stdin.buffer.read())
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
        raise CharlmError(f"{source}: no such file or folder{near_file_hint(path)}")
    if not path.is_file() and not path.is_dir():
        raise CharlmError(f"{printable(path)}: is not a regular file; use - for standard input")
    if all((path / name).is_file() for name in RUN_FILES):
        corpus = path / "corpus"
        raise CharlmError(
            f"{printable(path)}: is a run, not a text; its text is {printable(corpus)}"
        )


def name_text(sources: Sequence[str]) -> str:
    """Return a name for a text, given its sources or the names of its documents.

    Returns:
        The name of the file without its suffix, or that of the folder; of several sources, that of the folder which
        they have in common, or else that of the first. It has 1 to MAX_NAME letters, digits, `.`, `_` and `-`.

    """
    sources = ["stdin" if source == STANDARD_INPUT else source for source in sources] or ["text"]
    try:
        path = Path(os.path.commonpath(sources))
    except ValueError:  # some paths are absolute, some are not
        path = Path()
    if path.name in ("", ".."):
        path = Path(sources[0])
    name = path.absolute().name if os.path.isdir(path) else Path(path.name.removesuffix(".gz")).stem  # noqa: PTH112
    kept = (
        c if c in "._-" or unicodedata.category(c)[0] in "LMN" else " "
        for c in unicodedata.normalize("NFC", name)
    )
    return "-".join("".join(kept).split())[:MAX_NAME].strip(".-") or "text"


def _files(path: Path, left_out: dict[str, str]) -> Iterator[Path]:
    """Yield the files of a source but hidden and compiled ones; add what else is left out to `left_out`."""
    if not path.is_dir():
        yield path
        return
    for each in sorted(path.iterdir()):
        if each.name.startswith(".") or each.name == "__pycache__":
            continue
        if each.is_dir() and each.is_symlink():
            left_out[printable(each)] = "a link to a folder"
        elif any((each / name).exists() for name in OWN_FILES):
            left_out[printable(each)] = "a run or a corpus of charlm"
        elif each.is_dir() or each.is_file():
            yield from _files(each, left_out)
        else:
            left_out[printable(each)] = "not a regular file"


def check_encoding(encoding: str, *, key: str = "corpus.encoding") -> None:
    """Raise CharlmError if Python does not have an encoding, or if it is not one of text files.

    Args:
        encoding: A name.
        key: What the message calls the setting.

    """
    try:
        "".encode(encoding)
        known = codecs.lookup(encoding).name not in NOT_FOR_FILES
    except (LookupError, ValueError):
        known = False
    if not known:
        raise CharlmError(
            f"{key}: found {short_repr(encoding)}, which is not an encoding of text files that Python has; "
            f"there are utf-8, utf-16, cp1252, latin-1, gb18030 and many more"
        )


def decode(data: bytes | bytearray, *, encoding: str, name: str, is_fixed: bool = False) -> str:
    """Return the text of a document in the normal form NFC.

    Line ends stay as they are; a byte order mark at the start is dropped.

    Args:
        data: Its bytes.
        encoding: A name that `check_encoding` accepts.
        name: What messages call the document.
        is_fixed: Whether the encoding is that of a model, so that messages do not advise another one.

    Raises:
        UndecodableError: the bytes are not valid in this encoding; the message names the offset of the first invalid
            byte and suggests other settings. Or too many combining marks follow each other.

    """
    try:
        text = data.decode(encoding)
    except UnicodeError as error:
        reason = f"not valid {encoding}"
        if isinstance(error, UnicodeDecodeError):
            reason += f" at byte {error.start:,} (0x{data[error.start]:02X})"
        raise UndecodableError(name, reason, _advise(encoding, data, is_fixed=is_fixed)) from None
    if has_too_many_marks(text):
        raise UndecodableError(
            name, f"more than {MAX_MARKS:,} combining marks in a row", "leave some out"
        )
    return unicodedata.normalize("NFC", text.removeprefix(BYTE_ORDER_MARK))


def _advise(encoding: str, data: bytes | bytearray, *, is_fixed: bool) -> str:
    if data.startswith(b"%PDF"):
        return "it is a PDF: extract its text first, for instance with pdftotext"
    if is_fixed:
        return f"the model reads {encoding}: convert the text"
    return (
        "name its encoding, for instance corpus.encoding=cp1252; for data that is not text, "
        "corpus.encoding=latin-1 gives each byte an id"
    )
