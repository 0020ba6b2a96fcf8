"""Files and folders that are either complete or absent: written under a temporary name, synced, then renamed.

The temporary name is `.NAME.PROCESS.tmp`, beside the target. What takes long to prepare has a scratch folder beside it:
its owner holds a lock on it, so that the next start removes it if its owner was killed.
"""

import contextlib
import ctypes
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import gettempdir, mkdtemp

from charlm.errors import CharlmError
from charlm.storage.files import write_all, writing
from charlm.storage.locks import lock_folder

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.\d+\.(?P<kind>tmp|old)")


def sha256(data: bytes | bytearray) -> str:
    """Return the SHA-256 of some bytes in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def exchange(first: Path, second: Path) -> bool:
    """Swap the names of two files or folders in a single step; return False if the system cannot do it (Linux can)."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    names = os.fsencode(first), os.fsencode(second)
    return bool(rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0)


def write_folder(
    target: Path, files: Mapping[str, bytes], *, exchange: Callable[[Path, Path], bool] = exchange
) -> None:
    """Write a folder with these files, replacing an old one in a single step.

    A reader sees the old folder or the new one, each complete; so does the next process after a crash.

    Args:
        target: The folder. Missing folders above it are made.
        files: The contents of the files by name.
        exchange: Swaps two folders, or returns False if it cannot; then the old folder is renamed before the new one
            takes its place, and for a moment there is none.

    Raises:
        CharlmError: the target cannot be renamed, the disk is full, or the place cannot be written; an old
            folder is left as it was.

    """
    check_has_name(target)
    temporary = _temporary(target, "tmp")
    try:
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            remove(temporary)
            temporary.mkdir()
            for name, data in files.items():
                _write_durably(temporary / name, data)
            sync_folder(temporary)
            _put_in_place(temporary, target, exchange)
            sync_folder(target.parent)
    finally:
        remove(temporary)


def check_has_name(target: Path) -> None:
    """Raise CharlmError for a folder that `write_folder` cannot replace: `.`, `..`, and a mount point."""
    if target.name in {"", ".."} or os.path.ismount(target):
        what = "a mount point" if target.name not in {"", ".."} else "not the name of a folder"
        raise CharlmError(f"{target}: is {what}, and the folder is replaced as a whole; name a new folder in it")


def write_file(target: Path, data: bytes) -> None:
    """Write a file, replacing an old one in a single step.

    Args:
        target: The file, in a folder that exists.
        data: Its contents.

    Raises:
        CharlmError: the disk is full, or the place cannot be written; an old file is left as it
            was.

    """
    with open_scratch(target) as write:
        write(data)


@contextlib.contextmanager
def open_scratch(target: Path) -> Iterator[Callable[[bytes], None]]:
    """Write a file in pieces; it takes its place when the block ends without an error.

    Args:
        target: The file. A link is followed.

    Yields:
        A function that writes bytes.

    Raises:
        CharlmError: the file cannot be written, here or in a call of the function; an old file is left as it was.

    """
    place = Path(os.path.realpath(target))
    temporary = _temporary(place, "tmp")
    try:
        remove(temporary)
        with _open_unbuffered(temporary, target) as write:
            yield write
        with writing(target):
            sync_file(temporary)
            temporary.replace(place)
            sync_folder(place.parent)
    finally:
        remove(temporary)


@contextlib.contextmanager
def _open_unbuffered(path: Path, target: Path) -> Iterator[Callable[[bytes], None]]:
    """Yield a function that writes to a path; errors name the target."""

    def write(data: bytes) -> None:
        with writing(target):
            write_all(file, data)

    with writing(target):
        file = path.open("xb", buffering=0)
    with file:
        yield write


def remove(path: Path) -> None:
    """Remove a file, or a folder and its contents, if it exists; what cannot be removed is left without an error."""
    with contextlib.suppress(OSError):
        path.unlink()
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)  # a read-only folder could be replaced, but not be emptied
    shutil.rmtree(path, ignore_errors=True)


