"""Files that come from anyone: read if they are what they should be, and never waited for."""

import os
from pathlib import Path

import pytest

from charlm.errors import CharlmError
from charlm.intake import read_file


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert read_file(tmp_path / "file", limit=3) == b"abc"


def test_a_file_larger_than_the_limit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abcd")
    with pytest.raises(CharlmError, match=r"file: 4 bytes; should be 3 at most"):
        read_file(tmp_path / "file", limit=3)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match=r"file: cannot be read: No such file"):
        read_file(tmp_path / "file", limit=3)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match="directory"):
        read_file(tmp_path, limit=3)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CharlmError, match="pipe: is not a regular file"):
        read_file(tmp_path / "pipe", limit=3)


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null"])
def test_a_device_is_refused_behind_a_link_too(name: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(name)
    with pytest.raises(CharlmError, match="link: is not a regular file"):
        read_file(tmp_path / "link", limit=3)


@pytest.mark.parametrize("follow_links", [True, False])
def test_a_link_is_followed_where_that_is_wanted(follow_links: bool, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")
    if follow_links:
        assert read_file(tmp_path / "link", limit=3, follow_links=True) == b"abc"
    else:
        with pytest.raises(CharlmError, match="link: is a link; should be the file itself"):
            read_file(tmp_path / "link", limit=3, follow_links=False)


def test_a_link_to_itself_is_named(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("link")
    with pytest.raises(CharlmError, match="link: cannot be read: Too many levels"):
        read_file(tmp_path / "link", limit=3)


def test_no_file_stays_open(tmp_path: Path) -> None:
    before = len([*Path("/proc/self/fd").iterdir()])
    for name in (".", "missing"):
        with pytest.raises(CharlmError):
            read_file(tmp_path / name, limit=3)
    assert len([*Path("/proc/self/fd").iterdir()]) == before
