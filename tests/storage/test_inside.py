"""Opening and removing the files inside a folder: nothing outside of it is touched."""

import os
from pathlib import Path

import pytest

from charlm.errors import CharlmError
from charlm.storage.inside import open_inside, refuse_links, remove_inside

WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with the file inner/file, beside a file that must stay as it is."""
    (tmp_path / "root/inner").mkdir(parents=True)
    (tmp_path / "root/inner/file").write_text("old")
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/file").write_text("mine")
    return tmp_path / "root"


def replace_by_link(path: Path, target: Path) -> None:
    """Put a link in the place of a file or folder."""
    path.rename(path.with_name("moved"))
    path.symlink_to(target)


def write(root: Path, name: str) -> None:
    descriptor = open_inside(root, name, WRITE)
    os.write(descriptor, b"new")
    os.close(descriptor)


def test_file_is_opened_or_made(root: Path) -> None:
    for name in ("inner/file", "inner/new"):
        write(root, name)
        assert (root / name).read_text() == "new"


def test_folder_itself_may_be_reached_by_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("root")
    write(tmp_path / "link", "inner/file")
    assert (root / "inner/file").read_text() == "new"


@pytest.mark.parametrize("target", ["mine.txt", "nowhere"])
def test_file_that_is_a_link_is_not_opened(target: str, root: Path, tmp_path: Path) -> None:
    replace_by_link(root / "inner/file", tmp_path / target)
    with pytest.raises(CharlmError, match="root/inner/file: is a link; must be the file or folder itself"):
        open_inside(root, "inner/file", WRITE)
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_file_in_a_folder_that_is_a_link_is_neither_opened_nor_removed(root: Path, tmp_path: Path) -> None:
    replace_by_link(root / "inner", tmp_path / "elsewhere")
    with pytest.raises(CharlmError, match="root/inner: is a link"):
        open_inside(root, "inner/file", WRITE)
    with pytest.raises(CharlmError, match="root/inner: is a link"):
        remove_inside(root, "inner/file")
    assert (tmp_path / "elsewhere/file").read_text() == "mine"


def test_file_with_a_second_name_is_not_opened(root: Path, tmp_path: Path) -> None:
    (root / "hard").hardlink_to(tmp_path / "mine.txt")
    with pytest.raises(CharlmError, match="root/hard: is one file with 2 names"):
        open_inside(root, "hard", os.O_WRONLY)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_pipe_is_refused_without_waiting(root: Path) -> None:
    os.mkfifo(root / "pipe")
    with pytest.raises(CharlmError, match=r"root/pipe: (is not a regular file|cannot be written)"):
        open_inside(root, "pipe", os.O_WRONLY)
    with pytest.raises(CharlmError, match="root/pipe: is not a regular file"):
        open_inside(root, "pipe", os.O_RDWR)


@pytest.mark.parametrize("name", ["inner", "missing/file", "inner/file/below"])
def test_what_cannot_be_opened_is_named(name: str, root: Path) -> None:
    with pytest.raises(CharlmError, match=f"root/{name}: cannot be written: "):
        open_inside(root, name, WRITE)


def test_no_descriptor_stays_open(root: Path) -> None:
    before = len([*Path("/proc/self/fd").iterdir()])
    (root / "link").symlink_to("inner/file")
    (root / "hard").hardlink_to(root / "inner/file")
    for name in ("link", "hard", "link/below", "missing/file"):
        with pytest.raises(CharlmError):
            open_inside(root, name, os.O_RDWR)
    assert len([*Path("/proc/self/fd").iterdir()]) == before


def test_link_is_removed_and_not_what_it_leads_to(root: Path, tmp_path: Path) -> None:
    replace_by_link(root / "inner/file", tmp_path / "mine.txt")
    remove_inside(root, "inner/file")
    assert not (root / "inner/file").is_symlink()
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_removing_a_missing_file_is_no_error(root: Path) -> None:
    remove_inside(root, "inner/missing")
    remove_inside(root, "missing/missing")


def test_file_that_cannot_be_removed_is_named(root: Path) -> None:
    with pytest.raises(CharlmError, match="root/inner: cannot be removed: "):
        remove_inside(root, "inner")


def test_paths_without_a_link_are_accepted(root: Path) -> None:
    refuse_links(root, "inner/file", "inner/missing", "missing")
