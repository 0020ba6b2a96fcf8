"""The contents of a downloaded file: as it is, or the one file in a .zip or .gz; the size is limited."""

import contextlib
import gzip
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from charlm.errors import CharlmError
from charlm.storage.fetching import FetchError

BLOCK_BYTES = 1 << 20


def unpack(path: Path, *, name: str, limit: int) -> Iterator[bytes]:
    """Yield the contents of a file, block by block.

    Args:
        path: The file.
        name: The name that says what it is: .zip and .gz are unpacked, anything else is taken as it is.
        limit: The most bytes that the contents may have; a small archive can hold a huge file.

    Raises:
        FetchError: while iterating, the file is damaged, or holds other than one file or more than `limit` bytes.
        CharlmError: while iterating, the file cannot be read.

    """
    size = 0
    try:
        with _open(path, name) as file:
            while block := file.read(BLOCK_BYTES):
                size += len(block)
                if size > limit:
                    raise FetchError(f"{name}: unpacks to more than {limit:,} bytes")
                yield block
    except (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise FetchError(f"{name}: damaged: {error}") from None
    except OSError as error:
        raise CharlmError(f"{path}: cannot be read: {error.strerror}") from None


@contextlib.contextmanager
def _open(path: Path, name: str) -> Iterator[IO[bytes]]:
    """Open a file, or the one that it holds; nothing is written under a name from an archive."""
    if name.endswith(".gz"):
        with gzip.open(path) as unpacked:
            yield unpacked  # type: ignore[misc]
    elif name.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) != 1:
                raise FetchError(f"{name}: holds {len(members)} files; must hold one")
            with archive.open(members[0]) as file:
                yield file
    else:
        with path.open("rb") as plain:
            yield plain
