"""Files that are either whole or not there: written aside, flushed to the disk, then renamed."""

import contextlib
import ctypes
import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from charlm.errors import CharlmError

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def sha256(data: bytes) -> str:
    """Return the SHA-256 of some bytes in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def write_folder(target: Path, files: Mapping[str, bytes]) -> None:
    """Put a folder of these files at `target`, replacing one that is there in a single step.

    A reader, or a crash at any moment, finds the old folder or the new one, each whole. Raises CharlmError
    where the disk is full or the place cannot be written; what was there before is left as it was.
    """
    aside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_folder(aside)
        aside.mkdir()
        for name, data in files.items():
            _write_durably(aside / name, data)
        sync_folder(aside)
        _put_in_place(aside, target)
        sync_folder(target.parent)
    except OSError as error:
        raise CharlmError(f"{target}: cannot be written: {error.strerror}") from error
    finally:
        remove_folder(aside)


def write_file(target: Path, data: bytes) -> None:
    """Put a file at `target`, replacing one that is there in a single step; raises CharlmError like a folder."""
    aside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        _write_durably(aside, data)
        aside.replace(target)
        sync_folder(target.parent)
    except OSError as error:
        raise CharlmError(f"{target}: cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder and what is in it, if it is there."""
    shutil.rmtree(folder, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
        old = target.with_name(f".{target.name}.{os.getpid()}.old")
        target.rename(old)  # no exchange on this system: for a moment there is no folder
        new.rename(target)
        remove_folder(old)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two folders in one step; False where the system has no such call (it is Linux's)."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    names = os.fsencode(first), os.fsencode(second)
    return bool(rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0)
