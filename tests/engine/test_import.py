"""How TensorFlow is imported: what it writes, and signals that come meanwhile; with a module in its place."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

IMPORT = """
import sys
from charlm.engine import runtime
try:
    {call}
except BaseException as error:
    print(type(error).__name__, getattr(sys.modules.get("tensorflow"), "is_complete", False))
"""
COMPLAIN = """
import os
os.write(2, b"no graphics card\\n")
"""
SEND = """
import os, signal
os.kill(os.getpid(), signal.SIGINT)
for _ in range(1000): pass  # here the signal would be handled
is_complete = True
"""


def load(
    module: str, *, before: str = "", call: str = "runtime.load()"
) -> "subprocess.CompletedProcess[str]":
    """Load a module instead of TensorFlow, in a process that runs some lines before."""
    Path("tensorflow.py").write_text(module, encoding="utf-8")
    path = os.pathsep.join([str(Path.cwd()), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-c", before + IMPORT.format(call=call)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        pytest.param("raise ImportError", "no graphics card\n", id="failure"),
        pytest.param("raise KeyboardInterrupt", "", id="signal"),
    ],
)
def test_what_tensorflow_writes_is_shown_if_its_import_fails(statement: str, expected: str) -> None:
    done = load(COMPLAIN + statement)
    assert done.stdout.split() == [statement.split()[1], "False"]
    assert done.stderr == expected


def test_a_signal_during_the_import_of_tensorflow_is_handled_after_it() -> None:
    done = load(COMPLAIN + SEND)
    assert done.stdout.split() == ["KeyboardInterrupt", "True"]
    assert done.stderr == ""


def test_a_signal_without_a_handler_ends_the_import_of_tensorflow() -> None:
    done = load(SEND, before="import signal\nsignal.signal(signal.SIGINT, signal.SIG_DFL)\n")
    assert (done.returncode, done.stdout) == (-signal.SIGINT, "")


def test_an_ignored_signal_stays_ignored_during_the_import_of_tensorflow() -> None:
    ignore = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    done = load(SEND + "raise ImportError", before=ignore)
    assert done.stdout.split() == ["ImportError", "False"]


def test_tensorflow_is_imported_in_a_thread_that_cannot_handle_signals() -> None:
    before = "from concurrent.futures import ThreadPoolExecutor\n"
    done = load(
        "raise ImportError",
        before=before,
        call="ThreadPoolExecutor().submit(runtime.load).result()",
    )
    assert done.stdout.split() == ["ImportError", "False"]
