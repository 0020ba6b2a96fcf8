"""Files that grow by complete records."""

from pathlib import Path

import pytest
from limits import file_size_limit

from charlm.errors import CharlmError
from charlm.storage.log import Log


def test_a_log_grows_by_records_also_when_it_is_opened_again(tmp_path: Path) -> None:
    for record in (b"one\n", b"two\n"):
        log = Log(tmp_path / "log")
        log.write(record)
        log.sync()
        log.close()
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"


def test_the_size_of_a_log_includes_what_earlier_processes_wrote(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"one\n")
    log = Log(tmp_path / "log")
    log.write(b"two\n")
    assert log.size == 8
    log.close()


def test_nothing_of_a_record_that_cannot_be_written_stays(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    log.write(b"whole")
    with file_size_limit(8), pytest.raises(CharlmError, match=r"log: cannot be written: File too large"):
        log.write(b"does not fit")
    assert (tmp_path / "log").read_bytes() == b"whole"
    log.close()


def test_a_log_goes_on_after_a_record_that_could_not_be_written(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    with file_size_limit(8), pytest.raises(CharlmError, match="File too large"):
        log.write(b"does not fit")
    log.write(b"fits")
    assert (tmp_path / "log").read_bytes() == b"fits"
    log.close()


@pytest.mark.parametrize("name", ["logs/log", "logs"])
def test_a_link_on_the_way_to_a_log_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/log").write_bytes(b"mine")
    (tmp_path / name).rename(tmp_path / "elsewhere")
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CharlmError, match=f"{name}: is a link"):
        Log(tmp_path / "logs/log", root=tmp_path)


def test_a_log_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match="nowhere/log: cannot be written: No such file or directory"):
        Log(tmp_path / "nowhere/log")
