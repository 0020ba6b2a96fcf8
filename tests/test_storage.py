"""Reading and writing files whole, logs that grow, and the lock of a folder."""

import errno
import fcntl
import os
import re
import resource
import shutil
import signal
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
    check_free,
    is_held,
    near_file_hint,
    new_folder,
    only_writer,
    open_file,
    read_file,
    reading,
    temporary_folder,
    write_file,
)


def test_a_file_as_large_as_the_limit_is_read_and_what_is_larger_or_no_file_refused(
    tmp_path: Path,
) -> None:
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
    ("missing", "hint"),
    [
        pytest.param("my.yml", "; did you mean my.yaml?", id="other suffix"),
        pytest.param("texts/mytxt.txt", "; did you mean texts/mytext.txt?", id="in a folder"),
        pytest.param("text", "; did you mean texts?", id="folder"),
        pytest.param("hiden.yaml", "", id="hidden file"),
        pytest.param("nothing", "", id="nothing similar"),
        pytest.param("missing/my.yaml", "", id="no such folder"),
        pytest.param("my.yaml/my.yaml", "", id="file as folder"),
        pytest.param("my\0yaml", "; did you mean my.yaml?", id="no path"),
        pytest.param("", "", id="empty"),
    ],
)
def test_a_missing_file_is_answered_with_a_similar_one(missing: str, hint: str) -> None:
    Path("texts").mkdir()
    for name in ("my.yaml", "texts/mytext.txt", ".hidden.yaml"):
        Path(name).touch()
    assert near_file_hint(Path(missing)) == hint


def test_only_files_that_suit_are_proposed() -> None:
    for name in ("mytext.txt", "mytext.yaml"):
        Path(name).touch()
    assert (
        near_file_hint(Path("mytext"), suits=lambda path: path.suffix == ".yaml")
        == "; did you mean mytext.yaml?"
    )
    assert near_file_hint(Path("mytext"), suits=Path.is_dir) == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read_gives_no_hint() -> None:
    Path("closed").mkdir(mode=0o300)
    Path("closed/my.yaml").touch()
    assert near_file_hint(Path("closed/my.yml")) == ""


def test_only_some_names_of_a_large_folder_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "MAX_NAMES_COMPARED", 0)
    Path("my.yaml").touch()
    assert near_file_hint(Path("my.yml")) == ""


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
    with (
        pytest.raises(UnreadableError, match=r"^file: cannot be read: no such device$"),
        reading(Path("file")),
    ):
        raise OSError("no such device")


def test_a_log_grows_by_whole_records_also_when_it_is_opened_again(tmp_path: Path) -> None:
    for record in (b"one\n", b"two\n"):
        log = Log(tmp_path / "log")
        log.write(record)
        log.sync()
        log.close()
    log = Log(tmp_path / "log")
    with (
        file_size_limit(11),
        pytest.raises(CharlmError, match=r"log: cannot be written: File too large"),
    ):
        log.write(b"does not fit")
    log.close()
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"


def test_a_file_is_on_the_disk_before_its_place(
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


def test_a_file_in_pieces_takes_its_place_after_the_last_one_and_an_error_leaves_the_old_one(
    tmp_path: Path,
) -> None:
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
    with (
        file_size_limit(1000),
        pytest.raises(CharlmError, match=r"x: cannot be written: File too large"),
    ):
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


def test_leftovers_and_temporary_folders_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (".12.best.safetensors.tmp", ".345.x.tmp", ".notes.tmp", "12.tmp", "file"):
        (tmp_path / name).touch()
    (tmp_path / ".12.corpus.tmp").mkdir()
    (tmp_path / ".12.corpus.tmp/ids.npy").touch()
    storage.remove_leftovers(tmp_path)
    kept = names(tmp_path)
    assert kept == [".notes.tmp", "12.tmp", "file"]
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with temporary_folder() as folder:
        (folder / "file").touch()
        assert names(tmp_path) == sorted([*kept, folder.name])
    assert names(tmp_path) == kept


# New folders


def make_place(name: str) -> Path:
    """Make what is at a place before a folder is put there, and return the place."""
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
def test_a_new_folder_has_what_the_block_has_written(name: str) -> None:
    place = make_place(name)
    with new_folder(place) as folder:
        (folder / "file").write_bytes(b"new")
    assert contents(place) == {"file": b"new"}


@PLACES
def test_a_new_folder_is_empty_or_missing_until_the_block_has_ended(name: str) -> None:
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
        pytest.param(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), CharlmError, id="full disk"),
    ],
)
def test_a_block_that_fails_leaves_everything_as_it_was(
    name: str, error: BaseException, raised: type[BaseException]
) -> None:
    place = make_place(name)
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


def test_a_parent_that_has_something_else_by_now_stays() -> None:
    with pytest.raises(KeyboardInterrupt), new_folder(Path("deep/in/new")):
        fail_after(Path("deep/other"), KeyboardInterrupt())
    assert contents(Path()) == {"deep": None, "deep/other": b""}


def test_the_reason_why_a_new_folder_cannot_be_written_is_told_with_its_name() -> None:
    with pytest.raises(CharlmError) as caught, new_folder(Path("new")):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert str(caught.value) == "new: cannot be written: No space left on device"


