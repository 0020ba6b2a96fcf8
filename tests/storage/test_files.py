"""Regular files: read from strangers, opened for writing, and appended to."""

import errno
import os
import re
from pathlib import Path

import pytest
from limits import file_size_limit

from charlm.errors import CharlmError
from charlm.storage.files import Log, open_file, open_for_writing, read_file


def test_a_file_as_large_as_the_limit_is_read_and_a_larger_one_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abcd")
    assert read_file(tmp_path / "file", limit=4) == b"abcd"
    with pytest.raises(CharlmError, match=r"file: 4 bytes; must be at most 3"):
        read_file(tmp_path / "file", limit=3)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match=f"^{re.escape(str(tmp_path))}: .* directory$"):
        read_file(tmp_path, limit=3)


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CharlmError, match="pipe: is not a regular file"):
        read_file(tmp_path / "pipe", limit=3)


def test_a_link_is_refused_if_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(CharlmError, match="link: is a link; must be the file itself"):
        read_file(tmp_path / "link", limit=3, follow_links=False)


def test_an_error_of_the_system_while_a_stream_is_read_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CharlmError, match="file: cannot be read: Input/output error"), open_file(tmp_path / "file"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with the file inner/file, beside a file that must stay as it is."""
    (tmp_path / "root/inner").mkdir(parents=True)
    (tmp_path / "root/inner/file").write_text("old")
    (tmp_path / "mine.txt").write_text("mine")
    return tmp_path / "root"


@pytest.mark.parametrize("name", ["inner/file", "inner/new"])
def test_file_is_opened_or_made(name: str, root: Path) -> None:
    with os.fdopen(open_for_writing(root / name, WRITE), "wb") as file:
        file.write(b"new")
    assert (root / name).read_text() == "new"


@pytest.mark.parametrize("target", ["mine.txt", "nowhere"])
def test_file_that_is_a_link_is_not_opened(target: str, root: Path, tmp_path: Path) -> None:
    (root / "inner/file").unlink()
    (root / "inner/file").symlink_to(tmp_path / target)
    with pytest.raises(CharlmError, match="root/inner/file: is a link; must be the file or folder itself"):
        open_for_writing(root / "inner/file", WRITE)
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_file_with_a_second_name_is_not_opened(root: Path, tmp_path: Path) -> None:
    (root / "hard").hardlink_to(tmp_path / "mine.txt")
    with pytest.raises(CharlmError, match="root/hard: is one file with 2 names"):
        open_for_writing(root / "hard", os.O_WRONLY)
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["inner", "missing/file", "inner/file/below"])
def test_what_cannot_be_opened_is_named(name: str, root: Path) -> None:
    with pytest.raises(CharlmError, match=f"root/{name}: cannot be written: "):
        open_for_writing(root / name, WRITE)


def test_a_log_grows_by_records_also_when_it_is_opened_again(tmp_path: Path) -> None:
    for record in (b"one\n", b"two\n"):
        log = Log(tmp_path / "log")
        log.write(record)
        log.sync()
        log.close()
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"


def test_nothing_of_a_record_that_cannot_be_written_stays(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    log.write(b"whole")
    with file_size_limit(8), pytest.raises(CharlmError, match=r"log: cannot be written: File too large"):
        log.write(b"does not fit")
    assert (tmp_path / "log").read_bytes() == b"whole"
    log.close()
