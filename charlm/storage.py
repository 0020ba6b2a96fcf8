"""Files and folders: read so that a pipe or a size does no harm, and written whole or not at all.

A file or a folder is written under the temporary name `.PROCESS.NAME.tmp` next to its target, synced, and then renamed:
a reader sees the old contents or the new ones, and so does the next process after a crash. PROCESS is the number of the
process that writes. The lock of a folder is released by the operating system when a process ends, even if it is killed.
"""

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from io import BufferedReader, FileIO
from itertools import islice
from pathlib import Path

from charlm.errors import CharlmError
from charlm.wording import nearest

MAX_NAME = 40
"""The number of characters of a name that its temporary name keeps, which must not become too long."""
MAX_NAMES_COMPARED = 2000
"""The number of names in a folder that are compared with a missing one."""
TEMPORARY_NAME = re.compile(r"\.(?P<process>[0-9]+)\.(?P<name>.+)\.tmp", re.DOTALL)


class UnreadableError(CharlmError):
    """A file cannot be read, for instance for lack of permission, so its contents are unknown."""


def read_file(path: Path, *, limit: int) -> bytes:
    """Return the contents of a regular file.

    Args:
        path: The file.
        limit: Largest size in bytes, 0 or more.

    Raises:
        CharlmError: the file is larger than `limit`, a device or a pipe; the message starts with the path.
        UnreadableError: it is missing, a folder, or cannot be read.

    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise CharlmError(f"{path}: {size:,} bytes; must be at most {limit:,}")
        return file.read(size)  # allocates as many bytes as it is asked for


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[BufferedReader]:
    """Open a regular file for reading as a stream.

    Args:
        path: The file.

    Yields:
        The open file.

    Raises:
        CharlmError: the file is a device or a pipe.
        UnreadableError: it is missing, a folder, or cannot be opened; or an OSError occurs in the block.

    """
    with (
        reading(path),
        open(path, "rb", opener=lambda name, mode: os.open(name, mode | os.O_NONBLOCK)) as file,
    ):
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise CharlmError(f"{path}: is not a regular file")
        yield file


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn an OSError in the block into an UnreadableError that names the file and the reason."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)  # an OSError of a library may have no number
        raise UnreadableError(f"{path}: cannot be read: {reason}") from None


def near_file_hint(path: Path, *, suits: Callable[[Path], bool] = lambda _: True) -> str:
    """Return "; did you mean NAME?" with the most similar name in the folder of a missing file, or "".

    Args:
        path: The missing file or folder.
        suits: Returns whether a file or folder is of the kind that is missing.

    """
    with contextlib.suppress(OSError, ValueError), os.scandir(path.parent) as entries:
        names = [entry.name for entry in islice(entries, MAX_NAMES_COMPARED) if suits(Path(entry))]
        near = nearest(
            path.name, [name for name in names if not name.startswith(".")], similarity=0.7
        )
        if near is not None:
            return f"; did you mean {path.with_name(near)}?"
    return ""


def printable(path: Path) -> str:
    """Return the name of a file as text that UTF-8 can encode; file systems allow any bytes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a regular file in hexadecimal digits, whatever its size; raises CharlmError as above."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn an OSError in the block into a CharlmError that names the target and the reason."""
    try:
        yield
    except OSError as error:
        raise CharlmError(f"{target}: cannot be written: {error.strerror}") from error


