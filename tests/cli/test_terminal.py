"""Commands on a terminal: progress bars."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from corpora import write_plays
from processes import command_line


def read_all(descriptor: int) -> Iterator[bytes]:
    """Yield what is written to a terminal until its last process ends."""
    while True:
        try:
            data = os.read(descriptor, 65_536)
        except OSError:  # Linux: every process has closed the terminal
            return
        if not data:
            return
        yield data


def run_on_terminal(*arguments: str | Path, columns: int) -> tuple[int, str]:
    """Return the exit code of a command on a terminal, and what it prints there."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    with subprocess.Popen(
        command_line(*arguments),
        stdin=its,
        stdout=its,
        stderr=its,
        env={**environment, "TERM": "xterm"},
    ) as process:
        os.close(its)
        output = b"".join(read_all(ours))
    os.close(ours)
    return process.returncode, output.decode().replace("\r\n", "\n")


@pytest.mark.slow
def test_a_training_on_a_terminal_has_a_bar(tmp_path: Path) -> None:
    text = write_plays(tmp_path / "plays.txt")
    line: list[str | Path] = ["train", text, "-c", "tiny", "-r", tmp_path / "run"]
    code, output = run_on_terminal(*line, columns=60)
    assert code == 0
    assert "%|" in output
    drawn = output.replace("\n", "\r").split("\r")
    assert max(len(line) for line in drawn if "%|" in line) <= 60
