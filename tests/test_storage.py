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

from charlm import storage
from charlm.errors import CharlmError
from charlm.storage import (
    Log,
    UnreadableError,
    is_held,
    only_writer,
    open_file,
    read_file,
    reading,
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


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("missing", "No such file or directory", id="missing"),
        pytest.param(".", "Is a directory", id="folder"),
        pytest.param("file/more", "Not a directory", id="in a file"),
    ],
)
def test_a_file_that_cannot_be_opened_is_unreadable(name: str, reason: str) -> None:
    Path("file").touch()
    path = Path(name)
    with pytest.raises(UnreadableError) as caught, open_file(path):
        pass
    assert str(caught.value) == f"{path}: cannot be read: {reason}"


def test_a_file_is_unreadable_if_the_disk_fails_while_it_is_read() -> None:
    path = Path("file")
    path.touch()
    with pytest.raises(UnreadableError) as caught, open_file(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    assert str(caught.value) == "file: cannot be read: Input/output error"


def test_the_reason_of_an_error_without_a_number_is_its_message() -> None:
    with pytest.raises(UnreadableError, match=r"^file: cannot be read: no such device$"), reading(Path("file")):
        raise OSError("no such device")


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


def test_a_file_is_on_the_disk_before_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, synced = tmp_path / "target", []

    def fsync(descriptor: int) -> None:
        facts = os.fstat(descriptor)
        synced.append((facts.st_ino, facts.st_size, target.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_file(target, b"new")
    file, folder = target.stat(), tmp_path.stat()
    assert synced == [(file.st_ino, 3, False), (folder.st_ino, folder.st_size, True)]


def test_a_file_in_pieces_takes_its_place_after_the_last_one_and_an_error_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / ("\u00fc" * 127 + "x")  # 255 bytes, the longest name

    def pieces(error: type[BaseException] | None = None) -> Iterator[bytes]:
        yield b"ne"
        assert target.read_bytes() == b"old"
        if error:
            raise error
        yield b"w"

    write_file(target, b"old")
    with pytest.raises(KeyboardInterrupt):
        write_file(target, pieces(KeyboardInterrupt))
    with file_size_limit(1000), pytest.raises(CharlmError, match=r"x: cannot be written: File too large"):
        write_file(target, b"x" * 1001)
    assert contents(tmp_path) == {target.name: b"old"}
    write_file(target, pieces())
    assert contents(tmp_path) == {target.name: b"new"}


def test_a_link_is_followed_and_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("f")
    write_file(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "f").read_bytes() == b"new"
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(CharlmError, match=f"^{path}: is not a regular file"):
            write_file(path, b"new")


def test_leftovers_and_temporary_folders_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (".12.best.safetensors.tmp", ".345.x.tmp", ".notes.tmp", "12.tmp", "file"):
        (tmp_path / name).touch()
    storage.remove_leftovers(tmp_path)
    kept = names(tmp_path)
    assert kept == [".notes.tmp", "12.tmp", "file"]
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with temporary_folder() as folder:
        (folder / "file").touch()
        assert names(tmp_path) == sorted([*kept, folder.name])
    assert names(tmp_path) == kept


# Locks

HOLD = """
import pathlib, sys
from charlm.storage import only_writer
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
            fcntl.flock(file, fcntl.LOCK_SH if (now := next(times)) == 0 else fcntl.LOCK_UN)
            return now

        with only_writer(tmp_path, clock=clock):
            assert is_held(tmp_path)
