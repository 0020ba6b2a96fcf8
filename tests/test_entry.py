"""The process of a command: signals during its start and end, and broken standard streams."""

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


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["unwinding", "exit functions", "finalization"])
@pytest.mark.parametrize(("first", "second"), [*permutations(ENDING, 2)])
def test_the_first_of_two_signals_decides(
    first: signal.Signals, second: signal.Signals, moment: str
) -> None:
    done = run([sys.executable, "-c", PROGRAM, str(int(first)), str(int(second)), moment])
    assert (done.returncode, done.stdout, done.stderr) == (128 + first, b"cleaned up\n", b"")


def test_a_signal_after_the_command_leaves_its_exit_code() -> None:
    program = PROGRAM.replace("os.kill(os.getpid(), first)", "sys.exit(0)")
    done = run([sys.executable, "-c", program, "0", str(int(signal.SIGTERM)), "exit functions"])
    assert (done.returncode, done.stdout, done.stderr) == (0, b"cleaned up\n", b"")


INTERRUPTED_IMPORT = """
import os, signal
try:
    os.kill(os.getpid(), int(os.environ["SIGNAL"]))
    for _ in range(1000): pass  # here the signal is handled
except BaseException:
    raise ImportError("failed to import") from None
"""


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_during_an_import_is_not_an_error(number: signal.Signals) -> None:
    """The module raises another exception, as modules in C do."""
    Path("interrupted.py").write_text(INTERRUPTED_IMPORT, encoding="utf-8")
    program = PROGRAM.replace("os.kill(os.getpid(), first)", "import interrupted")
    done = run([sys.executable, "-c", program, "0", "0", ""], SIGNAL=str(int(number)))
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, b"cleaned up\n", b"")


# Streams


def run(
    command: list[str], stdout: Any = subprocess.PIPE, **variables: str
) -> "subprocess.CompletedProcess[bytes]":
    """Run a command with more environment variables."""
    environment = {**os.environ, **variables}
    return subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, env=environment, check=False, timeout=60
    )


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_a_full_disk_behind_standard_output_is_one_line(extra: list[str], model_file: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = run(command_line("sample", model_file, "-n", 5, *extra), full)
    assert done.returncode == 1
    assert done.stderr.endswith(b"charlm: standard output: No space left on device\n")
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("variables", [{"PYTHONUTF8": "0", "LC_ALL": "C"}, {"TERM": "dumb"}])
def test_a_simple_locale_or_terminal_is_enough(variables: dict[str, str], model_file: Path) -> None:
    done = run(command_line("sample", model_file, "-p", "ab", "-n", 3), **variables)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("arguments", [["sample", "-n", "0"], ["runs", "--json"]])
def test_a_closed_pipe_is_not_an_error(arguments: list[str], trained_run: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = run(command_line(*arguments, trained_run), writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_message_is_escaped_for_the_encoding_of_the_terminal() -> None:
    done = run(command_line("sample", "中"), PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert done.stderr.startswith(b"charlm: ")
    assert done.stderr.endswith(b": no such file or folder; must be a run or a model file\n")


# Closed streams

CLOSED = [
    pytest.param("<&-", id="standard input"),
    pytest.param(">&-", id="standard output"),
    pytest.param("2>&-", id="standard error"),
    pytest.param("<&- >&-", id="input and output", marks=pytest.mark.slow),
    pytest.param("<&- 2>&-", id="input and error", marks=pytest.mark.slow),
    pytest.param(">&- 2>&-", id="output and error", marks=pytest.mark.slow),
    pytest.param("<&- >&- 2>&-", id="all"),
]


def run_closed(closed: str, *arguments: str | Path | float) -> "subprocess.CompletedProcess[bytes]":
    """Run a command with some standard streams closed."""
    return run(["sh", "-c", f'exec "$@" {closed}', "sh", *command_line(*arguments)])


@pytest.mark.parametrize("closed", CLOSED)
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--version"], id="version", marks=pytest.mark.slow),
        pytest.param(["config", "list"], id="config list"),
        pytest.param(
            ["sample", "model.safetensors", "-n", "5", "--seed", "1"],
            id="sample",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_command_works_with_closed_streams(
    arguments: list[str], closed: str, model_file: Path
) -> None:
    Path("model.safetensors").symlink_to(model_file)
    expected = run(command_line(*arguments)).stdout
    done = run_closed(closed, *arguments)
    is_output_closed = ">&-" in closed.split()
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == (b"" if is_output_closed else expected)


@pytest.mark.slow
@pytest.mark.parametrize("closed", CLOSED)
def test_a_command_that_fails_with_closed_streams_has_its_exit_code(closed: str) -> None:
    done = run_closed(closed, "sample", "missing")
    message = b"charlm: missing: no such file or folder; must be a run or a model file\n"
    is_error_closed = "2>&-" in closed
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == (b"" if is_error_closed else message)


def test_closed_standard_input_is_an_empty_text() -> None:
    done = run_closed("<&-", "tokenize", "-", "--out", "corpus")
    assert done.returncode == 1
    assert done.stderr.startswith(b"charlm: ")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_a_run_is_trained_with_closed_streams(closed: str) -> None:
    done = run_closed(closed, "train", "-c", "tiny", "-s", "training.steps=2", "-r", "run")
    assert done.returncode == 0, done.stderr
    assert Path("run/ended.json").is_file()
    assert b"Traceback" not in done.stderr
