"""Signals sent to a real `charlm train`."""

import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from processes import command_line, run_process

from charlm.training import checkpoints
from charlm.training.signals import CAUGHT

pytestmark = pytest.mark.slow

GRACE_SECONDS = 30
"""An idle machine needs less than one second; this limit only detects a run that does not stop."""


@contextmanager
def training(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """Run `charlm train` in a separate process, which is killed at the end of the block."""
    command = command_line("train", *arguments)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()


def wait_for_a_log(process: "subprocess.Popen[str]", run: Path) -> None:
    deadline = time.monotonic() + 60
    while not (run / "metrics.jsonl").is_file() or not (run / "metrics.jsonl").stat().st_size:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "nothing was logged"
        time.sleep(0.05)


def stop(process: "subprocess.Popen[str]", number: signal.Signals, *, run: Path) -> str:
    """Send a signal after the first log line of the run; return its standard error."""
    wait_for_a_log(process, run)
    process.send_signal(number)
    return process.communicate(timeout=GRACE_SECONDS)[1]


@pytest.mark.parametrize("number", CAUGHT)
def test_a_signal_makes_a_run_save_and_say_how_to_continue(number: signal.Signals, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with training("-c", "tiny", "-s", "training.steps=100000", "-r", run) as process:
        said = stop(process, number, run=run)
    assert process.returncode == 128 + number
    assert f"stopped by {number.name}" in said
    assert said.endswith(f"charlm: continue with: charlm train --resume --run {run}\n")
    assert checkpoints.restore(run / "checkpoints", warn=pytest.fail).facts.progress.step >= 10


def test_a_second_signal_stops_at_once_and_leaves_the_last_checkpoint_whole(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with training("-c", "tiny", "-s", "training.steps=100000", "-r", run) as process:
        wait_for_a_log(process, run)
        for number in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGCONT):  # both come at the same moment
            process.send_signal(number)
        _, said = process.communicate(timeout=GRACE_SECONDS)
    assert process.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in said
    checkpoints.restore(run / "checkpoints", warn=pytest.fail)


@pytest.mark.parametrize("awaited", ["metrics.jsonl", ".lock"])
def test_a_signal_between_the_run_and_its_first_step_ends_training_at_once(awaited: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with training("-c", "tiny", "-s", "training.steps=100000", "-r", run) as process:
        deadline = time.monotonic() + 60
        while not (run / awaited).exists():
            assert process.poll() is None
            assert time.monotonic() < deadline, f"no {awaited}"
            time.sleep(0.001)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=GRACE_SECONDS)[1]
    assert process.returncode == 143, said
    assert "Traceback" not in said


@contextmanager
def tokenizing(out: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `charlm tokenize` on standard input that does not end, and wait until its scratch folder is there."""
    command = command_line("tokenize", "-", "--out", out)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            deadline = time.monotonic() + 60
            while not any(out.parent.glob(".*/standard_input")):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", CAUGHT)
def test_a_signal_ends_tokenize_without_leaving_anything_behind(number: signal.Signals, tmp_path: Path) -> None:
    with tokenizing(tmp_path / "out") as process:
        process.send_signal(number)
        _, said = process.communicate(timeout=GRACE_SECONDS)
    assert process.returncode == (130 if number == signal.SIGINT else 128 + number)
    assert b"Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_tokenize_leaves_behind_is_removed_by_the_next(tmp_path: Path) -> None:
    with tokenizing(tmp_path / "out") as process:
        process.kill()
        process.communicate(timeout=GRACE_SECONDS)
    assert len(list(tmp_path.iterdir())) == 1
    done = run_process("tokenize", "-", "--out", tmp_path / "out", input="some text")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