def test_a_folder_that_another_process_has_finished_first_is_kept() -> None:
    with (
        pytest.raises(CharlmError, match=r"^new: exists already; name a new or an empty"),
        new_folder(Path("new")),
    ):
        Path("new/theirs").mkdir(parents=True)
    assert contents(Path()) == {"new": None, "new/theirs": None}


def test_what_a_new_folder_replaces_is_removed() -> None:
    Path("old").mkdir()
    Path("old/file").touch()
    with new_folder(Path("old"), replace=True) as folder:
        assert names(Path("old")) == ["file"]
        (folder / "other").write_bytes(b"new")
    assert contents(Path()) == {"old": None, "old/other": b"new"}


def test_a_link_that_a_new_folder_replaces_is_removed_alone() -> None:
    place = make_place("link")
    Path("elsewhere/file").write_bytes(b"old")
    with new_folder(place, replace=True) as folder:
        (folder / "other").write_bytes(b"new")
    assert not place.is_symlink()
    assert contents(Path()) == {
        "elsewhere": None,
        "elsewhere/file": b"old",
        "link": None,
        "link/other": b"new",
    }


def test_what_a_block_that_fails_would_have_replaced_stays() -> None:
    Path("old").mkdir()
    Path("old/file").write_bytes(b"old")
    before = contents(Path())
    with pytest.raises(KeyboardInterrupt), new_folder(Path("old"), replace=True):
        raise KeyboardInterrupt
    assert contents(Path()) == before


def test_the_names_in_a_new_folder_are_on_the_disk_before_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    synced: list[tuple[int, bool]] = []
    place = Path("deep/in/new")
    monkeypatch.setattr(
        os, "fsync", lambda file: synced.append((os.fstat(file).st_ino, place.exists()))
    )
    with new_folder(place):
        pass
    after = [(path.stat().st_ino, True) for path in (Path("deep/in"), Path(), Path("deep"))]
    assert synced[0] == (place.stat().st_ino, False)
    assert sorted(synced[1:]) == sorted(after)


@pytest.fixture
def ended() -> int:
    """Return the number of a process that has ended."""
    with started([sys.executable, "-c", ""]) as (process,):
        process.communicate()
        return process.pid


KILLED = """
import os, pathlib, signal
from charlm.storage import new_folder
with new_folder(pathlib.Path("new")) as folder:
    (folder / "file").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_has_left_of_a_new_folder_is_removed_by_the_next() -> None:
    with started([sys.executable, "-c", KILLED]) as (process,):
        process.communicate()
    assert names(Path()) == [f".{process.pid}.new.tmp"]
    with new_folder(Path("new")):
        pass
    assert names(Path()) == ["new"]


def test_the_temporary_folder_of_a_process_that_had_our_number_is_removed() -> None:
    leftover = Path(f".{os.getpid()}.new.tmp")
    leftover.mkdir()
    (leftover / "half").touch()
    with new_folder(Path("new")):
        pass
    assert contents(Path()) == {"new": None}


def test_the_temporary_folder_of_a_process_that_still_runs_stays() -> None:
    theirs = Path(f".{os.getppid()}.new.tmp")
    theirs.mkdir()
    with new_folder(Path("new")):
        pass
    assert names(Path()) == [theirs.name, "new"]


def test_the_temporary_folder_of_another_target_stays(ended: int) -> None:
    theirs = Path(f".{ended}.other.tmp")
    theirs.mkdir()
    with new_folder(Path("new")):
        pass
    assert names(Path()) == [theirs.name, "new"]


def test_a_file_with_the_name_of_a_temporary_folder_stays(ended: int) -> None:
    theirs = Path(f".{ended}.new.tmp")
    theirs.touch()
    with new_folder(Path("new")):
        pass
    assert names(Path()) == [theirs.name, "new"]


def test_a_folder_that_is_not_empty_is_not_free() -> None:
    Path("full/file").mkdir(parents=True)
    with pytest.raises(
        CharlmError,
        match=r"^full: exists already; name a new or an empty folder, or delete this one$",
    ):
        check_free(Path("full"))


def test_the_working_directory_is_not_free() -> None:
    with pytest.raises(
        CharlmError,
        match=r"^\.: is the working directory or a mount point; name a new folder in it$",
    ):
        check_free(Path())


def test_a_mount_point_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mounted").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda _path: True)
    with pytest.raises(
        CharlmError,
        match=r"^mounted: is the working directory or a mount point; name a new folder in",
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


def test_a_second_writer_is_refused_while_the_process_that_holds_the_lock_lives(
    tmp_path: Path,
) -> None:
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


def test_a_folder_that_the_other_process_removes_meanwhile_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        times = iter([0.0, 0.5])

        def clock() -> float:
            """Tell the time, and remove the folder at the second time."""
            now = next(times)
            if now:
                shutil.rmtree(folder)
                fcntl.flock(file, fcntl.LOCK_UN)
            return now

        with (
            pytest.raises(CharlmError, match="run: was removed by another process"),
            only_writer(folder, clock=clock),
        ):
            pass


def test_the_name_of_the_holder_needs_no_room_on_the_disk(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with only_writer(tmp_path):
            assert is_held(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
