"""`charlm download`: the list of texts, and what it refuses."""

from pathlib import Path

import pytest
from commands import charlm, check_failure, check_usage_error, table


def test_without_a_name_the_texts_are_listed_with_their_size_and_home() -> None:
    lines = charlm("download").stdout.splitlines()
    (line,) = (line for line in lines if line.startswith("tinyshakespeare "))
    assert "1,115,394" in line
    assert line.endswith("raw.githubusercontent.com")
    assert all(len(line) <= 100 for line in lines)


@table("""
download tinyshakspeare        | did you mean tinyshakespeare?
download text8 --out text.txt  | text.txt: exists already
download text8 --out LONG      | File name too long
""")
def test_a_failure_is_one_line_that_names_what_is_wrong(
    line: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").touch()
    check_failure(line, expected)


def test_a_file_without_a_text_is_wrong_usage() -> None:
    check_usage_error("download --out a.txt", "--out names the file for a text")
