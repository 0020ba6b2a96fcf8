"""Sources named by the user -> documents -> text, piece by piece: memory does not grow with the size of a document.

A source is a file, a folder, a glob pattern or standard input. Documents are decompressed if their names end in .gz,
then decoded and normalised.
"""

import codecs
import functools
import gzip
import itertools
import os
import shutil
import stat
import sys
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from charlm.config.schema import CorpusConfig
from charlm.errors import CharlmError, short_repr

BLOCK_BYTES = 1 << 20
STANDARD_INPUT = "-"

Advance = Callable[[int], object]
"""Is called with the number of bytes of a file that have been read since the last call."""


class UndecodableError(CharlmError):
    """A document is not valid in its encoding.

    Args:
        name: What messages call the document.
        problem: What was found in it, and where.
        advice: What would do, if this is the only document.
        position: The offset of the first invalid byte, for instance `byte 5`; empty if there is none.

    """

    def __init__(self, name: str, problem: str, advice: str, *, position: str) -> None:
        super().__init__(f"{name}: {problem}; {advice}")
        self.name, self.advice, self.position = name, advice, position


@dataclass(frozen=True, eq=False, slots=True)
class Document:
    """One text: a regular file, decompressed if its name ends in .gz.

    Documents are compared by identity: there may be 100,000 of them, and comparing paths takes time.
    """

    name: str
    """What messages call it."""
    path: Path

    def file_bytes(self) -> int:
        """Return the size of the file, before decompression; raises CharlmError if it cannot be looked up."""
        try:
            return self.path.stat().st_size
        except OSError as error:
            raise CharlmError(f"{self.name}: cannot be read: {error.strerror}") from None

    def read(self, *, advance: Advance = lambda _: None, block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
        """Yield the decompressed bytes in blocks, none of them empty.

        Args:
            advance: Is called for each block with the bytes that it takes in the file, that is before decompression.
            block_bytes: Largest size of a block, 1 or more.

        Raises:
            CharlmError: the file cannot be read, or its name ends in .gz and it is not a complete gzip file.

        """
        try:
            with self.path.open("rb", buffering=0) as raw:
                stream = gzip.GzipFile(fileobj=raw) if self.path.suffix.lower() == ".gz" else raw
                position = 0
                while block := stream.read(block_bytes):
                    advance(raw.tell() - position)
                    position = raw.tell()
                    yield block
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise CharlmError(f"{self.name}: not a complete gzip file: {error}") from None
        except OSError as error:
            raise CharlmError(f"{self.name}: cannot be read: {error.strerror}") from None


def find_documents(sources: Iterable[str], *, spool: Path) -> list[Document]:
    """Return the documents that some sources name, in the order of the sources, each file once.

    Args:
        sources: Files, folders, glob patterns (`**` matches any depth) or `-` for standard input. The files of a folder
            and of its subfolders are sorted; hidden ones are left out.
        spool: The file to which standard input is copied.

    Raises:
        CharlmError: a source does not exist, matches nothing, cannot be read, or is a device, a pipe or a socket.

    """
    seen: set[tuple[int, int]] = set()
    documents = []
    for source in dict.fromkeys(sources):
        if source == STANDARD_INPUT:
            documents.append(_spool_standard_input(spool))
            continue
        try:
            documents += [Document(_printable(path), path) for path in _files(source, seen)]
        except OSError as error:
            raise CharlmError(f"{error.filename or source}: cannot be read: {error.strerror}") from None
    return documents


def _spool_standard_input(spool: Path) -> Document:
    if sys.stdin is None:
        raise CharlmError(f"{STANDARD_INPUT}: standard input is closed")
    with spool.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file, BLOCK_BYTES)
    return Document(STANDARD_INPUT, spool)


