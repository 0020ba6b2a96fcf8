"""Compressed files, by the ends of their names: .gz (gzip) and .zst (Zstandard), decompressed as they are read.

Zstandard is in Python's standard library from 3.14 on. The package backports.zstd is the same module for earlier
versions, and may go with them. A Zstandard frame that needs a window of more than 128 MiB is refused, the limit of the
library.
"""

import gzip
import io
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple


class Compression(NamedTuple):
    """A format of compressed files."""

    name: str
    open: Callable[[BinaryIO], io.BufferedIOBase]
    """Returns the decompressed contents of an open file."""
    errors: tuple[type[Exception], ...]
    """What reading raises if the file is damaged or not complete."""


def find_compression(path: Path) -> Compression | None:
    """Return the format of a file, judged by its name; None = it is not compressed."""
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return Compression("gzip", lambda raw: gzip.GzipFile(fileobj=raw), (EOFError, gzip.BadGzipFile, zlib.error))
    return _zstandard() if suffix == ".zst" else None


def _zstandard() -> Compression:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return Compression("Zstandard", zstd.ZstdFile, (EOFError, zstd.ZstdError))