def write_file(target: Path, data: bytes | Iterable[bytes]) -> None:
    """Write a file, replacing an old one in a single step.

    Args:
        target: The file, in a folder that exists. A link is followed.
        data: Its contents, whole or in chunks.

    Raises:
        CharlmError: the disk is full, the place cannot be written, or something other than a file is there; an old
            file is left as it was.

    """
    place = Path(os.path.realpath(target))
    temporary = _temporary_path(place)
    with writing(target):
        if place.exists() and not place.is_file():
            raise CharlmError(f"{target}: is not a regular file; name another")
        try:
            write_synced(temporary, [data] if isinstance(data, bytes) else data)
            temporary.replace(place)
            sync_folder(place.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_synced(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file in place, and wait until it is on the disk; raises OSError."""
    with path.open("wb") as file:
        file.writelines(chunks)
        file.flush()
        os.fsync(file.fileno())


def check_free(target: Path) -> None:
    """Check that a new folder can be put somewhere.

    Args:
        target: The folder; a link is followed.

    Raises:
        CharlmError: something is there that is not an empty folder, or the folder cannot be replaced because it is
            the working directory or a mount point.

    """
    place = Path(os.path.realpath(target))
    with writing(target):
        if not place.exists():
            return
        if not place.is_dir() or any(place.iterdir()):
            raise CharlmError(
                f"{target}: exists already; give a new or an empty folder, or delete this one"
            )
        if place.is_mount() or place.samefile(Path.cwd()):
            raise CharlmError(
                f"{target}: is the working directory or a mount point; name a new folder in it"
            )


@contextlib.contextmanager
def new_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Make a folder that is complete when it appears.

    The block fills a temporary folder next to the target. When the block ends, the folder is synced and renamed. If the
    block fails, all of it is removed, and the target is unchanged.

    Args:
        target: The folder. It must be missing or empty, unless it is replaced. Missing parents are made. A link to an
            empty folder is followed.
        replace: Whether a folder, file or link at the target is removed when the block has ended. The folder that a
            link leads to stays.

    Yields:
        The temporary folder. The block syncs the files that it writes there.

    Raises:
        CharlmError: `check_free` refuses the target, now or because another process was faster; or an OSError occurs in
            the block.

    """
    place = target if replace else Path(os.path.realpath(target))
    with writing(target), contextlib.ExitStack() as undo:
        if not replace:
            check_free(target)
        temporary = _temporary_path(place)
        made = _make_parents(place, undo)
        _remove_abandoned(place)
        undo.callback(_try_to_remove, temporary)
        temporary.mkdir()
        yield temporary
        sync_folder(temporary)
        if replace:
            remove(place)
        try:
            temporary.rename(place)
        except OSError:
            check_free(target)  # another process may have been faster
            raise
        undo.pop_all()  # from here on, the folder stays
        for path in (place, *made):
            sync_folder(path.parent)


def _temporary_path(place: Path) -> Path:
    """Return where this process writes a file or a folder before it is renamed to its place."""
    return place.with_name(f".{os.getpid()}.{place.name[:MAX_NAME]}.tmp")


def _make_parents(path: Path, undo: contextlib.ExitStack) -> list[Path]:
    """Make the missing parents of a path, to be removed again by `undo` if they are empty then; return them."""
    made = [parent for parent in reversed(path.parents) if not parent.exists()]
    for parent in made:
        undo.callback(_try_to_remove_empty, parent)
        parent.mkdir(exist_ok=True)
    return made


def _remove_abandoned(place: Path) -> None:
    """Remove the temporary folders for a target that killed processes have left."""
    for path in place.parent.iterdir():
        found = TEMPORARY_NAME.fullmatch(path.name)
        if (
            found is None
            or found["name"] != place.name[:MAX_NAME]
            or path.is_symlink()
            or not path.is_dir()
        ):
            continue
        process = int(found["process"])
        if process == os.getpid() or not _is_running(
            process
        ):  # an earlier process may have had our number
            _try_to_remove(path)


def _is_running(process: int) -> bool:
    """Return whether there is a process of some number."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it belongs to another user
        return True
    return True


def _try_to_remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        remove(path)


def _try_to_remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder and its contents, if there is one; raises OSError."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files and folders that killed processes have left in a folder, which has no other writer now."""
    for path in folder.glob(".[0-9]*.tmp"):
        remove(path)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder among the temporary files of the system for the length of a block; raises OSError."""
    with tempfile.TemporaryDirectory(prefix="charlm-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


class Log:
    """A file that grows by complete records: of a record that cannot be written, nothing stays in the file.

    Args:
        path: The file; it is made if it is missing.

    Raises:
        CharlmError: the file cannot be opened for writing.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with writing(path):
            self._file = path.open("ab", buffering=0)

    def write(self, record: bytes) -> None:
        """Append a record; raises CharlmError if it cannot be written."""
        size = os.fstat(self._file.fileno()).st_size
        try:
            with writing(self.path):
                _write_all(self._file, record)
        except BaseException:
            self._file.truncate(size)
            raise

    def sync(self) -> None:
        """Wait until all records are on the disk; raises CharlmError if they cannot be written."""
        with writing(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _write_all(file: FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or 0 :]


LOCK = ".lock"
"""The lock of the folder of a run or a search, which has one writer."""
PATIENCE_SECONDS = 1.0
"""How long a writer waits for a lock: `is_held` takes it for an instant."""


@contextlib.contextmanager
def only_writer(folder: Path, *, clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Hold the lock of the folder of a run or a search for the length of a block.

    Args:
        folder: The folder.
        clock: Returns the time in seconds.

    Raises:
        CharlmError: another process holds the lock for longer than a second, and the message names it; or that process
            has removed the folder; or the folder cannot be written, or its file system has no locks.

    """
    path = folder / LOCK
    end = clock() + PATIENCE_SECONDS
    with contextlib.ExitStack() as stack:
        with writing(path):
            file = stack.enter_context(path.open("a+b", buffering=0))
            while not _lock(file):
                if clock() > end:
                    holder = _read_holder(file)
                    raise CharlmError(
                        f"{folder}: {holder} is training here; wait for it, or name another folder"
                    )
                time.sleep(0.01)
            if not path.exists() or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
                raise CharlmError(f"{folder}: was removed by another process meanwhile; try again")
        with contextlib.suppress(
            OSError
        ):  # the name of the holder is for messages only, and the disk may be full
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}\n".encode())
        yield


def _lock(file: FileIO) -> bool:
    """Take the lock of a file; return False if another process holds it."""
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_holder(file: FileIO) -> str:
    """Return which process holds a lock, as it has written into the file."""
    file.seek(0)
    holder = file.read(200) or b""
    return holder.decode("utf-8", "replace").strip() or "another process"


def is_held(run: Path) -> bool:
    """Return whether a running process holds the lock of a run folder; one that cannot be looked at is not held."""
    try:
        with (run / LOCK).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:  # another error: no lock, or a file system without locks
        return isinstance(error, BlockingIOError)
    return False
