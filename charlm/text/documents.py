"""Sources named by the user -> documents, read block by block and decompressed if their names end in .gz.

A source is a file, a folder, a glob pattern or standard input. Decoding the bytes is left to `charlm.text.decoding`.
"""

import gzip
import os
import shutil
import stat
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from charlm.errors import CharlmError

BLOCK_BYTES = 1 << 20
STANDARD_INPUT = "-"

Advance = Callable[[int], object]
"""Is called with the number of bytes of a file that have been read since the last call."""


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
