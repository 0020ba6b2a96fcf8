"""Scratch folders that do not stay behind: removed when they are done with, and by the next start if that was killed.

A scratch folder is a hidden folder beside what it is for, so that a rename can put the result in its place. Its owner
holds a lock on it. A folder whose lock nobody holds belongs to a process that has ended.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

from charlm.errors import CharlmError
from charlm.storage.locks import lock_folder

PREFIX, SUFFIX = ".charlm-", ".tmp"


@contextlib.contextmanager
def scratch_folder(target: Path) -> Iterator[Path]:
    """Make a folder beside `target` for the length of a block; remove those that killed processes have left there.

    Args:
        target: What the folder is for; the folder that holds it must exist.

    Yields:
        The folder, empty.

    Raises:
        OSError: the folder cannot be made.

    """
    remove_abandoned(target)
    folder, lock = _make(target)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


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
    return f"{PREFIX}{target.name}-"
