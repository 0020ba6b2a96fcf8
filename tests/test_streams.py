"""Standard streams that are full, closed, or of a terminal that knows little."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = (sys.executable, "-m", "charlm")


def shell(line: str, *arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    """Run a line of the shell in which "$@" is charlm with some arguments."""
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


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_error(closed: str, bundle_folder: Path) -> None:
    done = shell(f'"$@" {closed}', "sample", bundle_folder, "-n", "5", "-p", "ab")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"" if ">&-" in closed.split() else b"ab")


def test_a_failure_with_everything_closed_is_an_exit_code(tmp_path: Path) -> None:
    assert shell('"$@" <&- >&- 2>&-', "sample", tmp_path).returncode == 1


def test_a_file_does_not_take_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    code = "import os; from charlm.__main__ import _fill_standard_streams as fill; fill(); print(os.open('/', 0))"
    done = shell(f'"$1" -c "{code}" <&- 2>&-')
    assert done.stdout == b"3\n"


@pytest.mark.parametrize("environment", [{"LC_ALL": "C"}, {"PYTHONUTF8": "0", "LC_ALL": "C"}, {"TERM": "dumb"}])
def test_a_poor_environment_will_do(environment: dict[str, str], bundle_folder: Path) -> None:
    done = shell('"$@"', "sample", bundle_folder, "-p", "aé", "-n", "3", "--unknown", "skip", **environment)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_message_that_the_encoding_lacks_letters_for_is_still_a_line(tmp_path: Path) -> None:
    done = shell('"$@"', "sample", "中", PYTHONIOENCODING="ascii")
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert done.stderr.endswith(b": no such folder; should be a run or a bundle\n")