def _files(source: str, seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Yield the regular files of a source; `seen`, by device and inode, grows with files and folders."""
    pending = _matches(source)[::-1]
    while pending:
        path = pending.pop()
        status = path.stat()
        identity = (status.st_dev, status.st_ino)
        if identity in seen:
            continue
        seen.add(identity)
        if stat.S_ISDIR(status.st_mode):
            pending += sorted(
                (p for p in path.iterdir() if not p.name.startswith(".")), key=lambda p: p.name, reverse=True
            )
        elif stat.S_ISREG(status.st_mode):
            yield path
        else:
            raise CharlmError(f"{_printable(path)}: is not a regular file; use - for standard input")


def _matches(source: str) -> list[Path]:
    path = Path(source)
    if source and path.exists():
        return [path]
    if not set(source) & set("*?["):
        raise CharlmError(f"{source}: no such file or folder")
    try:
        # pathlib instead of glob: its ** does not follow links, which may form a circle
        found = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    except ValueError as error:
        raise CharlmError(f"{source}: not a glob pattern: {error}") from None
    matches = [match for match in found if not _is_hidden(match, but=path)]
    if not matches:
        raise CharlmError(f"{source}: no file or folder matches this pattern")
    return matches


def _is_hidden(path: Path, *, but: Path) -> bool:
    return any(part.startswith(".") and part not in but.parts for part in path.parts)


def _printable(path: Path) -> str:
    """Return the name of a file as text that UTF-8 can encode; file systems allow any bytes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


HEAD_BYTES = 4096
"""The encoding of a document that cannot be decoded is guessed from its first bytes, at most this many."""

CODE_POINTS = 0x110000
"""Number of Unicode code points."""

BYTE_ORDER_MARK = "\ufeff"
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it starts with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
NOT_FOR_FILES = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"}
"""Python has these as text encodings, but they are escapes or decode to surrogates."""

Form = Literal["NFC", "NFKC"]
"""A Unicode normal form."""


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


def texts(blocks: Iterable[bytes], config: CorpusConfig, *, name: str, is_fixed: bool = False) -> Iterator[str]:
    """Yield the text of a document in pieces.

    At level byte the text is the bytes decoded as Latin-1, so that code points are byte values.

    Args:
        blocks: The bytes of the document in blocks of any size, none of them empty.
        config: Its level, encoding and normal form.
        name: What messages call the document.
        is_fixed: Whether the config is that of a model, so that messages do not advise another one.

    Raises:
        CharlmError: Python does not have the encoding.
        UndecodableError: as `decode`.

    """
    if config.level == "char":
        check_encoding(config.encoding)
    encoding = config.encoding if config.level == "char" else "latin-1"
    pieces = decode(blocks, encoding=encoding, name=name, is_fixed=is_fixed)
    if config.normalize == "none":
        return pieces
    return normalize(pieces, form=config.normalize)


def decode(blocks: Iterable[bytes], *, encoding: str, name: str, is_fixed: bool = False) -> Iterator[str]:
    """Yield the decoded text of a document in pieces.

    Line ends stay as they are; a byte order mark at the start is dropped.

    Args:
        blocks: The bytes of the document in blocks of any size, none of them empty.
        encoding: A name that `check_encoding` accepts.
        name: What messages call the document.
        is_fixed: As in `texts`.

    Raises:
        UndecodableError: the bytes are not valid in this encoding; the message names the offset of the first invalid
            byte and suggests other settings.

    """
    decoder = codecs.getincrementaldecoder(encoding)()
    end, started, head = 0, False, b""
    for block in itertools.chain(blocks, [b""]):
        head = head or block[:HEAD_BYTES]
        end += len(block)
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeError as error:
            position = ""
            problem = f"not valid {encoding}: {error}"  # UTF-16 and UTF-32 that lack their byte order mark
            if isinstance(error, UnicodeDecodeError):
                # error.object ends where the block ends, and starts with the bytes that the decoder had held back
                position = f"byte {end - len(error.object) + error.start}"
                problem = f"not valid {encoding} at {position} (0x{error.object[error.start]:02X})"
            advice = _advise(encoding=encoding, head=head, is_fixed=is_fixed)
            raise UndecodableError(name, problem, advice, position=position) from None
        if text and not started:
            started = True
            text = text.removeprefix(BYTE_ORDER_MARK)
        if text:
            yield text


def _advise(*, encoding: str, head: bytes, is_fixed: bool) -> str:
    if head.startswith(b"%PDF"):
        return "it is a PDF: extract its text first, for instance with pdftotext"
    current = codecs.lookup(encoding).name
    others = [other for other in _likely_encodings(head) if codecs.lookup(other).name != current]
    if is_fixed:
        return f"the model reads {encoding}: convert the text, which may be {' or '.join(others)}"
    return (
        f"if the text is in another encoding, try -s corpus.encoding={' or '.join(others)}; "
        f"for data that is not text, -s corpus.level=byte"
    )


def _likely_encodings(head: bytes) -> Sequence[str]:
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if head.startswith(mark):
            return encoding, f"{encoding}-le", f"{encoding}-be"
    even, odd = head[::2].count(0), head[1::2].count(0)
    if 4 * abs(even - odd) > len(head):  # every other byte of English in UTF-16 is 0
        return ("utf-16-le", "utf-16-be") if odd > even else ("utf-16-be", "utf-16-le")
    return "utf-8", "cp1252", "latin-1"


MANY_MARKS = 32
"""No language writes so many combining marks on one letter."""


def normalize(texts: Iterable[str], *, form: Form) -> Iterator[str]:
    """Yield a text in a Unicode normal form, in pieces that joined are the normal form of the whole text.

    The end of a piece is held back from its last character that cannot combine with what is before it. The time grows
    with the length of the text, whatever it holds.

    Args:
        texts: The text in pieces of any size, none of them empty.
        form: The normal form.

    """
    held: list[str] = []
    for piece in texts:
        cut = next((place for place in range(len(piece) - 1, -1, -1) if starts_anew(piece[place])), -1)
        if cut < 0:
            held.append(piece)
            continue
        if text := "".join([*held, piece[:cut]]):
            yield unicodedata.normalize(form, order_marks(text))
        held = [piece[cut:]]
    if held:
        yield unicodedata.normalize(form, order_marks("".join(held)))


def starts_anew(character: str) -> bool:
    """Return whether a character never combines with one before it, whatever the normal form.

    What does are marks, the vowels and final consonants of Korean, and characters that stand for one of these.
    """
    if character.isascii():
        return True
    first = unicodedata.normalize("NFKD", character)[0]
    is_korean = "\u1160" <= first <= "\u11ff"
    return not is_korean and unicodedata.category(first)[0] != "M" and unicodedata.combining(first) == 0


def order_marks(text: str) -> str:
    """Return an equivalent text whose long runs of combining marks are in canonical order.

    The normalisation of Python sorts them by insertion: a run of 100,000 takes it 15 s.
    """
    if text.isascii():
        return text
    is_mark = _combines().take(code_points(text))
    runs = np.flatnonzero(np.diff(is_mark, prepend=False, append=False)).reshape(-1, 2)
    parts, done = list[str](), 0
    for start, end in runs[runs[:, 1] - runs[:, 0] >= MANY_MARKS].tolist():
        marks = "".join(unicodedata.normalize("NFD", mark) for mark in text[start:end])
        parts += [text[done:start], *sorted(marks, key=unicodedata.combining)]
        done = end
    return "".join([*parts, text[done:]])


@functools.cache
def _combines() -> NDArray[np.bool_]:
    """Return whether each code point is a combining mark, bool [code points]."""
    return np.array([unicodedata.combining(chr(code_point)) > 0 for code_point in range(CODE_POINTS)])


def code_points(text: str) -> NDArray[np.uint8] | NDArray[np.uint32]:
    """Return the code points of a text, [characters]: uint32, or uint8 if all are ASCII, for speed."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)
