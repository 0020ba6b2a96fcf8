"""Files and folders that are either complete or absent."""

import contextlib
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from limits import file_size_limit
from processes import started
from run_folders import contents, names

from charlm.errors import CharlmError
from charlm.storage.atomic import (
    exchange,
    open_scratch,
    remove_abandoned,
    remove_folder,
    remove_leftovers,
    scratch_folder,
    temporary_folder,
    write_file,
    write_folder,
)

OLD, NEW = {"a": b"old", "only-old": b"x"}, {"a": b"new", "only-new": b"y"}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Return a folder that holds the old files."""
    write_folder(tmp_path / "target", OLD)
    return tmp_path / "target"


# Writing a folder


def test_a_read_only_folder_is_replaced_and_nothing_of_it_stays(target: Path) -> None:
    target.chmod(0o555)
    write_folder(target, NEW)
    assert names(target.parent) == [target.name]


MOUNTED = pytest.param("/proc", "a mount point", marks=pytest.mark.skipif(not Path("/proc").is_mount(), reason="Linux"))


@pytest.mark.parametrize(("name", "what"), [(".", "not the name"), ("a/..", "not the name"), MOUNTED])
def test_a_folder_that_cannot_be_renamed_is_refused(name: str, what: str) -> None:
    with pytest.raises(CharlmError, match=rf"^{re.escape(name)}: is {what}"):
        write_folder(Path(name), NEW)


def test_the_old_folder_is_replaced_in_a_single_step(target: Path) -> None:
    seen = []

    def observe(first: Path, second: Path) -> bool:
        seen.append(contents(target))
        done = exchange(first, second)
        seen.append(contents(target))
        return done

    write_folder(target, NEW, exchange=observe)
    assert seen == [OLD, NEW]


def test_a_system_that_cannot_exchange_replaces_in_two_steps(target: Path) -> None:
    write_folder(target, NEW, exchange=lambda *_: False)
    assert contents(target) == NEW
    assert list(target.parent.iterdir()) == [target]


def test_a_full_disk_leaves_the_old_folder_and_is_named(target: Path) -> None:
    files = {"a": b"new", "second": b"x" * 1001}
    with file_size_limit(1000), pytest.raises(CharlmError, match="target: cannot be written: File too large"):
        write_folder(target, files)
    assert contents(target) == OLD
    assert list(target.parent.iterdir()) == [target]


# Writing a file


@pytest.mark.parametrize(("write", "what"), [(write_folder, NEW), (write_file, b"new")])
def test_everything_is_on_the_disk_before_it_takes_its_place_and_then_the_place(
    write: Callable[[Path, Any], None], what: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, synced = tmp_path / "target", []

    def fsync(descriptor: int) -> None:
        facts = os.fstat(descriptor)
        synced.append((facts.st_ino, facts.st_size, target.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write(target, what)
    before = [*(target.iterdir() if target.is_dir() else ()), target]
    facts = [(path.stat(), path == tmp_path) for path in (*before, tmp_path)]
    assert sorted(synced) == sorted((found.st_ino, found.st_size, is_place) for found, is_place in facts)


# Writing a file in pieces


def test_a_file_written_in_pieces_takes_its_place_at_the_end_of_the_block(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    with open_scratch(tmp_path / "f") as write:
        write(b"ne")
        write(b"w")
        assert (tmp_path / "f").read_bytes() == b"old"
    assert contents(tmp_path) == {"f": b"new"}


def test_an_error_in_the_block_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    with contextlib.suppress(KeyboardInterrupt), open_scratch(tmp_path / "f") as write:
        write(b"new")
        raise KeyboardInterrupt
    assert contents(tmp_path) == {"f": b"old"}


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("f")
    with open_scratch(tmp_path / "link") as write:
        write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "f").read_bytes() == b"new"


# Removing a folder


def test_a_folder_is_gone_before_anything_in_it_is_removed(target: Path) -> None:
    remove_folder(target, remove=lambda _: None)
    assert not target.exists()
    (scratch,) = target.parent.iterdir()
    assert contents(scratch) == OLD


# What a killed process has left


def test_temporary_files_and_folders_are_removed_and_everything_else_stays(target: Path) -> None:
    folder = target.parent
    for name in (".target.12.tmp", ".target.12.old", ".x-1.345.tmp"):
        write_folder(folder / name, NEW)
    write_file(folder / ".notes.tmp", b"mine")
    write_file(folder / ".f.12.tmp", b"half")
    remove_leftovers(folder)
    assert names(folder) == [".notes.tmp", "target"]
    assert contents(target) == OLD


def test_an_old_folder_that_was_not_replaced_gets_its_name_back(target: Path) -> None:
    target.rename(target.with_name(".target.12.old"))
    write_folder(target.with_name(".target.12.tmp"), NEW)
    remove_leftovers(target.parent)
    assert contents(target) == OLD
    assert list(target.parent.iterdir()) == [target]


PROGRAM = """
import pathlib, sys
from charlm.storage.atomic import scratch_folder
with scratch_folder(pathlib.Path(sys.argv[1])) as folder:
    (folder / "large").write_bytes(b"x")
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_folder_is_empty_hidden_beside_its_target_and_removed_at_the_end(tmp_path: Path) -> None:
    with scratch_folder(tmp_path / "out") as folder:
        assert folder.parent == tmp_path
        assert folder.name.startswith(".")
        assert list(folder.iterdir()) == []
        (folder / "file").touch()
    assert list(tmp_path.iterdir()) == []


