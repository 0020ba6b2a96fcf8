"""Signals: noted in this process, and answered in time by a real one."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from charlm.training import checkpoints
from charlm.training.signals import CAUGHT, stop_on_signal

GRACE_SECONDS = 30
"""An idle machine takes less than one; the limit only tells a run that answers from one that goes on."""


def test_a_deferred_signal_is_noted_and_nothing_dies() -> None:
    for number in CAUGHT:
        with stop_on_signal() as wish, wish.deferred():
            assert wish.signal is None
            signal.raise_signal(number)
            assert wish.signal == number


def test_the_second_signal_acts_at_once() -> None:
    with stop_on_signal() as wish, wish.deferred():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert wish.signal == signal.SIGINT


def test_the_handlers_are_put_back_however_it_ends() -> None:
    before = [signal.getsignal(number) for number in CAUGHT]
    with pytest.raises(ZeroDivisionError), stop_on_signal():
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in CAUGHT] == before


@contextmanager
def training(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """Run `charlm train` in a process of its own, which is gone at the end of the block."""
    command = [sys.executable, "-m", "charlm", "train", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()


def wait_for_a_log(run: Path) -> None:
    deadline = time.monotonic() + 60
    while not (run / "metrics.jsonl").is_file() or not (run / "metrics.jsonl").stat().st_size:
        assert time.monotonic() < deadline, "nothing was logged"
        time.sleep(0.05)


def stop(process: "subprocess.Popen[str]", number: signal.Signals, *, run: Path) -> str:
    """Send a signal once the run has logged; return what it says on standard error until it ends."""
    wait_for_a_log(run)
    process.send_signal(number)
    return process.communicate(timeout=GRACE_SECONDS)[1]


@pytest.mark.parametrize("number", CAUGHT)
def test_a_run_that_is_told_to_stop_saves_and_says_how_to_go_on(number: signal.Signals, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with training("-c", "tiny", "-s", "training.steps=100000", "-r", run) as process:
        said = stop(process, number, run=run)
    assert process.returncode == 128 + number
    assert f"stopped by {number.name}" in said
    assert said.endswith(f"charlm: go on with: charlm train --resume --run {run}\n")
    _, progress, _ = checkpoints.restore(run / "checkpoints", warn=pytest.fail)
    assert progress.step >= 10


def test_a_run_that_was_told_to_stop_can_be_finished(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with training("-c", "tiny", "-s", "training.steps=100000", "-r", run) as process:
        stop(process, signal.SIGINT, run=run)
    step = checkpoints.restore(run / "checkpoints", warn=pytest.fail)[1].step
    with training("--resume", "-r", run, "-s", f"training.steps={step + 5}") as process:
        said = process.communicate()[1]
    assert process.returncode == 0, said
    assert f"resumed at step {step:,} of {step + 5:,}" in said
