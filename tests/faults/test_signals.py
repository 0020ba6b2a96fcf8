"""Signals sent to a real `charlm train` or `charlm tokenize`."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from processes import Process, command_line, started, wait_until

from charlm.training import checkpoints
from charlm.training.signals import CAUGHT

pytestmark = pytest.mark.slow

GRACE_SECONDS = 30
"""An idle machine needs less than one second; this limit only detects a process that does not stop."""


@contextmanager
def training(run: Path, *, until: str) -> Iterator[Process]:
    """Train without an end, and wait until there is something in a file of the run."""
    with started(
        command_line("train", "-c", "tiny", "-s", "training.steps=100000", "-s", "training.evaluations=1000", "-r", run)
    ) as (process,):
        wait_until(
            lambda: (run / until).is_file() and (until == ".lock" or (run / until).stat().st_size > 0), [process]
        )
        yield process


@pytest.mark.parametrize("number", CAUGHT)
def test_a_signal_makes_a_run_save_and_say_how_to_continue(number: signal.Signals, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with training(run, until="metrics.jsonl") as process:
        process.send_signal(number)
        _, said = process.communicate(timeout=GRACE_SECONDS)
    assert process.returncode == 128 + number
    assert f"stopped by {number.name}" in said
    assert said.endswith(f"charlm: continue with: charlm train --resume --run {run}\n")
    assert checkpoints.restore(run / "checkpoints", warn=pytest.fail).facts.progress.step >= 10


@pytest.mark.parametrize(
    ("until", "numbers"),
    [
        (".lock", [signal.SIGTERM]),  # before its first step
        ("best.safetensors", [signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGCONT]),  # both at one moment
    ],
)
def test_a_signal_before_the_first_step_or_a_second_one_stops_at_once(
    until: str, numbers: list[signal.Signals], tmp_path: Path
) -> None:
    with training(tmp_path / "run", until=until) as process:
        for number in numbers:
            process.send_signal(number)
        _, said = process.communicate(timeout=GRACE_SECONDS)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "Traceback" not in said
    if until != ".lock":
        checkpoints.restore(tmp_path / "run/checkpoints", warn=pytest.fail)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_tokenize_without_leaving_anything_behind(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes(b"To be, or not to be.\n" * 4_000_000)
    with started(command_line("tokenize", tmp_path / "text.txt", "--out", tmp_path / "out")) as (process,):
        wait_until((tmp_path / "out/ids.npy").exists, [process], pause=0)
        process.send_signal(number)
        _, said = process.communicate(timeout=GRACE_SECONDS)
    assert process.returncode == 128 + number
    assert "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]
