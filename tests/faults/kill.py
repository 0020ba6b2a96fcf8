"""Stop a real `charlm train` many times at random moments, and compare the run with an uninterrupted one.

There are three kinds of moments: while the process starts, while it trains, and as soon as there is a temporary file
that it is writing. The results must be the same to the byte: bundles, state, metrics, TensorBoard's steps, samples.
"""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from fake_runs import CLOCK, repeatable_files
from processes import command_line, run_process, settings
from run_folders import read_events, read_metrics

from charlm.config.recipes import DEFAULT_CORPUS

STEPS_PER_KILL = 180
LOADED = ("numpy", "tensorflow", "run/.lock")
"""How far a process that starts may have come: it has loaded this library, or locked the run."""
MOMENTS = ("starting", "training", "writing")
NOT_ALWAYS_SHOWN = (
    *("gradient_norm/", "gradient_to_weights/", "update_norm/", "update_to_weights/"),
    *("spectral_radius/", "saturated/", "state/", "gradient_by_lag", "sample/"),
)
SETTINGS = (
    *("training.log_every=10", "training.evaluate_every=20", "training.checkpoint_every=20"),
    *("model.layers=2", "model.layer_dropout=0.1", "model.output_dropout=0.1", "sampling.length=40"),
    *("training.average_momentum=0.9", "training.state_reset=0.1"),
    *("training.shuffle=true", "training.growing_windows=true"),
)


class Stop(NamedTuple):
    """How a process was stopped."""

    moment: str
    step: int
    """The step of the newest checkpoint that it left; -1 if there is none."""
    is_inside_write: bool
    """Whether it left a temporary file."""
    seconds: float
    """From the signal to the end of the process."""


def start_or_resume(folder: Path, *, steps: int) -> list[str]:
    """Return the command that starts a run in folder/run, or resumes it if it exists."""
    run, text = folder / "run", folder / "text.txt"
    if (run / "config.yaml").is_file():
        return command_line("train", "--resume", "-r", run)
    text.write_text(DEFAULT_CORPUS.read_text(encoding="utf-8")[:20_000], encoding="utf-8")
    chosen = settings(*SETTINGS, f"training.steps={steps}")
    return command_line("train", text, "-c", "tiny", *chosen, "-r", run)


def train_uninterrupted(folder: Path, *, steps: int) -> Path:
    """Train without interruption; return the run."""
    folder.mkdir()
    subprocess.run(start_or_resume(folder, steps=steps), check=True, capture_output=True)
    return folder / "run"


def train_with_stops(
    folder: Path, *, steps: int, stops: Sequence[tuple[str, signal.Signals]], seed: int = 0
) -> tuple[Path, list[Stop]]:
    """Train, and stop the process several times.

    Args:
        folder: A new folder.
        steps: The number of steps of the run.
        stops: One of MOMENTS for each stop, and the signal that is sent then.
        seed: Decides at which step, and how far into the start of the process.

    Returns:
        The run, and how each stop went.

    """
    folder.mkdir()
    rng = random.Random(seed)
    done = [_stop_once(folder, steps=steps, number=number, moment=moment, rng=rng) for moment, number in stops]
    last = subprocess.run(start_or_resume(folder, steps=steps), check=False, capture_output=True, text=True)
    assert last.returncode == 0, last.stderr
    return folder / "run", done


def _stop_once(folder: Path, *, steps: int, number: signal.Signals, moment: str, rng: random.Random) -> Stop:
    run = folder / "run"
    before = newest_step(run)
    later = before + rng.randint(1, 100)
    command = start_or_resume(folder, steps=steps)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        if moment == "starting":
            loaded = rng.choice(LOADED)
            _wait_for(process, lambda: _has_loaded(process, loaded, folder), seconds=60, pause=0.001)
        else:
            _wait_for(process, lambda: newest_step(run) >= later, seconds=60)
        if moment == "writing":
            _freeze_inside_a_write(process, run)
        assert process.poll() is None, f"it ended before the signal: {process.stderr and process.stderr.read()}"
        sent = time.perf_counter()
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        _, said = process.communicate(timeout=60)
        seconds = time.perf_counter() - sent
    # Before Python has set its handlers, a signal ends the process in the default way.
    expected = {-number} if number == signal.SIGKILL or moment == "starting" else set()
    expected |= {128 + number} if number != signal.SIGKILL else set()
    assert process.returncode in expected, f"exit code {process.returncode}: {said}"
    is_inside_write = any(f".{process.pid}." in name for name in temporary_files(run))
    assert is_inside_write or (number, moment) != (signal.SIGKILL, "writing")
    return Stop(moment, newest_step(run), is_inside_write, seconds)


def _wait_for(
    process: "subprocess.Popen[str]", is_so: Callable[[], bool], *, seconds: float, pause: float = 0.01
) -> None:
    """Wait until a condition is true, the time is over or the process has ended."""
    deadline = time.monotonic() + seconds
    while not is_so() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(pause)


def _has_loaded(process: "subprocess.Popen[str]", name: str, folder: Path) -> bool:
    """Return whether a process has come as far as a name in LOADED."""
    if name.startswith("run/"):
        with suppress(FileNotFoundError):  # it has closed one meanwhile
            descriptors = (Path("/proc") / str(process.pid) / "fd").iterdir()
            return str(folder / name) in {str(one.readlink()) for one in descriptors}
        return False
    return f"/{name}/" in (Path("/proc") / str(process.pid) / "maps").read_text()


def _freeze_inside_a_write(process: "subprocess.Popen[str]", run: Path) -> None:
    """Stop a process while it has a temporary file; let it go on for as long as it has none."""
    is_inside = False
    while not is_inside and process.poll() is None:
        process.send_signal(signal.SIGCONT)
        _wait_for(process, lambda: bool(temporary_files(run)), seconds=60, pause=0)
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        is_inside = bool(temporary_files(run))


def newest_step(run: Path) -> int:
    """Return the step of the newest checkpoint of a run; -1 if there is none."""
    names = [name for name in _names(run / "checkpoints") if name.startswith("step-")]
    return max((int(name.removeprefix("step-")) for name in names), default=-1)


def _names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()


def temporary_files(run: Path) -> list[str]:
    """Return the names of the files and folders that a run is writing, or was when it was killed."""
    return sorted(name for name in _names(run) | _names(run / "checkpoints") if name.endswith(".tmp"))


def reproducible_parts(run: Path) -> dict[str, Any]:
    """Return the parts of a run that must not depend on when it was stopped, by name."""
    parts: dict[str, Any] = dict(repeatable_files(run))
    parts["metrics.jsonl"] = [{key: line[key] for key in line if key not in CLOCK} for line in read_metrics(run)]
    parts["tensorboard"] = _tensorboard_steps(run)
    parts["temporary files"] = temporary_files(run)
    parts["sample"] = run_process("sample", run, "-n", 300, "--seed", 1).stdout
    return parts


def _tensorboard_steps(run: Path) -> dict[str, list[int]]:
    """Return the steps of each tag, except those that are shown only if there is time or the last step is known."""
    events = read_events(run)
    return {
        tag: [event.step for event in events.Tensors(tag)]
        for tag in sorted(events.Tags()["tensors"])
        if not tag.startswith(NOT_ALWAYS_SHOWN)
    }


def differences(first: Path, second: Path) -> list[str]:
    """Return the names of the parts in which two runs differ."""
    one, other = reproducible_parts(first), reproducible_parts(second)
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
