"""Runs with faults at random moments and at every write end with the same weights.

The engine is the fake one. Faults are a killed process, a power failure, and a failing system call:
one that opens, renames, creates, truncates, removes or synchronises a file or folder of the run.
After a power failure, a file has the contents, and a folder the names, of its last synchronisation.
"""

import errno
import itertools
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from fake_engine import Faults
from fake_runs import Trained, begin, resume, train

from charlm.core.model_file import read_model
from charlm.errors import CharlmError
from charlm.events import Started
from charlm.storage import is_run

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/fd")
OVERRIDES = ("training.steps=20", "sampling.length=4")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
WATCHERS: list[Callable[[], object]] = []
STARTS = [
    pytest.param(0, marks=pytest.mark.slow),
    *(pytest.param(n, marks=pytest.mark.nightly) for n in (1, 2)),
]
starts = pytest.mark.parametrize("start", STARTS)
"""Every third write is tried, from this one on: all of them at night."""


def hook(event: str, arguments: tuple[Any, ...]) -> None:
    """Tell the watcher of a call that writes, before it."""
    is_write = event in {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}
    is_write |= (
        event == "open" and not isinstance(arguments[0], int) and bool(arguments[2] & WRITES)
    )
    if WATCHERS and is_write:
        watcher = WATCHERS.pop()  # which makes such calls itself
        try:
            watcher()
        finally:
            WATCHERS.append(watcher)


sys.addaudithook(hook)


class Disk:
    """The synchronised contents of a folder, which survive a power failure."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: dict[int, bytes] = {}
        """The contents of files by inode."""
        self.folders: dict[int, dict[str, tuple[int, bool]]] = {}
        """The entries of folders by inode: inode and whether it is a folder, by name."""
        self.descriptors: list[int] = []
        """Open descriptors, so that no inode is used again."""
        for path in (root, *root.iterdir()):
            descriptor = os.open(path, os.O_RDONLY)
            self.synchronise(descriptor)
            os.close(descriptor)

    def synchronise(self, descriptor: int) -> None:
        """Record the present contents of a file or folder."""
        self.descriptors.append(os.dup(descriptor))
        number, path = os.fstat(descriptor).st_ino, Path(f"/proc/self/fd/{descriptor}").resolve()
        if path.is_dir():
            self.folders[number] = {
                entry.name: (entry.inode(), entry.is_dir()) for entry in os.scandir(path)
            }
        else:
            self.files[number] = Path(f"/proc/self/fd/{descriptor}").read_bytes()

    def rebuild(
        self,
        target: Path,
        number: int | None = None,
    ) -> Path:
        """Write the contents after a power failure to a new folder."""
        target.mkdir()
        if number is None:
            number = self.root.stat().st_ino
        for name, (inode, is_folder) in self.folders.get(number, {}).items():
            if is_folder:
                self.rebuild(target / name, inode)
            else:
                (target / name).write_bytes(self.files.get(inode, b""))
        return target


@contextmanager
def watching(
    watcher: Callable[[], object], monkeypatch: pytest.MonkeyPatch, disk: Disk
) -> Iterator[None]:
    """Call a function before each call that writes."""

    def fsync(descriptor: int) -> None:
        hook("os.truncate", ())
        disk.synchronise(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        WATCHERS.append(watcher)
        try:
            yield
        finally:
            WATCHERS.clear()
            for descriptor in disk.descriptors:
                os.close(descriptor)


def train_in(root: Path, saved: list[int]) -> Trained:
    """Start or resume the run of a folder, train it, and append the saved steps to a list."""
    if not is_run(root / "run"):
        shutil.rmtree(root / "run", ignore_errors=True)
        begin(root / "run", *OVERRIDES, text=root / "text.txt")
    saved.append(0)

    def record(step: int) -> None:
        saved.append((step - 1) // 4 * 4)  # a checkpoint every 4 steps

    return resume(root / "run", faults=Faults(after_call=record))


def copy_text(reference: Trained, root: Path) -> Path:
    """Copy the text of a run to a new folder, and return the folder."""
    root.mkdir()
    return Path(shutil.copy(reference.folder.parent / "text.txt", root)).parent


def check_continues(
    root: Path,
    reference: Trained,
    saved_step: int | None,
) -> None:
    """Check that a run continues from its last saved step and ends like the reference."""
    for model in root.glob("run/*.safetensors"):
        read_model(model)
    assert saved_step is None or is_run(root / "run")
    trained = train_in(root, [])
    first, *_ = [event.step for event in trained.of_type(Started)] or [trained.outcome.step]
    assert first >= (saved_step or 0)
    assert trained.files().items() >= reference.files().items()  # and perhaps checkpoints
    assert trained.repeatable_metrics == reference.repeatable_metrics
    left = [path for path in root.rglob(".*") if path.is_file() or any(path.iterdir())]
    assert left == [root / "run/.lock"]  # and an empty folder, if it was killed before its lock


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train without interruption."""
    return train(tmp_path_factory.mktemp("writes") / "run", *OVERRIDES)


@linux
@starts
@pytest.mark.parametrize("cause", ["killed", "without power"])
def test_a_run_that_ends_before_any_write_continues(
    cause: str, start: int, reference: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = copy_text(reference, tmp_path / "root")
    disk = Disk(root)
    numbers = itertools.count(-start)
    saved: list[int] = []
    copies: dict[Path, int | None] = {}

    def copy_some() -> None:
        if next(numbers) % 3:
            return
        target = tmp_path / f"copy-{len(copies)}"
        if cause == "killed":
            shutil.copytree(root, target)
        else:
            disk.rebuild(target)
        copies[target] = saved[-1] if saved else None

    with watching(copy_some, monkeypatch, disk):
        train_in(root, saved)
    assert len(copies) > 25
    for copy, step in copies.items():
        check_continues(copy, reference, step)


@linux
@starts
def test_a_run_continues_after_a_failed_write(
    start: int, reference: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, has_failed = start, True
    while has_failed:
        root = copy_text(reference, tmp_path / f"{number}")
        saved: list[int] = []
        countdown = iter(range(number, -1, -1))
        code = errno.EIO if number % 2 else errno.ENOSPC

        def fail_once(countdown: Iterator[int] = countdown, code: int = code) -> None:
            if next(countdown, None) == 0:
                raise OSError(code, os.strerror(code))

        with suppress(CharlmError), watching(fail_once, monkeypatch, Disk(root)):
            train_in(root, saved)
        has_failed = next(countdown, None) is None
        check_continues(root, reference, saved[-1] if saved else None)
        number += 3
    assert number > 80
