"""The process of a command: signals that come close together, and standard streams that are full, lost or limited."""

import os
import signal
import subprocess
import sys
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from processes import command_line

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PROGRAM = """
import atexit, os, sys, types
first, second, moment = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

class Last:
    "Sends a signal when the interpreter clears its modules."
    def __del__(self, kill=os.kill, process=os.getpid()):
        kill(process, second)

def command():
    try:
        os.kill(os.getpid(), first)
        for _ in range(1000): pass  # here the signal is handled
    finally:
        if moment == "unwinding":
            os.kill(os.getpid(), second)
            for _ in range(1000): pass
        print("cleaned up", flush=True)

if moment == "exit functions":
    atexit.register(os.kill, os.getpid(), second)
if moment == "finalization":
    sys.modules["last"] = Last()
sys.modules["charlm.cli.main"] = types.SimpleNamespace(main=command)
from charlm.__main__ import main
main()
"""


@pytest.mark.parametrize("moment", ["unwinding", "exit functions", "finalization"])
def test_the_first_of_two_signals_decides_and_the_second_changes_nothing(moment: str) -> None:
    for first, second in permutations(ENDING, 2):
        done = run([sys.executable, "-c", PROGRAM, str(int(first)), str(int(second)), moment])
        assert (done.returncode, done.stdout, done.stderr) == (128 + first, b"cleaned up\n", b"")


def test_a_signal_after_the_command_leaves_its_exit_code() -> None:
    program = PROGRAM.replace("os.kill(os.getpid(), first)", "sys.exit(0)")
    done = run([sys.executable, "-c", program, "0", str(int(signal.SIGTERM)), "exit functions"])
    assert (done.returncode, done.stdout, done.stderr) == (0, b"cleaned up\n", b"")


# Streams


def run(command: list[str], stdout: Any = subprocess.PIPE, **variables: str) -> "subprocess.CompletedProcess[bytes]":
    environment = {**os.environ, **variables}
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, env=environment, check=False, timeout=60)


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_a_full_disk_behind_standard_output_is_one_line(extra: list[str], model_file: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = run(command_line("sample", model_file, "-n", 5, *extra), full)
    assert done.returncode == 1
    assert done.stderr.endswith(b"charlm: standard output: No space left on device\n")
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("variables", [{"PYTHONUTF8": "0", "LC_ALL": "C"}, {"TERM": "dumb"}])
def test_a_locale_or_a_terminal_without_features_is_enough(variables: dict[str, str], model_file: Path) -> None:
    done = run(command_line("sample", model_file, "-p", "ab", "-n", 3), **variables)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("arguments", [["sample", "-n", "0"], ["runs", "--json"]])
def test_a_reader_of_results_that_has_gone_is_no_error(arguments: list[str], trained_run: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = run(command_line(*arguments, trained_run), writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_message_that_the_encoding_cannot_express_is_still_a_line() -> None:
    done = run(command_line("sample", "中"), PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert done.stderr.startswith(b"charlm: ")
    assert done.stderr.endswith(b": no such file or folder; must be a run or a model file\n")
