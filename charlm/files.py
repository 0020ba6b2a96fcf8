"""Files that are either whole or not there: written aside, flushed to the disk, then renamed. Logs that grow.

What is written aside is called `.NAME.PROCESS.tmp` and stands beside its target.
"""

import contextlib
import ctypes
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from io import FileIO
from pathlib import Path

from charlm.errors import CharlmError

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_ASIDE = re.compile(r"\.(?P<name>.+)\.\d+\.(?P<kind>tmp|old)")


def sha256(data: bytes) -> str:
    """Return the SHA-256 of some bytes in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn an OSError in the block into a CharlmError that names the target and the reason."""
    try:
        yield
    except OSError as error:
        raise CharlmError(f"{target}: cannot be written: {error.strerror}") from error


def write_folder(target: Path, files: Mapping[str, bytes]) -> None:
    """Put a folder of these files at `target`, replacing one that is there in a single step.

    A reader, or a crash at any moment, finds the old folder or the new one, each whole. Raises CharlmError
    where the disk is full or the place cannot be written; what was there before is left as it was.
    """
    aside = _aside(target, "tmp")
    try:
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            _remove(aside)
            aside.mkdir()
            for name, data in files.items():
                _write_durably(aside / name, data)
            sync_folder(aside)
            _put_in_place(aside, target)
            sync_folder(target.parent)
    finally:
        _remove(aside)


def write_file(target: Path, data: bytes) -> None:
    """Put a file at `target`, replacing one that is there in a single step; raises CharlmError like a folder."""
    aside = _aside(target, "tmp")
    try:
        with writing(target):
            _write_durably(aside, data)
            aside.replace(target)
            sync_folder(target.parent)
    finally:
        _remove(aside)


@contextlib.contextmanager
def open_aside(target: Path) -> Iterator[Callable[[bytes], None]]:
    """Give a function that writes to what becomes the file `target` when the block ends without an error.

    A link is followed; a pipe or a device is written at once. Raises CharlmError where it cannot be written.
    """
    if target.exists() and not target.is_file():
        with _opened(target, target) as write:
            yield write
        return
    place = Path(os.path.realpath(target))
    aside = _aside(place, "tmp")
    try:
        with _opened(aside, target) as write:
            yield write
        with writing(target):
            _sync_file(aside)
            aside.replace(place)
            sync_folder(place.parent)
    finally:
        _remove(aside)


@contextlib.contextmanager
def _opened(path: Path, target: Path) -> Iterator[Callable[[bytes], None]]:
    """Give a function that writes to a path, without a buffer; errors name the target."""

    def write(data: bytes) -> None:
        with writing(target):
            _write_all(file, data)

    with writing(target):
        file = path.open("wb", buffering=0)
    with file:
        yield write


def remove_folder(folder: Path) -> None:
    """Remove a folder and what is in it, if it is there: it is whole to the last and then gone."""
    aside = _aside(folder, "tmp")
    with contextlib.suppress(OSError):
        _remove(aside)
        folder.rename(aside)
    _remove(aside)


def remove_leftovers(folder: Path) -> None:
    """Remove from a folder what a process that was killed has left aside.

    What it was about to replace, where it could not do that in one step, goes back to its place. Only for the
    one process that may write there: it would take away what another one is writing.
    """
    for path in list(folder.glob(".*")):
        found = _ASIDE.fullmatch(path.name)
        if found is None:
            continue
        target = path.with_name(found["name"])
        if found["kind"] == "old" and not target.exists():
            path.rename(target)
        _remove(path)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Log:
    """A file that grows by whole records: nothing of one that fails stays. Raises CharlmError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with writing(path):
            self._file = path.open("ab", buffering=0)

    def write(self, record: bytes) -> None:
        """Append a record."""
        size = self.size
        try:
            with writing(self.path):
                _write_all(self._file, record)
        except BaseException:
            self._file.truncate(size)
            raise

    def sync(self) -> None:
        """Wait until all records are on the disk."""
        with writing(self.path):
            os.fsync(self._file.fileno())

    @property
    def size(self) -> int:
        """The bytes written, those of earlier processes included."""
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _write_all(file: FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or 0 :]


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _aside(target: Path, kind: str) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.{kind}")


def _remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    with contextlib.suppress(OSError):
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _put_in_place(new: Path, target: Path) -> None:
    """Rename `new` to `target`; where a folder is there already, `new` then holds the old one."""
    if not target.exists():
        new.rename(target)
    elif not _exchange(new, target):
        old = _aside(target, "old")
        target.rename(old)  # no exchange on this system: for a moment there is no folder
        new.rename(target)
        _remove(old)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two folders in one step; False where the system has no such call (it is Linux's)."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    names = os.fsencode(first), os.fsencode(second)
    return bool(rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0)
