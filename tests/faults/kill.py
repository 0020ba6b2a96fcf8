"""Stop a real `charlm train` many times at random moments, and compare the run with an uninterrupted one.

There are three kinds of moments: while the process starts, while it trains, and as soon as there is a temporary file
that it is writing. The results must be the same to the byte: models, state, metrics, TensorBoard's steps, samples.
"""

import os
import random
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from corpora import write_plays
from fake_runs import CLOCK, repeatable_files
from processes import Process, command_line, run_process, settings, started, wait_until
from run_folders import read_events, read_metrics

STEPS_PER_KILL = 180
LOADED = ("numpy", "tensorflow", "run/.lock")
"""How far a process that starts may have come: it has loaded this library, or locked the run."""
MOMENTS = ("starting", "training", "writing")
SETTINGS = (
    "training.log_every=10",
    *("model.layers=2", "model.layer_dropout=0.1", "model.output_dropout=0.1", "sampling.length=40"),
    *("training.average_momentum=0.9", "training.state_reset=0.1"),
    *("training.shuffle=true", "training.growing_windows=true"),
)


class Stop(NamedTuple):
    """How a process was stopped."""

    is_inside_write: bool
    """Whether it left a temporary file."""
    seconds: float
    """From the signal to the end of the process."""


def start_or_resume(folder: Path, *, steps: int) -> list[str]:
    """Return the command that starts a run in folder/run, or resumes it if it exists."""
    run = folder / "run"
    if (run / "config.yaml").is_file():
        return command_line("train", "--resume", "-r", run)
    shutil.rmtree(run, ignore_errors=True)  # what a killed process has left is no run
    chosen = settings(*SETTINGS, f"training.steps={steps}", f"training.evaluations={steps // 20}")
    return command_line("train", write_plays(folder / "text.txt"), "-c", "tiny", *chosen, "-r", run)


def train_to_the_end(folder: Path, *, steps: int) -> Path:
    """Start or resume the run in folder/run, and return it when it has ended."""
    with started(start_or_resume(folder, steps=steps)) as (process,):
        _, said = process.communicate()
    assert process.returncode == 0, said
    return folder / "run"


def stop_once(folder: Path, *, steps: int, moment: str, number: signal.Signals, rng: random.Random) -> Stop:
    """Start or resume the run in folder/run, and send a signal at one of MOMENTS; `rng` decides at which step."""
    run = folder / "run"
    later, loaded = newest_step(run) + rng.randint(1, 100), rng.choice(LOADED)
    with started(start_or_resume(folder, steps=steps)) as (process,):
        if moment == "starting":
            wait_until(lambda: _has_loaded(process, loaded, folder), [process], pause=0.001)
        else:
            wait_until(lambda: newest_step(run) >= later, [process])
        if moment == "writing":
            _freeze_inside_a_write(process, run)
        sent = time.perf_counter()
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        _, said = process.communicate(timeout=60)
        seconds = time.perf_counter() - sent
    # Before Python has set its handlers, a signal ends the process in the default way.
    expected = {-number} if number == signal.SIGKILL or moment == "starting" else set()
    expected |= {128 + number} if number != signal.SIGKILL else set()
    assert process.returncode in expected, f"exit code {process.returncode}: {said}"
    is_inside_write = any(name.startswith(f".{process.pid}.") for name in temporary_files(run))
    assert is_inside_write or (number, moment) != (signal.SIGKILL, "writing")
    return Stop(is_inside_write, seconds)


def _has_loaded(process: Process, name: str, folder: Path) -> bool:
    """Return whether a process has come as far as a name in LOADED."""
    about = Path("/proc") / str(process.pid)
    if name.startswith("run/"):
        with suppress(FileNotFoundError):  # it has closed one meanwhile
            return str(folder / name) in {str(one.readlink()) for one in (about / "fd").iterdir()}
        return False
    return f"/{name}/" in (about / "maps").read_text()


def _freeze_inside_a_write(process: Process, run: Path) -> None:
    """Stop a process while it has a temporary file; let it go on for as long as it has none."""
    is_inside = False
    while not is_inside:
        process.send_signal(signal.SIGCONT)
        wait_until(lambda: bool(temporary_files(run)), [process], pause=0)
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        is_inside = bool(temporary_files(run))


def newest_step(run: Path) -> int:
    """Return the step of the newest checkpoint of a run; -1 if there is none."""
    names = [name for name in _names(run / "checkpoints") if name.startswith("step-")]
    return max((int(name.removeprefix("step-").removesuffix(".safetensors")) for name in names), default=-1)


def _names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()


def temporary_files(run: Path) -> list[str]:
    """Return the names of the files and folders that a run is writing, or was when it was killed."""
    return sorted(name for name in _names(run) | _names(run / "checkpoints") if name.endswith(".tmp"))


def reproducible_parts(run: Path) -> dict[str, Any]:
    """Return the parts of a run that must not depend on when it was stopped, by name."""
    events = read_events(run)
    return {
        **repeatable_files(run),
        "metrics.jsonl": [{key: line[key] for key in line if key not in CLOCK} for line in read_metrics(run)],
        "tensorboard": {tag: [one.step for one in events.Tensors(tag)] for tag in sorted(events.Tags()["tensors"])},
        "temporary files": temporary_files(run),
        "sample": run_process("sample", run, "-n", 300, "--seed", 1).stdout,
    }


def differences(first: Path, second: Path) -> list[str]:
    """Return the names of the parts in which two runs differ."""
    one, other = reproducible_parts(first), reproducible_parts(second)
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
