"""The lock of a folder that one process writes to."""

import errno
import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fake_runs import ticking
from processes import Process, started

from charlm.errors import CharlmError
from charlm.storage.files import is_held, only_writer

HOLD = """
import pathlib, sys
from charlm.storage.files import only_writer
with only_writer(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def hold_elsewhere(run: Path) -> Iterator[Process]:
    with started([sys.executable, "-c", HOLD, str(run)]) as (process,):
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process


def test_a_second_writer_is_refused_with_the_process_that_holds_the_lock(tmp_path: Path) -> None:
    with (
        hold_elsewhere(tmp_path) as process,
        pytest.raises(CharlmError, match=rf"process {process.pid} .*is training here"),
        only_writer(tmp_path, clock=ticking(1.0)),
    ):
        pass


def test_a_lock_is_held_while_its_process_lives(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    with hold_elsewhere(tmp_path) as process:
        assert is_held(tmp_path)
        process.kill()
        process.wait()
        assert not is_held(tmp_path)


def test_a_look_at_the_lock_does_not_keep_a_writer_out(tmp_path: Path) -> None:
    attempts: list[int] = []

    def held_at_first(descriptor: int, operation: int) -> None:
        attempts.append(descriptor)
        if len(attempts) < 4:
            raise BlockingIOError
        fcntl.flock(descriptor, operation)

    with only_writer(tmp_path, flock=held_at_first):
        assert is_held(tmp_path)


def test_a_file_system_without_locks_is_not_taken_for_another_writer(tmp_path: Path) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    with (
        pytest.raises(CharlmError, match=r"\.lock: cannot be written: No locks available"),
        only_writer(tmp_path, flock=refuse),
    ):
        pass
