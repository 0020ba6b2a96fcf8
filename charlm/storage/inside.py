"""The files inside a folder of charlm, opened for writing: no link is followed, so nothing outside the folder changes.

The folder itself is named by the user and may be reached by a link.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePath

from charlm.errors import CharlmError


def refuse_links(root: Path, *names: str) -> None:
    """Raise CharlmError if one of some paths, or a folder on the way to it, is a link.

    Args:
        root: The folder that holds the paths; it may be a link.
        names: Paths relative to `root`; a missing one is no error.

    """
    for name in names:
        path = root
        for part in PurePath(name).parts:
            path /= part
            if path.is_symlink():
                raise CharlmError(f"{path}: is a link; must be the file or folder itself: charlm writes to it")


def open_inside(root: Path, name: str, flags: int) -> int:
    """Open a regular file for writing, without following a link below a folder and without waiting.

    Args:
        root: The folder; it may be a link.
        name: The path of the file relative to `root`.
        flags: As for `os.open`, for instance os.O_WRONLY | os.O_CREAT.

    Returns:
        A file descriptor.

    Raises:
        CharlmError: the file, or a folder on the way to it, is a link; the file is a folder, a device or a pipe, or has
            a second name (a hard link), which could be outside; or it cannot be opened.

    """
    path = root / name
    try:
        with _open_parent(root, name) as parent:
            descriptor = os.open(path.name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666, dir_fd=parent)
    except OSError as error:
        refuse_links(root, name)
        raise CharlmError(f"{path}: cannot be written: {error.strerror}") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise CharlmError(f"{path}: is not a regular file")
        if found.st_nlink > 1:
            raise CharlmError(f"{path}: is one file with {found.st_nlink} names (hard links); put a copy in its place")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def remove_inside(root: Path, name: str) -> None:
    """Remove a file, or a link instead of what it leads to; a missing one is no error.

    Args:
        root: The folder; it may be a link.
        name: The path of the file relative to `root`.

    Raises:
        CharlmError: a folder on the way to the file is a link, or the file cannot be removed.

    """
    path = root / name
    try:
        with contextlib.suppress(FileNotFoundError), _open_parent(root, name) as parent:
            os.unlink(path.name, dir_fd=parent)  # pathlib has no dir_fd
    except OSError as error:
        refuse_links(root, str(PurePath(name).parent))
        raise CharlmError(f"{path}: cannot be removed: {error.strerror}") from error


@contextlib.contextmanager
def _open_parent(root: Path, name: str) -> Iterator[int]:
    """Yield a descriptor of the folder of a path; a link below `root` raises OSError."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in PurePath(name).parent.parts:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)
