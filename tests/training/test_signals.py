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
from charlm.training.signals import CAUGHT, Stopped, stop_on_signal

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


@pytest.mark.parametrize("number", CAUGHT)
def test_a_signal_that_is_not_deferred_acts_at_once(number: signal.Signals) -> None:
    with stop_on_signal(), pytest.raises(Stopped, match=f"stopped by {number.name}") as stopped:
        signal.raise_signal(number)
    assert stopped.value.exit_code == 128 + number


def test_what_takes_long_can_be_cut_short_among_what_is_deferred() -> None:
    with stop_on_signal() as wish, wish.deferred():
        with pytest.raises(Stopped), wish.at_once():
            signal.raise_signal(signal.SIGTERM)
        assert wish.is_deferred


def test_what_takes_long_is_not_begun_after_a_signal() -> None:
    with stop_on_signal() as wish, wish.deferred():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Stopped), wish.at_once():
            pytest.fail("it was begun")


def test_an_error_that_follows_from_a_signal_is_its_doing() -> None:
    def work() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            raise AssertionError("Concurrent access?")

    with stop_on_signal() as wish, pytest.raises(Stopped), wish.at_once():
        work()


def test_an_error_without_a_signal_stays_what_it_is() -> None:
    with stop_on_signal() as wish, pytest.raises(ZeroDivisionError), wish.at_once():
        raise ZeroDivisionError


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signal() as wish:
            signal.raise_signal(signal.SIGHUP)
        assert wish.signal is None
    finally:
        signal.signal(signal.SIGHUP, before)


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


def test_a_second_signal_during_an_evaluation_stops_at_once_and_leaves_the_last_checkpoint_whole(
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    with training("-c", "tiny", "-s", "training.steps=100000", "-r", run) as process:
        wait_for_a_log(run)
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=GRACE_SECONDS)
    assert process.returncode == 130
    checkpoints.restore(run / "checkpoints", warn=pytest.fail)


@pytest.mark.parametrize("moment", ["text", "TensorFlow"])
def test_a_signal_while_training_starts_ends_it_at_once(moment: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    awaited = run / ("metrics.jsonl" if moment == "TensorFlow" else ".lock")
    with training("-c", "tiny", "-r", run) as process:
        while not awaited.exists():
            assert process.poll() is None
            time.sleep(0.001)
        time.sleep(0.5 if moment == "TensorFlow" else 0)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=GRACE_SECONDS)[1]
    assert process.returncode == 143, said
    assert "Traceback" not in said
