"""Real `charlm train` processes on loopback that train one run together, as several machines would."""

import contextlib
import secrets
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from processes import Process, command_line, settings, started

SETTINGS = (
    *("model.layers=2", "model.skip_connections=true", "model.layer_dropout=0.2", "model.rnn.dropout=0.1"),
    *("training.average_momentum=0.9", "training.state_reset=0.1", "training.optimizer.name=muon"),
    *("training.parts=4", "training.batch_size=16", "training.schedule.name=constant"),
    *("training.evaluations=10"),
)
"""Everything whose result could depend on the number of processes."""
LIMIT_SECONDS = 600
"""Nothing takes so long unless it hangs, even on a busy machine."""
WORKER_LOST = 3
"""The exit code of a process that has lost another one."""


def free_addresses(count: int) -> list[str]:
    """Return addresses on loopback whose ports are free, and are not among those that the system gives away itself."""
    with contextlib.ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            with contextlib.suppress(OSError):
                port = secrets.choice(range(20_000, 32_000))
                stack.enter_context(contextlib.closing(socket.create_server(("127.0.0.1", port))))
                ports.append(port)
    return [f"127.0.0.1:{port}" for port in ports]


def train_line(text: Path | None, run: Path, *options: str, steps: int) -> list[str]:
    """Return the command line of a training with SETTINGS; without a text, of a resume."""
    begin = ["--resume"] if text is None else [str(text), "-c", "tiny", *settings(*SETTINGS)]
    return command_line("train", *begin, "-r", run, *settings(f"training.steps={steps}"), *options)


def training(lines: Sequence[list[str]], addresses: Sequence[str]) -> contextlib.AbstractContextManager[list[Process]]:
    """Start a command line for each worker, or for a machine alone if there are no addresses."""
    cluster = ["--cluster", ",".join(addresses), "--task"]
    lines = [[*line, *cluster, str(task)] for task, line in enumerate(lines)] if addresses else lines
    return started(*lines, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)


def finish(process: Process) -> tuple[int, str]:
    """Wait for a process; return its exit code and what it printed."""
    printed, _ = process.communicate(timeout=LIMIT_SECONDS)
    return process.returncode, printed


def train_with(*lines: list[str], addresses: Sequence[str] = (), code: int = 0) -> list[str]:
    """Run a command line for each worker; return what each has printed, once it has ended with this exit code."""
    with training(lines, addresses) as processes:
        ended = [finish(process) for process in processes]
    assert [found for found, _ in ended] == [code] * len(ended), ended
    return [printed for _, printed in ended]
