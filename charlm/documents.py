"""Sources named by a user -> documents -> pieces of text.

Finds the files, reads them block by block, decodes and normalises, so that memory stays flat whatever the
size of a text or of its lines. What the text becomes is left to `charlm.tokenization`.
"""

import codecs
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
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from charlm.config import CorpusConfig
from charlm.errors import CharlmError

BLOCK_BYTES = 1 << 20
HEAD_BYTES = 4096
"""What of a document is looked at to guess its encoding, once it has turned out to be another."""

CODE_POINTS = 0x110000
LONGEST_RUN = 4096
"""Characters in a row that all join the one before: more is no language, and takes Python quadratic time."""

STANDARD_INPUT = "-"
BYTE_ORDER_MARK = "\ufeff"
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it starts with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
NOT_FOR_FILES = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"}
"""Python counts these as text encodings, but they are escapes, or decode to surrogates."""

Form = Literal["NFC", "NFKC"]


@dataclass(frozen=True)
class Document:
    """One text: a regular file, read through gzip if its name ends in .gz."""

    name: str
    """What messages call it."""
    path: Path

    def read(self, *, advance: Callable[[int], object]) -> Iterator[bytes]:
        """Yield the bytes in blocks of at most 1 MiB, none of them empty, decompressed.

        `advance` is told the bytes of the file, as compressed, that each block took. Raises CharlmError where
        the file cannot be read, or is not a whole gzip file.
        """
        try:
            with self.path.open("rb", buffering=0) as raw:
                stream = gzip.GzipFile(fileobj=raw) if self.path.suffix.lower() == ".gz" else raw
                position = 0
                while block := stream.read(BLOCK_BYTES):
                    advance(raw.tell() - position)
                    position = raw.tell()
                    yield block
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise CharlmError(f"{self.name}: not a whole gzip file: {error}") from None
        except OSError as error:
            raise CharlmError(f"{self.name}: cannot be read: {error.strerror}") from None


def find_documents(sources: Iterable[str], *, spool: Path) -> list[Document]:
    """Return the documents that some sources name, in their order, each file once.

    A source is a file, a folder (its files in sorted order, folders within folders too, hidden ones left
    out), a glob pattern (`**` is any depth) or `-`, which copies standard input to the file `spool`. Raises
    CharlmError where there is no such file, or it is a device, a pipe or a socket.
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
            pending += sorted((p for p in path.iterdir() if not p.name.startswith(".")), reverse=True)
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
        # pathlib and not glob: its ** does not follow links, which may run in circles
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
    """Return the name of a file as text that UTF-8 can hold: file systems allow any bytes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def check_encoding(encoding: str) -> None:
    """Raise CharlmError, naming the key, unless Python knows the encoding and it is one of text files."""
    try:
        "".encode(encoding)
        known = codecs.lookup(encoding).name not in NOT_FOR_FILES
    except (LookupError, ValueError):
        known = False
    if not known:
        raise CharlmError(
            f"corpus.encoding: found {encoding!r}, which is not a text encoding that Python knows; "
            f"there are utf-8, utf-16, cp1252, latin-1, gb18030 and many more"
        )


def texts(blocks: Iterable[bytes], config: CorpusConfig, *, name: str) -> Iterator[str]:
    """Yield the text of one document, given its bytes in blocks: decoded and normalised as a config says.

    At level byte the text is the bytes read as Latin-1, so that code points are byte values. Raises CharlmError
    like `decode` and `normalize`.
    """
    encoding = config.encoding if config.level == "char" else "latin-1"
    pieces = decode(blocks, encoding=encoding, name=name)
    return pieces if config.normalize == "none" else normalize(pieces, form=config.normalize, name=name)


def decode(blocks: Iterable[bytes], *, encoding: str, name: str) -> Iterator[str]:
    """Yield the text of one document, given its bytes in blocks of any size, none of them empty.

    Decoding is strict; line ends stay as they are; a byte order mark at the start is dropped. Raises
    CharlmError, starting with `name`, at the first byte that is not valid: its offset in the document, its
    value, and what would do.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    head, end, started = b"", 0, False
    for block in itertools.chain(blocks, [b""]):
        head = head or block[:HEAD_BYTES]
        end += len(block)
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeError as error:
            problem = _describe(error, encoding=encoding, end=end)
            raise CharlmError(f"{name}: {problem}; {_advise(encoding=encoding, head=head)}") from None
        if text and not started:
            started = True
            text = text.removeprefix(BYTE_ORDER_MARK)
        if text:
            yield text


def _describe(error: UnicodeError, *, encoding: str, end: int) -> str:
    if not isinstance(error, UnicodeDecodeError):  # UTF-16 and UTF-32 that lack their byte order mark
        return f"not valid {encoding}: {error}"
    # error.object ends with the block at hand, and starts with bytes that the decoder had held back
    offset = end - len(error.object) + error.start
    return f"not valid {encoding} at byte {offset} (0x{error.object[error.start]:02X})"


def _advise(*, encoding: str, head: bytes) -> str:
    current = codecs.lookup(encoding).name
    others = [other for other in _likely_encodings(head) if codecs.lookup(other).name != current]
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


def normalize(texts: Iterable[str], *, form: Form, name: str) -> Iterator[str]:
    """Yield the pieces of a text in a Unicode normal form: joined, they are that form of the whole.

    What follows the last place where a cut is safe is held back. Raises CharlmError, starting with `name`,
    where more than 4,096 characters in a row offer no such place.
    """
    safe = _safe_cuts(form)
    held = ""
    for piece in texts:
        text = held + piece
        joining = np.flatnonzero(~safe[code_points(text)])
        if np.any(joining[LONGEST_RUN:] - joining[:-LONGEST_RUN] == LONGEST_RUN):
            raise CharlmError(
                f"{name}: more than {LONGEST_RUN:,} combining characters in a row, which {form} cannot take; "
                f"-s corpus.normalize=none leaves them as they are"
            )
        cut = len(text) - 1
        while cut > 0 and not safe[ord(text[cut])]:
            cut -= 1
        held = text[cut:]
        if cut > 0:
            yield unicodedata.normalize(form, text[:cut])
    if held:
        yield unicodedata.normalize(form, held)


@cache
def _safe_cuts(form: Form) -> NDArray[np.bool_]:
    """Tell, bool [code points], before which characters a text may be cut and its parts normalised alone.

    Those whose decomposition starts with a character that is neither reordered (combining class 0) nor able
    to compose with one before it (UAX #15, section 9). A composed character decomposes canonically, so what
    composes with one before it is found behind the first character of some canonical decomposition.
    """
    composing = {c for point in range(CODE_POINTS) for c in unicodedata.normalize("NFD", chr(point))[1:]}
    decomposition: Literal["NFD", "NFKD"] = "NFD" if form == "NFC" else "NFKD"
    firsts = (unicodedata.normalize(decomposition, chr(point))[0] for point in range(CODE_POINTS))
    safe = (first not in composing and not unicodedata.combining(first) for first in firsts)
    return np.fromiter(safe, np.bool_, CODE_POINTS)


def code_points(text: str) -> NDArray[np.uint8] | NDArray[np.uint32]:
    """Return the code points of a text [characters]: uint32, or uint8 where all are ASCII, for speed."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)
