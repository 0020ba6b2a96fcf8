"""The file of Optuna's journal: full disks, killed processes and damage."""

from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="missing: optuna")

from limits import file_size_limit
from run_folders import names

from charlm.errors import CharlmError
from charlm.tuning.journal import Journal

WHOLE = b'{"op_code":0}\n{"op_code":4}\n'
RECORDS = [{"op_code": 0}, {"op_code": 4}]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a journal is; it is missing."""
    return tmp_path / "study.journal"


def test_records_are_read_by_the_process_that_wrote_them(path: Path) -> None:
    journal = Journal(path)
    journal.append_logs([{"a": 1}, {"b": (2.5, None)}])
    journal.append_logs([{"c": "\u4e2d"}])
    assert [*journal.read_logs(0)] == [{"a": 1}, {"b": [2.5, None]}, {"c": "\u4e2d"}]
    assert [*journal.read_logs(2)] == [{"c": "\u4e2d"}]
    assert [*journal.read_logs(3)] == []


def test_records_are_read_by_the_next_process(path: Path) -> None:
    Journal(path).append_logs([{"a": 1}])
    Journal(path).append_logs([{"b": 2}])
    assert [*Journal(path).read_logs(0)] == [{"a": 1}, {"b": 2}]


def test_a_journal_is_a_single_file(path: Path) -> None:
    Journal(path).append_logs([{"a": 1}])
    assert names(path.parent) == [path.name]


def test_a_full_disk_leaves_a_journal_as_it_was(path: Path) -> None:
    path.write_bytes(WHOLE)
    journal = Journal(path)
    message = r"study\.journal: cannot be written: File too large"
    with file_size_limit(len(WHOLE) + 5), pytest.raises(CharlmError, match=message):
        journal.append_logs([{"op_code": 5}])
    assert path.read_bytes() == WHOLE
    assert [*journal.read_logs(0)] == RECORDS


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="a byte"),
        pytest.param(b'{"op_code":5}', id="without its line break"),
        pytest.param(b'{"op_co\n', id="half an object"),
        pytest.param(b"[1]\n", id="no object"),
        pytest.param(b"\0\0\0\0", id="zeros"),
        pytest.param(b"\xff\xff\n", id="no text"),
    ],
)
def test_a_last_line_that_was_not_written_whole_is_removed(rest: bytes, path: Path) -> None:
    path.write_bytes(WHOLE + rest)
    assert [*Journal(path).read_logs(0)] == RECORDS
    assert path.read_bytes() == WHOLE


def test_a_damaged_line_before_the_last_is_refused(path: Path) -> None:
    damaged = WHOLE + b"damaged\n" + WHOLE
    path.write_bytes(damaged)
    with pytest.raises(
        CharlmError,
        match=r"study\.journal: damaged: line 3 is not a JSON object; choose another folder",
    ):
        Journal(path)
    assert path.read_bytes() == damaged


def test_a_journal_that_cannot_be_read_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(CharlmError, match=r"study\.journal: "):
        Journal(path)
