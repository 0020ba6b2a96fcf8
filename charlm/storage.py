"""Read untrusted files safely, write files and folders atomically, and lock folders.

A file or a folder is written under the temporary name `.RANDOM.NAME.tmp` next to its target,
synced, and renamed, so that a reader or a crash never sees half of it. The operating system
releases the lock of a folder when its process ends, even if it is killed.
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedReader, FileIO
from pathlib import Path

from charlm.errors import CharlmError

MAX_NAME = 60
"""Maximum number of characters of a name that are kept in its temporary name."""
TEMPORARY = f".{8 * '[0-9a-f]'}.*.tmp"
"""Pattern of temporary names; folders of other programs should not match it."""


class UnreadableError(CharlmError):
    """A file cannot be read, for lack of permission or because a later version wrote it."""


def read_file(path: Path, *, limit: int) -> bytes:
    """Return the contents of a regular file.

    Args:
        path: Path of the file.
        limit: Largest size in bytes, 0 or more.

    Raises:
        CharlmError: The file is larger than `limit`, or is a device or a pipe.
        UnreadableError: The file is missing, is a folder, or cannot be read.

    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise CharlmError(f"{path}: {size:,} bytes; must be at most {limit:,}")
        return file.read(size)  # read(limit) would allocate `limit` bytes


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[BufferedReader]:
    """Open a regular file for reading.

    Raises:
        CharlmError: The file is a device or a pipe.
        UnreadableError: The file is missing, is a folder, or cannot be opened; or an OSError occurs
            in the block.

    """
    with reading(path), open(path, "rb", opener=_open_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise CharlmError(f"{path}: not a regular file")
        yield file


def _open_without_waiting(name: str, mode: int) -> int:
    return os.open(name, mode | os.O_NONBLOCK)  # else a pipe would wait for its writer


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn an OSError in the block into an UnreadableError that names the file and the reason."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)  # the OSError of a library may have no strerror
        raise UnreadableError(f"{path}: cannot be read: {reason}") from None


def printable(path: Path) -> str:
    """Return the name of a file as valid Unicode; file systems allow any bytes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a regular file in hexadecimal digits; see `open_file` for errors."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class UnwritableError(CharlmError):
    """A file or a folder cannot be written, for example because the disk is full."""


@contextlib.contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn an OSError in the block into an UnwritableError that names the target and the reason.

    The block contains only operations on files: an OSError of anything else, for instance of a
    caller's function, would get a wrong message.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnwritableError(f"{target}: cannot be written: {reason}") from None


def write_file(target: Path, data: bytes | memoryview) -> None:
    """Write a file; an old file is replaced atomically.

    Args:
        target: Path of the file, in an existing folder. A link is followed.
        data: Contents.

    Raises:
        CharlmError: The disk is full, the folder cannot be written, or `target` is not a file; an
            old file is unchanged.

    """
    path = Path(os.path.realpath(target))
    with writing(target):
        if path.exists() and not path.is_file():
            raise CharlmError(f"{target}: not a regular file; choose another")
        temporary = _temporary_path(path)
        try:
            with new_file(temporary, target=target) as write:
                write(data)
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_file(path: Path, *, target: Path) -> Iterator[Callable[[bytes | memoryview], None]]:
    """Write a file in place in the block, and wait until it is on the disk.

    Args:
        path: Path of the file.
        target: Path to name in an error.

    Yields:
        A function that writes bytes at the end of the file, and raises CharlmError if that fails.

    """
    with writing(target):
        file = path.open("wb", buffering=0)  # with a buffer, closing it could fail, too

    def write(data: bytes | memoryview) -> None:
        rest = memoryview(data).cast("B")
        with writing(target):
            while len(rest):
                rest = rest[file.write(rest) :]

    with file:
        yield write
        with writing(target):
            os.fsync(file.fileno())


def check_free(target: Path) -> None:
    """Check that a new folder can be made; a link is followed.

    Raises:
        CharlmError: The path exists and is not an empty folder, or it is the working directory or a
            mount point.

    """
    path = Path(os.path.realpath(target))
    with writing(target):
        if not path.exists():
            return
        if not path.is_dir() or any(path.iterdir()):
            raise CharlmError(f"{target}: already exists; choose a new or empty folder")
        if path.is_mount() or path.samefile(Path.cwd()):
            raise CharlmError(
                f"{target}: the working directory or a mount point; choose a new folder in it"
            )


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Make a folder that is complete when it appears.

    The block fills a temporary folder next to the target, which is synced and renamed at the end.
    If the block fails, the temporary folder is removed, and the target is unchanged. Temporary
    folders of killed processes next to the target are removed if they have a lock.

    Args:
        target: Path of the folder, which must be new or empty. Missing parents are made. A link to
            an empty folder is followed.

    Yields:
        The temporary folder. The block must sync the files that it writes.

    Raises:
        CharlmError: `check_free` refuses the target, at the start or at the end; or the folder
            cannot be written, also in the block; the message then names the target.

    """
    path = Path(os.path.realpath(target))
    check_free(target)
    temporary = _temporary_path(path)
    with writing(target):
        path.parent.mkdir(parents=True, exist_ok=True)
        for lock in path.parent.glob(f"{TEMPORARY}/{LOCK}"):
            if not is_held(lock.parent):  # its process was killed
                shutil.rmtree(lock.parent, ignore_errors=True)
        temporary.mkdir()
    try:
        yield temporary
        with writing(target):
            sync_folder(temporary)
            try:
                temporary.rename(path)
            except OSError:
                check_free(target)  # another process may have been faster
                raise
            sync_folder(path.parent)
    except UnwritableError as error:
        raise UnwritableError(str(error).replace(str(temporary), str(target))) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary_path(path: Path) -> Path:
    """Return a new path under which a file or a folder is written before it is renamed."""
    return path.with_name(f".{secrets.token_hex(4)}.{path.name[:MAX_NAME]}.tmp")


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with its contents, if it exists; raises OSError."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files and folders of killed processes.

    No other process may be writing here at the time.
    """
    for path in folder.glob(TEMPORARY):
        remove(path)


def sync_folder(folder: Path) -> None:
    """Wait until the entries of a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a temporary folder for the duration of the block; raises OSError."""
    with tempfile.TemporaryDirectory(prefix="charlm-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


LOCK = ".lock"
"""Name of the lock file in the folder of a run or a search."""
TRIES, PAUSE_SECONDS = 100, 0.01
"""Number of times that a writer tries to take a lock, which `is_held` may hold for a moment."""


@dataclass(frozen=True)
class Lock:
    """The lock of a folder that only this process writes."""

    file: FileIO

    def check(self, folder: Path) -> None:
        """Raise CharlmError unless the locked folder is at this path."""
        path = folder / LOCK
        with reading(path):
            is_here = path.exists() and os.path.samestat(os.fstat(self.file.fileno()), path.stat())
        if not is_here:
            raise CharlmError(
                f"{folder}: was moved, removed or replaced in the meantime; nothing more is written"
            )


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[Lock]:
    """Hold the lock of the folder of a run or a search for the duration of the block.

    The lock stays with the folder if the folder is renamed.

    Args:
        folder: The folder.

    Raises:
        CharlmError: Another process holds the lock or has removed the folder; or the folder cannot
            be written, or its file system has no locks.

    """
    path = folder / LOCK
    with contextlib.ExitStack() as stack:
        with writing(path):
            file = stack.enter_context(path.open("ab", buffering=0))
            for _ in range(TRIES):
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                time.sleep(PAUSE_SECONDS)
            else:
                raise CharlmError(
                    f"{folder}: another process is training here; wait for it, or choose another "
                    "folder"
                )
        lock = Lock(file)
        lock.check(folder)
        yield lock


def is_held(run: Path) -> bool:
    """Return whether a running process holds the lock of a run folder."""
    try:
        with open(run / LOCK, opener=_open_without_waiting) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no lock file, or a file system without locks
        return False
    return False


CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.jsonl"


def is_run(folder: Path) -> bool:
    """Return whether a folder is a run."""
    # Path.is_file raises OSError for some paths, and one such path would hide all other runs.
    return all(os.path.isfile(folder / name) for name in (CONFIG_FILE, METRICS_FILE))  # noqa: PTH113
