"""The entry point: signals that come close together end the program once, without a traceback."""

import signal
import subprocess
import sys
from itertools import permutations

import pytest

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


def end(program: str, first: int, second: int, moment: str) -> tuple[int, str, str]:
    """Run a program; return its exit code and what it wrote."""
    command = [sys.executable, "-c", program, str(first), str(second), moment]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("moment", ["unwinding", "exit functions", "finalization"])
def test_the_first_of_two_signals_decides_and_the_second_changes_nothing(moment: str) -> None:
    for first, second in permutations(ENDING, 2):
        assert end(PROGRAM, int(first), int(second), moment) == (128 + first, "cleaned up\n", "")


def test_a_signal_after_the_command_leaves_its_exit_code() -> None:
    program = PROGRAM.replace("os.kill(os.getpid(), first)", "sys.exit(0)")
    assert end(program, 0, int(signal.SIGTERM), "exit functions") == (0, "cleaned up\n", "")
