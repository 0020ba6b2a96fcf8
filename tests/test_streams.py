"""Standard streams that are full, have lost their reader, or are limited in what they can show."""

import os
import subprocess
from pathlib import Path

import pytest
from processes import command_line


def shell(line: str, *arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    """Run a line of the shell in which "$@" is `charlm` with its arguments."""
    return subprocess.run(
        ["sh", "-c", line, "sh", *command_line(*arguments)],
        capture_output=True,
        env={**os.environ, **environment},
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_a_full_disk_behind_standard_output_is_one_line(extra: list[str], model_file: Path) -> None:
    done = shell('"$@" > /dev/full', "sample", model_file, "-n", "5", *extra)
    assert done.returncode == 1
    assert done.stderr.endswith(b"charlm: standard output: No space left on device\n")
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("environment", [{"PYTHONUTF8": "0", "LC_ALL": "C"}, {"TERM": "dumb"}])
def test_a_locale_or_a_terminal_without_features_is_enough(environment: dict[str, str], model_file: Path) -> None:
    done = shell('"$@"', "sample", model_file, "-p", "ab", "-n", "3", **environment)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("arguments", [["sample", "-n", "0"], ["runs", "--json"]])
def test_a_reader_of_results_that_has_gone_is_no_error(arguments: list[str], trained_run: Path) -> None:
    command, *options = arguments
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command_line(command, trained_run, *options), stdout=writer, stderr=subprocess.PIPE, check=False, timeout=60
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_message_that_the_encoding_cannot_express_is_still_a_line() -> None:
    done = shell('"$@"', "sample", "中", PYTHONIOENCODING="ascii")
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(b"charlm: ")
    assert done.stderr.endswith(b": no such file or folder; must be a run or a model file\n")