def test_folder_of_a_killed_process_is_removed_by_the_next_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    with started([sys.executable, "-c", PROGRAM, str(tmp_path / "out")]) as (process,):
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        with scratch_folder(tmp_path / "out") as own:
            assert (folder / "large").is_file()
            assert own.is_dir()
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
    assert (folder / "large").is_file()
    with scratch_folder(tmp_path / "out"):
        assert not folder.exists()


def test_a_temporary_folder_takes_away_what_a_killed_process_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / ".charlm-scratch-abcdefgh.tmp").mkdir()
    with temporary_folder() as folder:
        assert [*tmp_path.iterdir()] == [folder]
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("name", [".out-notes", ".charlm-out-notes", ".charlm-other-abcdefgh.tmp", "out"])
def test_other_folders_stay(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    remove_abandoned(tmp_path / "out")
    assert (tmp_path / name).is_dir()


def test_link_under_the_name_of_a_scratch_folder_stays_and_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").touch()
    link = tmp_path / ".charlm-out-abcdefgh.tmp"
    link.symlink_to(tmp_path / "precious")
    remove_abandoned(tmp_path / "out")
    assert link.is_symlink()
    assert (tmp_path / "precious/file").exists()


def test_a_name_of_255_bytes_has_temporary_names(tmp_path: Path) -> None:
    target = tmp_path / ("\u00fc" * 127 + "x")
    write_folder(target, {"a": b"1"})
    write_folder(target, {"a": b"2"})
    with scratch_folder(target) as folder:
        assert folder.is_dir()
    assert [(path.name, (path / "a").read_bytes()) for path in tmp_path.iterdir()] == [(target.name, b"2")]


def test_an_error_names_what_the_scratch_folder_is_for(tmp_path: Path) -> None:
    with (
        pytest.raises(CharlmError, match=f"^{tmp_path}/run/config.yaml: too long$"),
        scratch_folder(tmp_path / "run") as folder,
    ):
        raise CharlmError(f"{folder}/config.yaml: too long")


def test_an_error_names_where_a_temporary_folder_is() -> None:
    with (
        pytest.raises(CharlmError, match=f"^{tempfile.gettempdir()}/kernel.so: too long$"),
        temporary_folder() as folder,
    ):
        raise CharlmError(f"{folder}/kernel.so: too long")
