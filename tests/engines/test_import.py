"""The import of TensorFlow, played by another module: its messages, and signals during it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

IMPORT = """
import os, sys
from charlm.engines import factory
try:
    factory.import_tensorflow(lambda note: open(note.message, "w").close())
except BaseException as error:
    print(type(error).__name__)
sys.stdout.flush()
os._exit(0)  # as charlm does: without waiting for threads
"""
COMPLAIN = """
import os
os.write(2, b"no graphics card\\n")
"""
SEND = """
import os, signal
os.kill(os.getpid(), signal.SIGINT)
for _ in range(1000): pass  # here the signal would be handled
"""


def load(module: str, *, before: str = "") -> "subprocess.CompletedProcess[str]":
    """Load a module instead of TensorFlow, in a process that first runs other lines."""
    Path("tensorflow.py").write_text(module, encoding="utf-8")
    path = os.pathsep.join([str(Path.cwd()), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-c", before + IMPORT]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("error", "messages"),
    [
        ("ImportError", "no graphics card\n"),
        ("KeyboardInterrupt", ""),
    ],
)
def test_the_messages_of_tensorflow_are_shown_if_its_import_fails(
    error: str, messages: str
) -> None:
    process = load(f"{COMPLAIN}raise {error}")
    assert process.stdout.split() == [error]
    assert process.stderr == messages


def test_a_signal_is_answered_during_the_import() -> None:
    process = load(f"{COMPLAIN}{SEND}import threading; threading.Event().wait()")
    assert process.stdout.split() == ["KeyboardInterrupt"]
    assert process.stderr == ""


WAIT = """
import os, time
while not os.path.exists("still starting TensorFlow, which can take 20 s"): time.sleep(0.01)
raise ImportError
"""


def test_a_long_import_is_noted() -> None:
    shorten = "from charlm.engines import factory\nfactory.SILENT_SECONDS = 0.01\n"
    assert load(WAIT, before=shorten).stdout.split() == ["ImportError"]


def test_a_signal_without_a_handler_ends_the_import() -> None:
    process = load(SEND, before="import signal\nsignal.signal(signal.SIGINT, signal.SIG_DFL)\n")
    assert (process.returncode, process.stdout) == (-signal.SIGINT, "")


VARIABLES = """
import os
print(os.environ["TF_ENABLE_ONEDNN_OPTS"], os.environ["TF_CPP_MIN_LOG_LEVEL"])
raise ImportError
"""


@pytest.mark.parametrize(
    ("onednn", "expected"),
    [
        pytest.param(None, ["1", "3"], id="defaults"),
        pytest.param("0", ["0", "3"], id="set by the user"),
    ],
)
def test_tensorflow_finds_its_variables(
    onednn: str | None,
    expected: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    if onednn is not None:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", onednn)
    assert load(VARIABLES).stdout.split()[:2] == expected
