"""Standard streams that are full, closed or limited in what they can show."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = (sys.executable, "-m", "charlm")


def shell(line: str, *arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    """Run a line of the shell in which "$@" is `charlm` with its arguments."""
    return subprocess.run(
        ["sh", "-c", line, "sh", *COMMAND, *map(str, arguments)],
        capture_output=True,
        env={**os.environ, **environment},
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("extra", [[], ["--json"], ["--samples", "2"]])
def test_a_full_disk_behind_standard_output_is_one_line(extra: list[str], bundle_folder: Path) -> None:
    done = shell('"$@" > /dev/full', "sample", bundle_folder, "-n", "5", *extra)
    assert done.returncode == 1
    assert done.stderr.endswith(b"charlm: standard output: No space left on device\n")
    assert b"Traceback" not in done.stderr


def test_samples_are_written_even_if_the_lines_between_them_cannot_be(bundle_folder: Path) -> None:
    options = ("-n", "5", "--samples", "2", "-p", "a", "--ignore-end")
    done = shell('"$@" 2> /dev/full', "sample", bundle_folder, *options)
    assert (done.returncode, done.stdout.count(b"a") >= 2) == (0, True)


def test_a_prompt_from_closed_standard_input_is_a_usage_error(bundle_folder: Path) -> None:
    done = shell('"$@" <&-', "sample", bundle_folder, "--prompt-file", "-")
    assert done.returncode == 2
    assert done.stderr.endswith(b"Error: Invalid value for '--prompt-file': standard input is closed\n")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["sample", "--help"], ["train", "-h"]])
def test_a_full_disk_behind_help_is_one_line_too(arguments: list[str]) -> None:
    done = shell('"$@" > /dev/full', *arguments)
    assert (done.returncode, done.stderr) == (1, b"charlm: standard output: No space left on device\n")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["sample", "--help"], ["train", "-h"]])
def test_a_reader_of_help_that_has_gone_is_no_error(arguments: list[str]) -> None:
    done = shell('{ sleep 0.2; "$@"; echo "$?" >&2; } | true', *arguments)
    assert done.stderr == b"0\n"


def test_a_usage_error_that_cannot_be_told_is_an_exit_code() -> None:
    assert shell('"$@" 2> /dev/full', "frobnicate").returncode in {1, 2}


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_error(closed: str, bundle_folder: Path) -> None:
    done = shell(f'"$@" {closed}', "sample", bundle_folder, "-n", "5", "-p", "ab")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"" if ">&-" in closed.split() else b"ab")


def test_a_failure_with_everything_closed_is_an_exit_code(tmp_path: Path) -> None:
    assert shell('"$@" <&- >&- 2>&-', "sample", tmp_path).returncode == 1


def test_a_file_does_not_take_the_number_of_a_closed_stream() -> None:
    code = "import os; from charlm.__main__ import fill_standard_streams as fill; fill(); print(os.open('/', 0))"
    done = shell(f'"$1" -c "{code}" <&- 2>&-')
    assert done.stdout == b"3\n"


@pytest.mark.parametrize("environment", [{"LC_ALL": "C"}, {"PYTHONUTF8": "0", "LC_ALL": "C"}, {"TERM": "dumb"}])
def test_a_locale_or_a_terminal_without_features_is_enough(environment: dict[str, str], bundle_folder: Path) -> None:
    done = shell('"$@"', "sample", bundle_folder, "-p", "aé", "-n", "3", "--unknown", "skip", **environment)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_message_that_the_encoding_cannot_express_is_still_a_line() -> None:
    done = shell('"$@"', "sample", "中", PYTHONIOENCODING="ascii")
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(b"charlm: ")
    assert done.stderr.endswith(b": no such folder; must be a run or a bundle\n")
