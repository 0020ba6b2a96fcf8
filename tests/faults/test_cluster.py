"""Several processes on loopback train one run: the weights of a single machine, faults, and wrong use."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from charlm.config.recipes import DEFAULT_CORPUS
from charlm.training.checkpoints import saved_steps

pytestmark = pytest.mark.slow

SETTINGS = (
    *("model.layers=2", "model.skip_connections=true", "model.layer_dropout=0.2", "model.rnn.dropout=0.1"),
    *("training.average_momentum=0.9", "training.state_reset=0.1", "training.optimizer.name=muon"),
    *(
        "training.parts=4",
        "training.batch_size=16",
        "training.schedule.name=constant",
        "training.checkpoint_every=10",
        "training.evaluate_every=50",
    ),
)
LIMIT_SECONDS = 200
WORKER_LOST = 3


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a text file of 20,000 characters."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(DEFAULT_CORPUS.read_text(encoding="utf-8")[:20_000], encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def alone(text: Path) -> Path:
    """Return a run of 60 steps on a single machine."""
    run = text.parent / "alone"
    (process,) = start([None], text, run, steps=60)
    assert finish(process)[0] == 0
    return run


def free_addresses(count: int) -> list[str]:
    """Return addresses on loopback whose ports are free now."""
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(contextlib.closing(socket.create_server(("127.0.0.1", 0)))) for _ in range(count)
        ]
        return [f"127.0.0.1:{found.getsockname()[1]}" for found in sockets]


def start(
    tasks: Sequence[int | None],
    text: Path | None,
    run: Path,
    *,
    steps: int,
    addresses: Sequence[str] = (),
    options: Sequence[str] = (),
    resume: bool = False,
) -> list["subprocess.Popen[str]"]:
    """Start `charlm train` for each task; None = on a single machine."""
    settings = (f"training.steps={steps}",) if resume else (*SETTINGS, f"training.steps={steps}")
    processes = []
    for task in tasks:
        cluster = [] if task is None else ["--cluster", ",".join(addresses), "--task", str(task)]
        command = [sys.executable, "-m", "charlm", "train", *([] if text is None else [str(text)]), "-r", str(run)]
        command += ["--resume"] if resume else ["-c", "tiny"]
        command += [argument for setting in settings for argument in ("-s", setting)]
        processes.append(
            subprocess.Popen(
                [*command, *cluster, *options],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                stdin=subprocess.DEVNULL,
            )
        )
    return processes


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait for a process; return its exit code and what it printed."""
    printed, _ = process.communicate(timeout=LIMIT_SECONDS)
    return process.returncode, printed


@contextlib.contextmanager
def killed_at_the_end(processes: Sequence["subprocess.Popen[str]"]) -> Iterator[None]:
    """Let no process outlive a block."""
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            process.kill()
            process.communicate()  # closes its pipe


def wait_for_checkpoint(run: Path, *, step: int) -> None:
    """Wait until a run has a checkpoint of at least this step."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not any(
        int(path.name[5:]) >= step for path in (run / "checkpoints").glob("step-*") if path.name[5:].isdigit()
    ):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def losses(run: Path) -> list[tuple[int, str, float]]:
    """Return the step, the split and the loss of every line of metrics.jsonl."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return [(line["step"], line["split"], line["nats_per_char"]) for line in lines]


def weights(run: Path) -> bytes:
    return (run / "last/weights.safetensors").read_bytes()


@pytest.mark.parametrize("workers", [2] if os.environ.get("CI") else [2, 4])
def test_several_workers_have_the_weights_and_losses_of_one(
    workers: int, alone: Path, text: Path, tmp_path: Path
) -> None:
    addresses = free_addresses(workers)
    processes = start(range(workers), text, tmp_path / "run", steps=60, addresses=addresses)
    with killed_at_the_end(processes):
        assert [finish(process)[0] for process in processes] == [0] * workers
    assert weights(tmp_path / "run") == weights(alone)
    assert losses(tmp_path / "run") == losses(alone)