def remove_folder(folder: Path, *, remove: Callable[[Path], None] = remove) -> None:
    """Remove a folder, if it exists, in a single step: a reader sees all of it or nothing.

    Args:
        folder: The folder, which is renamed first.
        remove: Removes what has been renamed.

    """
    temporary = _temporary(folder, "tmp")
    with contextlib.suppress(OSError):
        remove(temporary)
        folder.rename(temporary)
    remove(temporary)


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process has left in a folder under temporary names.

    An old folder that had been renamed, and that no new one has replaced, gets its name back. Only the process that
    holds the lock of the folder may call this: it would remove what another process is writing.
    """
    for path in list(folder.glob(".*")):
        found = _TEMPORARY.fullmatch(path.name)
        if found is None:
            continue
        target = path.with_name(found["name"])
        if found["kind"] == "old" and not target.exists():
            path.rename(target)
        remove(path)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Wait until the contents of a file are on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _temporary(target: Path, kind: str) -> Path:
    return target.with_name(f".{_clipped(target)}.{os.getpid()}.{kind}")


def _clipped(target: Path) -> str:
    """Return as much of a name as leaves room for what temporary names add; a name has 255 bytes at most."""
    return os.fsdecode(os.fsencode(target.name)[:NAME_BYTES])


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("xb") as file:  # does not follow a link
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _put_in_place(new: Path, target: Path, exchange: Callable[[Path, Path], bool]) -> None:
    """Rename `new` to `target`; if a folder is there already, `new` then holds the old one."""
    if not target.exists():
        new.rename(target)
    elif not exchange(new, target):
        old = _temporary(target, "old")
        target.rename(old)
        new.rename(target)
        remove(old)


PREFIX, SUFFIX = ".charlm-", ".tmp"
NAME_BYTES = 200


@contextlib.contextmanager
def scratch_folder(target: Path, *, shown: Path | None = None) -> Iterator[Path]:
    """Make a folder beside `target` for the length of a block; remove those that killed processes have left there.

    Args:
        target: What the folder is for; the folder that holds it must exist.
        shown: What an error of charlm names in place of the folder, which the user does not know; None = the target.

    Yields:
        The folder, empty.

    Raises:
        OSError: the folder cannot be made.

    """
    remove_abandoned(target)
    folder, lock = _make(target)
    try:
        yield folder
    except CharlmError as error:
        error.args = tuple(str(part).replace(str(folder), str(shown or target)) for part in error.args)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder among the temporary files of the system for the length of a block, as `scratch_folder` does.

    Raises:
        CharlmError: it cannot be made.

    """
    with contextlib.ExitStack() as stack:
        with writing(Path(os.environ.get("TMPDIR", "/tmp"))):
            place = Path(gettempdir())
            folder = stack.enter_context(scratch_folder(place / "scratch", shown=place))
        yield folder


def remove_abandoned(target: Path) -> None:
    """Remove the scratch folders of a target whose processes have ended; what cannot be removed is left."""
    pattern = re.compile(rf"{re.escape(_prefix(target))}[a-z0-9_]{{8}}{re.escape(SUFFIX)}")
    with contextlib.suppress(OSError):
        for path in [path for path in target.parent.iterdir() if pattern.fullmatch(path.name)]:
            with contextlib.suppress(OSError, CharlmError):
                lock = lock_folder(path)
                if lock is not None:
                    shutil.rmtree(path, ignore_errors=True)
                    os.close(lock)


def _make(target: Path) -> tuple[Path, int]:
    """Return a new folder and the descriptor of its lock."""
    while True:
        folder = Path(mkdtemp(prefix=_prefix(target), suffix=SUFFIX, dir=target.parent))
        with contextlib.suppress(OSError):  # another process has taken it for abandoned
            lock = lock_folder(folder)
            if lock is not None and folder.is_dir():
                return folder, lock


def _prefix(target: Path) -> str:
    return f"{PREFIX}{_clipped(target)}-"
