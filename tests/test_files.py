"""Files and folders that are whole or not there."""

import errno
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charlm import files
from charlm.errors import CharlmError
from charlm.files import Log, remove_folder, remove_leftovers, sha256, write_file, write_folder

OLD, NEW = {"a": b"old", "only-old": b"x"}, {"a": b"new", "only-new": b"y"}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Return a folder that holds the old files."""
    write_folder(tmp_path / "target", OLD)
    return tmp_path / "target"


def fail_at_second_file(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make writing fail once the first file is written."""
    write = files._write_durably
    written: list[Path] = []

    def write_or_fail(path: Path, data: bytes) -> None:
        if written:
            raise error
        written.append(path)
        write(path, data)

    monkeypatch.setattr(files, "_write_durably", write_or_fail)


def test_a_checksum_is_sha_256() -> None:
    assert sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_folder_is_written_with_its_parents(tmp_path: Path) -> None:
    write_folder(tmp_path / "x" / "y", NEW)
    assert contents(tmp_path / "x" / "y") == NEW


def test_a_folder_replaces_the_old_one_as_a_whole(target: Path) -> None:
    write_folder(target, NEW)
    assert contents(target) == NEW


def test_nothing_else_is_left_behind(target: Path) -> None:
    write_folder(target, NEW)
    assert list(target.parent.iterdir()) == [target]


def test_what_a_crash_left_aside_is_replaced(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charlm.files.os.getpid", lambda: 1)
    (target.parent / ".target.1.tmp").mkdir()
    (target.parent / ".target.1.tmp" / "rest").touch()
    write_folder(target, NEW)
    assert contents(target) == NEW


def test_the_target_is_replaced_in_a_single_step(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    exchange = files._exchange

    def spy(first: Path, second: Path) -> bool:
        seen.append(contents(target))
        done = exchange(first, second)
        seen.append(contents(target))
        return done

    monkeypatch.setattr(files, "_exchange", spy)
    write_folder(target, NEW)
    assert seen == [OLD, NEW]


def test_a_system_that_cannot_exchange_replaces_in_two_steps(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_exchange", lambda *_: False)
    write_folder(target, NEW)
    assert contents(target) == NEW
    assert list(target.parent.iterdir()) == [target]


def test_a_full_disk_leaves_the_old_folder_and_says_so(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_at_second_file(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(CharlmError, match="target: cannot be written: No space left on device"):
        write_folder(target, NEW)
    assert contents(target) == OLD
    assert list(target.parent.iterdir()) == [target]


def test_an_interrupt_leaves_the_old_folder(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_at_second_file(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        write_folder(target, NEW)
    assert contents(target) == OLD
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(("write", "what"), [(write_folder, NEW), (write_file, b"new")])
def test_a_place_that_cannot_be_written_is_named(
    tmp_path: Path, write: Callable[[Path, Any], None], what: Any
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CharlmError, match="file/target: cannot be written: "):
        write(tmp_path / "file" / "target", what)


def test_a_file_replaces_the_old_one(tmp_path: Path) -> None:
    write_file(tmp_path / "f", b"old")
    write_file(tmp_path / "f", b"new")
    assert contents(tmp_path) == {"f": b"new"}


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file(tmp_path / "f", b"old")

    def write_half(path: Path, data: bytes) -> None:
        path.write_bytes(data[:1])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "_write_durably", write_half)
    with pytest.raises(CharlmError, match="No space left"):
        write_file(tmp_path / "f", b"new")
    assert contents(tmp_path) == {"f": b"old"}


def test_removing_a_folder_that_is_not_there_is_no_error(target: Path) -> None:
    remove_folder(target)
    remove_folder(target)
    assert not target.exists()


# What a process that was killed has left


def test_what_stands_aside_is_removed_and_all_else_stays(target: Path) -> None:
    folder = target.parent
    for name in (".target.12.tmp", ".target.12.old", ".x-1.345.tmp"):
        write_folder(folder / name, NEW)
    write_file(folder / ".notes.tmp", b"mine")
    write_file(folder / ".f.12.tmp", b"half")
    remove_leftovers(folder)
    assert sorted(path.name for path in folder.iterdir()) == [".notes.tmp", "target"]
    assert contents(target) == OLD


def test_a_folder_that_was_about_to_be_replaced_goes_back_to_its_place(target: Path) -> None:
    target.rename(target.with_name(".target.12.old"))
    write_folder(target.with_name(".target.12.tmp"), NEW)
    remove_leftovers(target.parent)
    assert contents(target) == OLD
    assert list(target.parent.iterdir()) == [target]


def test_leftovers_of_a_folder_that_is_not_there_are_no_error(tmp_path: Path) -> None:
    remove_leftovers(tmp_path / "missing")


def test_a_folder_is_removed_in_one_step(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)  # killed before anything in it was removed
    remove_folder(target)
    assert not target.exists()


# Logs


def test_a_log_grows_by_records(tmp_path: Path) -> None:
    for record in (b"one\n", b"two\n"):
        log = Log(tmp_path / "log")
        log.write(record)
        log.sync()
        log.close()
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"


def test_a_record_that_does_not_fit_leaves_nothing_of_itself(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    log.write(b"whole")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, before[1]))
    try:
        with pytest.raises(CharlmError, match=r"log: cannot be written: File too large"):
            log.write(b"does not fit")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "log").read_bytes() == b"whole"
    log.close()


def test_a_log_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match="nowhere/log: cannot be written: No such file or directory"):
        Log(tmp_path / "nowhere/log")
