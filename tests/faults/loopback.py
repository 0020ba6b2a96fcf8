"""Real `charlm train` processes on loopback that train one run together, as several machines would."""

import contextlib
import json
import os
import secrets
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from processes import Process, command_line, settings, started

SETTINGS = (
    *("model.layers=2", "model.skip_connections=true", "model.layer_dropout=0.2", "model.rnn.dropout=0.1"),
    *("training.average_momentum=0.9", "training.state_reset=0.1", "training.optimizer.name=muon"),
    *("training.parts=2", "training.batch_size=12", "training.schedule.name=constant"),
    "training.evaluations=20",
)
"""Everything that machines could do differently."""
LIMIT_SECONDS = 600
"""Nothing takes so long unless it hangs, even on a busy machine."""


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


@contextlib.contextmanager
def training(lines: Sequence[list[str]]) -> Iterator[list[Process]]:
    """Start a command line for each worker; a single one is a machine alone."""
    addresses = free_addresses(len(lines))
    with contextlib.ExitStack() as stack:
        processes = []
        for index, line in enumerate(lines):
            config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            variables = {**os.environ, "TF_CONFIG": json.dumps(config) if len(lines) > 1 else ""}
            options: dict[str, Any] = {"stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL, "env": variables}
            processes += stack.enter_context(started(line, **options))
        yield processes


def train_with(*lines: list[str], code: int = 0) -> list[str]:
    """Run a command line for each worker; return what each has printed, once it has ended with this exit code."""
    with training(lines) as processes:
        ended = [(process.communicate(timeout=LIMIT_SECONDS)[0], process.returncode) for process in processes]
    assert [found for _, found in ended] == [code] * len(ended), ended
    return [printed for printed, _ in ended]
