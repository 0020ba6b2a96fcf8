"""Commands and programs in processes of their own."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Process = subprocess.Popen[str]


def command_line(*arguments: str | Path | float) -> list[str]:
    """Return the command line of a command."""
    return [sys.executable, "-m", "charlm", *map(str, arguments)]


def run_process(
    *arguments: str | Path | float, variables: Mapping[str, str] | None = None, **options: Any
) -> "subprocess.CompletedProcess[str]":
    """Run a command with more environment variables and options of `subprocess.run`."""
    environment = {**os.environ, **(variables or {})}
    return subprocess.run(
        command_line(*arguments),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


@contextlib.contextmanager
def started(*commands: Sequence[str | Path], **options: Any) -> Iterator[list[Process]]:
    """Start processes, whose output is kept; none outlives the block."""
    pipes = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }
    with contextlib.ExitStack() as stack:
        processes = []
        for command in commands:
            processes.append(
                process := stack.enter_context(subprocess.Popen(command, **{**pipes, **options}))
            )
            stack.callback(process.kill)
        yield processes


def wait_until(
    is_so: Callable[[], bool],
    processes: Sequence[Process],
    *,
    seconds: float = 60,
    every_seconds: float = 0.01,
) -> None:
    """Wait until a condition is true, which is looked up again and again.

    Fail if a process ends before, or if it takes too long.
    """
    deadline = time.monotonic() + seconds
    while not is_so():
        ended = [process.communicate() for process in processes if process.poll() is not None]
        assert not ended, ended
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(every_seconds)


def settings(*overrides: str) -> list[str]:
    """Return the options that set these."""
    return [argument for override in overrides for argument in ("-s", override)]