@pytest.mark.parametrize(("victim", "number"), [(1, signal.SIGKILL), (1, signal.SIGSTOP), (0, signal.SIGKILL)])
def test_after_a_lost_worker_the_run_goes_on_alone_to_the_same_end(
    victim: int, number: signal.Signals, text: Path, tmp_path: Path
) -> None:
    run, addresses = tmp_path / "run", free_addresses(2)
    options = ["--worker-timeout", "10"]
    processes = start((0, 1), text, run, steps=100_000, addresses=addresses, options=options)
    with killed_at_the_end(processes):
        wait_for_checkpoint(run, step=10)
        processes[victim].send_signal(number)
        code, printed = finish(processes[1 - victim])
    assert code == WORKER_LOST
    assert f"worker {victim} ({addresses[victim]}): lost; continue with --resume" in printed
    done = max(saved_steps(run / "checkpoints"))
    (again,) = start([None], None, run, steps=done + 20, resume=True)
    assert finish(again)[0] == 0
    (other,) = start([None], text, tmp_path / "other", steps=done + 20)
    assert finish(other)[0] == 0
    assert weights(run) == weights(tmp_path / "other")


def test_a_run_of_one_machine_goes_on_with_two_and_sigterm_to_any_ends_both(text: Path, tmp_path: Path) -> None:
    run, addresses = tmp_path / "run", free_addresses(2)
    (begun,) = start([None], text, run, steps=20)
    assert finish(begun)[0] == 0
    processes = start((0, 1), None, run, steps=100_000, addresses=addresses, resume=True)
    with killed_at_the_end(processes):
        wait_for_checkpoint(run, step=30)
        processes[1].send_signal(signal.SIGTERM)
        (chief, told), (other, why) = map(finish, processes)
    assert (chief, other) == (128 + signal.SIGTERM, 0)
    assert "stopped by SIGTERM" in told
    assert "stopped by SIGTERM" in why


def test_other_settings_and_another_text_are_named(text: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text(text.read_text(encoding="utf-8")[1:], encoding="utf-8")
    for source, options, expected in (
        (text, ["-s", "model.units=17"], "worker 1 ({}): model.units: found 17; must be 16, as on worker 0 ({})"),
        (other, [], "worker 1 ({}): another text or split than on worker 0 ({}); give each the same"),
    ):
        addresses = free_addresses(2)
        chief = start([0], text, tmp_path / "run", steps=20, addresses=addresses)
        worker = start([1], source, tmp_path / "run", steps=20, addresses=addresses, options=options)
        with killed_at_the_end([*chief, *worker]):
            results = [finish(process) for process in (*chief, *worker)]
        assert [code for code, _ in results] == [1, 1]
        assert all(expected.format(addresses[1], addresses[0]) in printed for _, printed in results)
        assert not (tmp_path / "run").exists()


def test_a_worker_that_does_not_come_is_named(text: Path, tmp_path: Path) -> None:
    addresses = free_addresses(3)
    options = ["--start-timeout", "8"]
    processes = start((0, 2), text, tmp_path / "run", steps=20, addresses=addresses, options=options)
    with killed_at_the_end(processes):
        results = [finish(process) for process in processes]
    assert [code for code, _ in results] == [WORKER_LOST, WORKER_LOST]
    assert all(f"worker 1 ({addresses[1]}): has not come within 8 s" in printed for _, printed in results)
    assert not (tmp_path / "run").exists()


def test_the_same_task_twice_and_a_port_in_use_are_refused(text: Path, tmp_path: Path) -> None:
    addresses = free_addresses(2)
    with socket.create_server(("127.0.0.1", int(addresses[1].rpartition(":")[2]))):
        (worker,) = start([1], text, tmp_path / "run", steps=20, addresses=addresses)
        code, printed = finish(worker)
    assert code == 1
    assert f"worker 1 ({addresses[1]}): cannot listen there" in printed
