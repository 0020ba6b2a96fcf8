"""Regular files: read from strangers, and appended to."""

import errno
import os
import re
from pathlib import Path

import pytest
from limits import file_size_limit

from charlm.errors import CharlmError
from charlm.storage.files import Log, open_file, read_file


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


def test_an_error_of_the_system_while_a_stream_is_read_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CharlmError, match="file: cannot be read: Input/output error"), open_file(tmp_path / "file"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


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
