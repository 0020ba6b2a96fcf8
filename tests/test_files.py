"""Files and folders that are whole or not there."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charlm import files
from charlm.errors import CharlmError
from charlm.files import remove_folder, sha256, write_file, write_folder

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
