"""Stop a real `charlm train` at random steps, and compare the run with an uninterrupted one.

The results must be the same to the byte: models, state, metrics, TensorBoard's steps, samples.
"""

import random
import shutil
import signal
from pathlib import Path
from typing import Any

from corpora import write_plays
from fake_runs import CLOCK, repeatable_files
from processes import command_line, run_process, settings, started, wait_until
from run_folders import read_events, read_metrics

STEPS_PER_KILL = 180
SETTINGS = (
    "training.log_every=10",
    *("model.layers=2", "model.layer_dropout=0.1", "model.output_dropout=0.1", "sampling.length=40"),
    *("training.average_momentum=0.9", "training.state_reset=0.1"),
    *("training.shuffle=true", "training.growing_windows=true"),
)


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


def stop_once(folder: Path, *, steps: int, number: signal.Signals, rng: random.Random) -> None:
    """Start or resume the run in folder/run, and send a signal after a random number of steps."""
    run = folder / "run"
    later = newest_step(run) + rng.randint(1, 100)
    with started(start_or_resume(folder, steps=steps)) as (process,):
        wait_until(lambda: newest_step(run) >= later, [process])
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    is_killed = number == signal.SIGKILL
    assert process.returncode == (-number if is_killed else 128 + number), said
    assert is_killed or temporary_files(run) == []


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
