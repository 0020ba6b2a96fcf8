"""Reading and writing whole files, logs, new folders and locks."""

import errno
import fcntl
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Timer

import pytest
from limits import file_size_limit
from processes import started
from run_folders import contents, names

from charlm import storage
from charlm.errors import CharlmError
from charlm.storage import (
    UnreadableError,
    UnwritableError,
    check_free,
    is_held,
    new_folder,
    only_writer,
    open_file,
    read_file,
    temporary_folder,
    write_file,
)


def test_a_file_up_to_the_limit_is_read() -> None:
    Path("file").write_bytes(b"abcd")
    assert read_file(Path("file"), limit=4) == b"abcd"
    with pytest.raises(CharlmError, match=r"^file: 4 bytes; must be at most 3"):
        read_file(Path("file"), limit=3)


def test_a_pipe_is_not_waited_for() -> None:
    os.mkfifo("pipe")
    with pytest.raises(CharlmError, match=r"^pipe: not a regular file"):
        read_file(Path("pipe"), limit=3)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", "No such file or directory"),
        (".", "Is a directory"),
        ("file/more", "Not a directory"),
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


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, bool]]:
    """Return a list that gets the inode and the size of what is synced, and whether NEW exists."""
    found: list[tuple[int, int, bool]] = []

    def fsync(descriptor: int) -> None:
        facts = os.fstat(descriptor)
        found.append((facts.st_ino, facts.st_size, NEW.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    return found


NEW = Path("new")


def make_folder() -> None:
    with new_folder(NEW):
        pass


@pytest.mark.parametrize("make", [lambda: write_file(NEW, b"new"), make_folder])
def test_a_file_or_folder_is_on_the_disk_before_it_gets_its_name(
    make: Callable[[], None], synced: list[tuple[int, int, bool]]
) -> None:
    make()
    new, folder = NEW.stat(), Path().stat()
    assert synced == [(new.st_ino, new.st_size, False), (folder.st_ino, folder.st_size, True)]


@pytest.fixture
def old_file() -> Path:
    """Write a file with the longest possible name, 255 bytes."""
    path = Path("\u00fc" * 127 + "x")
    path.write_bytes(b"old")
    return path


def test_a_full_disk_leaves_the_old_file(old_file: Path) -> None:
    message = "x: cannot be written: File too large"
    with file_size_limit(1000), pytest.raises(UnwritableError, match=message):
        write_file(old_file, b"x" * 1001)
    assert contents(Path()) == {old_file.name: b"old"}


def test_the_target_of_a_link_is_written() -> None:
    Path("link").symlink_to("target")
    write_file(Path("link"), b"new")
    assert Path("link").is_symlink()
    assert Path("target").read_bytes() == b"new"


@pytest.mark.parametrize("path", ["pipe", "/dev/null"])
def test_only_regular_files_are_written(path: str) -> None:
    os.mkfifo("pipe")
    with pytest.raises(CharlmError, match=f"^{path}: not a regular file"):
        write_file(Path(path), b"new")


def test_temporary_files_of_ended_processes_are_removed() -> None:
    for name in (".12345678.best.safetensors.tmp", ".cafe.x.tmp", "12345678.x.tmp", "file"):
        Path(name).touch()
    Path(".0123abcd.corpus.tmp").mkdir()
    Path(".0123abcd.corpus.tmp/ids.npy").touch()
    Path(".0123abcd.link.tmp").symlink_to(Path.cwd())
    storage.remove_leftovers(Path())
    assert names(Path()) == [".cafe.x.tmp", "12345678.x.tmp", "file"]


def test_a_temporary_folder_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with temporary_folder() as folder:
        (folder / "file").touch()
        assert names(tmp_path) == [folder.name]
    assert names(tmp_path) == []


# New folders


def make_place(name: str) -> Path:
    """Prepare the place of a new folder, and return its path."""
    match name:
        case "empty":
            Path("empty").mkdir()
        case "link":
            Path("elsewhere").mkdir()
            Path("link").symlink_to("elsewhere", target_is_directory=True)
    return Path(name)


PLACES = pytest.mark.parametrize(
    "name",
    [
        pytest.param("new", id="missing"),
        pytest.param("deep/in/new", id="missing parents"),
        pytest.param("empty", id="empty folder"),
        pytest.param("link", id="link to an empty folder"),
        pytest.param("\u00fc" * 127 + "x", id="longest name"),
    ],
)


@PLACES
def test_a_new_folder_appears_when_the_block_ends(name: str) -> None:
    place = make_place(name)
    with new_folder(place) as folder:
        (folder / "file").touch()
        assert not place.exists() or names(place) == []


def fail_after(file: Path, error: BaseException) -> None:
    """Make a file, and fail."""
    file.touch()
    raise error


@PLACES
@pytest.mark.parametrize(
    ("error", "raised"),
    [
        pytest.param(KeyboardInterrupt(), KeyboardInterrupt, id="signal"),
        pytest.param(ConnectionResetError(), ConnectionResetError, id="error of a callback"),
    ],
)
def test_a_block_that_fails_leaves_everything_as_it_was(
    name: str, error: BaseException, raised: type[BaseException]
) -> None:
    place = make_place(name)
    place.parent.mkdir(parents=True, exist_ok=True)
    before = contents(Path())
    with pytest.raises(raised), new_folder(place) as folder:
        fail_after(folder / "file", error)
    assert contents(Path()) == before


def test_a_link_to_the_place_of_a_new_folder_stays_a_link() -> None:
    place = make_place("link")
    with new_folder(place) as folder:
        (folder / "file").touch()
    assert place.is_symlink()
    assert names(Path("elsewhere")) == ["file"]


def test_a_folder_that_another_process_made_is_kept() -> None:
    with (
        pytest.raises(CharlmError, match=r"^new: already exists; choose a new or empty"),
        new_folder(Path("new")),
    ):
        Path("new/theirs").mkdir(parents=True)
    assert contents(Path()) == {"new": None, "new/theirs": None}


def test_processes_with_the_same_number_do_not_share_a_temporary_folder() -> None:
    with new_folder(Path("new")) as one, new_folder(Path("new")) as other:
        assert one != other
    assert names(Path()) == ["new"]


BUILD = """
import pathlib, sys
from charlm.storage import new_folder, only_writer
with new_folder(pathlib.Path("new")) as folder, only_writer(folder):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_temporary_folder_of_a_killed_process_is_removed_at_the_next_start() -> None:
    with started([sys.executable, "-c", BUILD]) as (process,):
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        [temporary] = names(Path())
        with new_folder(Path("other")):
            pass
        assert names(Path()) == [temporary, "other"]
        process.kill()
        process.wait()
    with new_folder(Path("new")):
        pass
    assert names(Path()) == ["new", "other"]


def test_the_working_directory_is_not_free() -> None:
    with pytest.raises(
        CharlmError,
        match=r"^\.: the working directory or a mount point; choose a new folder in it$",
    ):
        check_free(Path())


def test_a_mount_point_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mounted").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda _path: True)
    with pytest.raises(
        CharlmError,
        match=r"^mounted: the working directory or a mount point; choose a new folder in",
    ):
        check_free(Path("mounted"))


# Locks

HOLD = """
import pathlib, sys
from charlm.storage import only_writer
with only_writer(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    with started([sys.executable, "-c", HOLD, str(tmp_path)]) as (process,):
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert is_held(tmp_path)
        message = "another process is training here"
        with pytest.raises(CharlmError, match=message), only_writer(tmp_path):
            pass
        process.kill()
        process.wait()
        assert not is_held(tmp_path)


def test_a_writer_waits_for_a_process_that_only_checks_the_lock(tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert not is_held(tmp_path)
        Timer(0.1, fcntl.flock, (file, fcntl.LOCK_UN)).start()
        with only_writer(tmp_path):
            assert is_held(tmp_path)


def test_a_folder_that_another_process_removes_is_reported(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        def remove() -> None:
            shutil.rmtree(folder)
            fcntl.flock(file, fcntl.LOCK_UN)

        Timer(0.1, remove).start()
        message = "run: was moved, removed or replaced"
        with pytest.raises(CharlmError, match=message), only_writer(folder):
            pass


def test_a_lock_needs_no_space_on_the_disk(tmp_path: Path) -> None:
    with file_size_limit(0), only_writer(tmp_path):
        assert is_held(tmp_path)


def test_a_lock_stays_with_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    moved = tmp_path / "moved"
    with only_writer(folder) as lock:
        lock.check(folder)
        folder.rename(moved)
        lock.check(moved)
        assert is_held(moved)
        shutil.copytree(moved, folder)
        with pytest.raises(CharlmError, match="run: was moved, removed or replaced"):
            lock.check(folder)
