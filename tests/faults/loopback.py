"""Real `charlm train` processes on loopback that train one run together, as several machines would."""

import contextlib
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from faults.kill import newest_step
from processes import command_line, settings

SETTINGS = (
    *("model.layers=2", "model.skip_connections=true", "model.layer_dropout=0.2", "model.rnn.dropout=0.1"),
    *("training.average_momentum=0.9", "training.state_reset=0.1", "training.optimizer.name=muon"),
    *("training.parts=4", "training.batch_size=16", "training.schedule.name=constant"),
    *("training.checkpoint_every=10", "training.evaluate_every=50"),
)
"""Everything whose result could depend on the number of processes."""
LIMIT_SECONDS = 600
"""Nothing takes so long unless it hangs, even on a busy machine."""
WORKER_LOST = 3
"""The exit code of a process that has lost another one."""

Process = subprocess.Popen[str]


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


def start(
    tasks: Sequence[int | None],
    text: Path | None,
    run: Path,
    *,
    steps: int,
    addresses: Sequence[str] = (),
    options: Sequence[str] = (),
    resume: bool = False,
) -> list[Process]:
    """Start `charlm train` for each task.

    Args:
        tasks: Which workers of `addresses` are started; [None] = a single machine.
        text: The text of each of them; None = that of the run, which is resumed.
        run: The folder of the run.
        steps: The steps of the whole run.
        addresses: HOST:PORT of every worker.
        options: More of the command line.
        resume: Whether to continue the run.

    """
    command = command_line("train", *([] if text is None else [text]), "-r", run)
    command += ["--resume"] if resume else ["-c", "tiny", *settings(*SETTINGS)]
    command += [*settings(f"training.steps={steps}"), *options]
    cluster = [] if len(tasks) == 1 and tasks[0] is None else ["--cluster", ",".join(addresses), "--task"]
    return [start_process([*command, *cluster, *([] if task is None else [str(task)])]) for task in tasks]


def start_process(command: Sequence[str]) -> Process:
    """Start a command line; `finish` returns what it prints."""
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL
    )


def finish(process: Process) -> tuple[int, str]:
    """Wait for a process; return its exit code and what it printed."""
    printed, _ = process.communicate(timeout=LIMIT_SECONDS)
    return process.returncode, printed


@contextlib.contextmanager
def killed_at_the_end(processes: Sequence[Process]) -> Iterator[None]:
    """Let no process outlive a block."""
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            process.kill()
            process.communicate()  # closes its pipe


def wait_for_checkpoint(run: Path, processes: Sequence[Process], *, step: int) -> None:
    """Wait until a run has a checkpoint of at least this step.

    Raises:
        AssertionError: one of its processes has ended before, or it takes too long.

    """
    deadline = time.monotonic() + LIMIT_SECONDS
    while newest_step(run) < step:
        ended = [finish(process) for process in processes if process.poll() is not None]
        assert not ended, f"ended before step {step}: {ended}"
        assert time.monotonic() < deadline, f"no checkpoint of step {step} within {LIMIT_SECONDS} s"
        time.sleep(0.02)
