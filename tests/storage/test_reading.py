"""Reading files from untrusted sources: only regular files within a limit, and without waiting."""

import errno
import os
import re
from pathlib import Path

import pytest

from charlm.errors import CharlmError
from charlm.storage.reading import open_file, read_file


def test_a_file_as_large_as_the_limit_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert read_file(tmp_path / "file", limit=3) == b"abc"


def test_a_file_larger_than_the_limit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abcd")
    with pytest.raises(CharlmError, match=r"file: 4 bytes; must be at most 3"):
        read_file(tmp_path / "file", limit=3)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match=r"file: cannot be read: No such file"):
        read_file(tmp_path / "file", limit=3)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match=f"^{re.escape(str(tmp_path))}: .* directory$"):
        read_file(tmp_path, limit=3)


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CharlmError, match="pipe: is not a regular file"):
        read_file(tmp_path / "pipe", limit=3)


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null"])
def test_a_link_to_a_device_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(name)
    with pytest.raises(CharlmError, match="link: is not a regular file"):
        read_file(tmp_path / "link", limit=3)


def test_a_link_is_followed_by_default(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")
    assert read_file(tmp_path / "link", limit=3) == b"abc"


def test_a_link_is_refused_if_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(CharlmError, match="link: is a link; must be the file itself"):
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


def test_a_file_is_read_as_a_stream(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"one\ntwo\n")
    with open_file(tmp_path / "file") as file:
        assert [*file] == [b"one\n", b"two\n"]


def test_an_error_of_the_system_while_a_stream_is_read_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(CharlmError, match="file: cannot be read: Input/output error"),
        open_file(tmp_path / "file"),
    ):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
