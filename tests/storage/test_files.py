"""Reading and writing files whole, logs that grow, and the lock of a folder."""

import errno
import fcntl
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_runs import ticking
from limits import file_size_limit
from processes import started
from run_folders import contents, names

from charlm.errors import CharlmError
from charlm.storage.files import (
    Log,
    is_held,
    only_writer,
    open_file,
    read_file,
    remove_leftovers,
    temporary_folder,
    write_file,
)


def test_a_file_as_large_as_the_limit_is_read_and_what_is_larger_or_no_file_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abcd")
    os.mkfifo(tmp_path / "pipe")
    assert read_file(tmp_path / "file", limit=4) == b"abcd"
    for name, message in (
        ("file", r"file: 4 bytes; must be at most 3"),
        (".", f"^{re.escape(str(tmp_path))}: .* directory$"),
        ("pipe", "pipe: is not a regular file"),  # nobody writes to it
    ):
        with pytest.raises(CharlmError, match=message):
            read_file(tmp_path / name, limit=3)
    with pytest.raises(CharlmError, match="file: cannot be read: Input/output error"), open_file(tmp_path / "file"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_log_grows_by_whole_records_also_when_it_is_opened_again(tmp_path: Path) -> None:
    for record in (b"one\n", b"two\n"):
        log = Log(tmp_path / "log")
        log.write(record)
        log.sync()
        log.close()
    log = Log(tmp_path / "log")
    with file_size_limit(11), pytest.raises(CharlmError, match=r"log: cannot be written: File too large"):
        log.write(b"does not fit")
    log.close()
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"


def test_all_of_a_file_is_on_the_disk_before_it_takes_its_place_and_then_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, synced = tmp_path / "target", []

    def fsync(descriptor: int) -> None:
        facts = os.fstat(descriptor)
        synced.append((facts.st_ino, facts.st_size, target.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_file(target, b"new")
    file, folder = target.stat(), tmp_path.stat()
    assert synced == [(file.st_ino, 3, False), (folder.st_ino, folder.st_size, True)]


def test_a_file_in_pieces_takes_its_place_after_the_last_one(tmp_path: Path) -> None:
    target = tmp_path / ("\u00fc" * 127 + "x")  # 255 bytes, the longest name

    def pieces() -> Iterator[bytes]:
        yield b"ne"
        assert target.read_bytes() == b"old"
        yield b"w"

    write_file(target, b"old")
    write_file(target, pieces())
    assert contents(tmp_path) == {target.name: b"new"}


def test_an_error_while_a_file_is_written_leaves_the_old_one(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise KeyboardInterrupt

    write_file(tmp_path / "f", b"old")
    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "f", pieces())
    with file_size_limit(1000), pytest.raises(CharlmError, match=r"/f: cannot be written: File too large"):
        write_file(tmp_path / "f", b"x" * 1001)
    assert contents(tmp_path) == {"f": b"old"}


def test_a_link_is_followed_and_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("f")
    write_file(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "f").read_bytes() == b"new"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CharlmError, match="pipe: is not a regular file"):
        write_file(tmp_path / "pipe", b"new")
    with pytest.raises(CharlmError, match="null: is not a regular file"):
        write_file(Path("/dev/null"), b"new")


def test_what_a_killed_process_has_left_is_removed_and_everything_else_stays(tmp_path: Path) -> None:
    for name in (".12.best.safetensors.tmp", ".345.x.tmp", ".notes.tmp", "12.tmp", "file"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert names(tmp_path) == [".notes.tmp", "12.tmp", "file"]


def test_a_temporary_folder_is_empty_and_removed_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with temporary_folder() as folder:
        assert [*tmp_path.iterdir()] == [folder]
        (folder / "file").touch()
    assert [*tmp_path.iterdir()] == []


# Locks

HOLD = """
import pathlib, sys
from charlm.storage.files import only_writer
with only_writer(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_refused_while_the_process_that_holds_the_lock_lives(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    with started([sys.executable, "-c", HOLD, str(tmp_path)]) as (process,):
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert is_held(tmp_path)
        message = rf"process {process.pid} .*is training here"
        with pytest.raises(CharlmError, match=message), only_writer(tmp_path, clock=ticking(1.0)):
            pass
        process.kill()
        process.wait()
        assert not is_held(tmp_path)


def test_a_look_at_the_lock_does_not_keep_a_writer_out(tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        times = iter([0.0, 0.5])

        def clock() -> float:
            """Tell the time, and release the lock at the second time."""
            now = next(times)
            if now:
                fcntl.flock(file, fcntl.LOCK_UN)
            return now

        with only_writer(tmp_path, clock=clock):
            assert is_held(tmp_path)
