"""Real `charlm train` and `charlm tokenize` processes that are stopped or killed, or that train one run together.

A run that was stopped at random steps and resumed ends like an uninterrupted one, to the byte: models, state, metrics,
TensorBoard's steps, samples. Several processes on loopback train one run by TF_CONFIG, as several machines would.
"""

import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora import write_plays
from fake_runs import CLOCK, repeatable_files
from processes import Process, command_line, run_process, settings, started, wait_until
from run_folders import read_events, read_metrics

from charlm.network.model_file import read_model
from charlm.training import checkpoints

KILL, HANG_UP, INTERRUPT, TERMINATE = signal.SIGKILL, signal.SIGHUP, signal.SIGINT, signal.SIGTERM
GRACE_SECONDS, MACHINE_SECONDS = 60, 600
"""Nothing takes so long unless it hangs, even on a busy machine."""
STEPS_PER_STOP = 180


def newest_step(run: Path) -> int:
    """Return the step of the newest checkpoint of a run; -1 if there is none."""
    return max((int(path.stem.removeprefix("step-")) for path in run.glob("checkpoints/step-*")), default=-1)


def differences(*runs: Path) -> set[str]:
    """Return the names of the parts in which two runs differ, of those that do not depend on when it was stopped."""
    parts = []
    for run in runs:
        events, temporary = read_events(run), [str(path.relative_to(run)) for path in run.rglob("*.tmp")]
        found = {
            "metrics.jsonl": [{key: line[key] for key in line if key not in CLOCK} for line in read_metrics(run)],
            "tensorboard": {tag: [one.step for one in events.Tensors(tag)] for tag in events.Tags()["tensors"]},
            "sample": run_process("sample", run, "-n", 300, "--seed", 1).stdout,
        }
        parts.append({**repeatable_files(run), **found, **dict.fromkeys(temporary)})
    one, other = parts
    return {name for name in {*one, *other} if name not in one or name not in other or one[name] != other[name]}


# One process


def start_or_resume(folder: Path, *, steps: int) -> list[str]:
    """Return the command that starts a run in folder/run, or resumes it if it exists."""
    run = folder / "run"
    if (run / "config.yaml").is_file():
        return command_line("train", "--resume", "-r", run)
    shutil.rmtree(run, ignore_errors=True)  # what a killed process has left is no run
    chosen = settings(
        *("model.layers=2", "model.layer_dropout=0.1", "model.output_dropout=0.1", "sampling.length=40"),
        *("training.average_momentum=0.9", "training.state_reset=0.1", "training.log_every=10"),
        *("training.shuffle=true", "training.growing_windows=true"),
        *(f"training.steps={steps}", f"training.evaluations={steps // 20}"),
    )
    return command_line("train", write_plays(folder / "text.txt"), "-c", "tiny", *chosen, "-r", run)


@pytest.mark.parametrize(
    ("stops", "seed"),
    [
        pytest.param([KILL, INTERRUPT, HANG_UP, KILL, TERMINATE], 0, marks=pytest.mark.slow),
        *(pytest.param([KILL] * 6, seed, marks=pytest.mark.nightly) for seed in (1, 2, 3)),
    ],
)
def test_a_stopped_run_ends_like_an_uninterrupted_one(stops: list[signal.Signals], seed: int, tmp_path: Path) -> None:
    steps, rng, run = STEPS_PER_STOP * (len(stops) + 2), random.Random(seed), tmp_path / "stopped/run"
    for number in stops:
        later = newest_step(run) + rng.randint(1, 100)
        with started(start_or_resume(run.parent, steps=steps)) as (process,):
            wait_until(lambda: newest_step(run) >= later, [process])  # noqa: B023
            process.send_signal(number)
            _, said = process.communicate(timeout=GRACE_SECONDS)
        assert process.returncode == (-number if number == KILL else 128 + number), said
        if number != KILL:
            assert f"stopped by {number.name}" in said
            assert said.endswith(f"charlm: continue with: charlm train --resume -r {run}\n")
            assert [*run.rglob("*.tmp")] == []
    for folder in (run.parent, tmp_path / "whole"):
        with started(start_or_resume(folder, steps=steps)) as (process,):
            _, said = process.communicate()
        assert process.returncode == 0, said
    assert differences(run, tmp_path / "whole/run") == set()


@pytest.mark.slow
@pytest.mark.parametrize("until", [".lock", "best.safetensors"])
def test_a_signal_before_the_first_step_or_a_second_one_stops_at_once(until: str, tmp_path: Path) -> None:
    endless = settings("training.steps=100000", "training.evaluations=1000")
    with started(command_line("train", "-c", "tiny", *endless, "-r", tmp_path / "run")) as (process,):
        wait_until((tmp_path / "run" / until).is_file, [process])
        both_at_one_moment = [signal.SIGSTOP, INTERRUPT, TERMINATE, signal.SIGCONT]
        for number in [TERMINATE] if until == ".lock" else both_at_one_moment:
            process.send_signal(number)
        _, said = process.communicate(timeout=GRACE_SECONDS)
    assert process.returncode == 128 + TERMINATE, said
    assert "Traceback" not in said
    if until != ".lock":
        checkpoints.restore(tmp_path / "run/checkpoints", warn=pytest.fail)


# Several machines

STEPS = 200
LOST = "charlm: TF_CONFIG: another machine has ended or does not answer"
DIFFICULT = (
    *("model.layers=2", "model.skip_connections=true", "model.layer_dropout=0.2", "model.rnn.dropout=0.1"),
    *("training.average_momentum=0.9", "training.state_reset=0.1", "training.optimizer.name=muon"),
    *("training.parts=2", "training.batch_size=12", "training.schedule.name=constant", "training.evaluations=20"),
)
"""Everything that machines could do differently."""


def train_line(text: Path | None, run: Path, *options: str, steps: int) -> list[str]:
    """Return the command line of a training with DIFFICULT settings; without a text, of a resume."""
    begin = ["--resume"] if text is None else [str(text), "-c", "tiny", *settings(*DIFFICULT)]
    return command_line("train", *begin, "-r", run, *settings(f"training.steps={steps}"), *options)


@contextlib.contextmanager
def training(lines: Sequence[list[str]]) -> Iterator[list[Process]]:
    """Start a command line for each worker, at free ports that the system does not give away itself."""
    with contextlib.ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < len(lines):
            with contextlib.suppress(OSError):
                port = secrets.choice(range(20_000, 32_000))
                stack.enter_context(contextlib.closing(socket.create_server(("127.0.0.1", port))))
                ports.append(port)
    cluster, processes = {"worker": [f"127.0.0.1:{port}" for port in ports]}, list[Process]()
    with contextlib.ExitStack() as stack:
        for index, line in enumerate(lines):
            config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
            variables = {**os.environ, "TF_CONFIG": config if len(lines) > 1 else ""}  # a single one is a machine alone
            options: dict[str, Any] = {"stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL, "env": variables}
            processes += stack.enter_context(started(line, **options))
        yield processes


def train_with(*lines: list[str], code: int = 0) -> list[str]:
    """Run a command line for each worker; return what each has printed, once it has ended with this exit code."""
    with training(lines) as processes:
        ended = [(process.communicate(timeout=MACHINE_SECONDS)[0], process.returncode) for process in processes]
    assert [found for _, found in ended] == [code] * len(ended), ended
    return [printed for printed, _ in ended]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a text file of 20,000 characters."""
    return write_plays(tmp_path_factory.mktemp("text") / "text.txt")


@pytest.fixture(scope="module")
def of_two(text: Path) -> Path:
    """Return a run of two machines."""
    run = text.parent / "two"
    _, told = train_with(*2 * [train_line(text, run, steps=STEPS)])
    assert told.splitlines()[1:] == ["charlm: all steps done; the run is on worker 0"]
    return run


@pytest.mark.slow
def test_machines_add_up_the_gradients_of_one(text: Path, tmp_path: Path) -> None:
    """Without dropout; the last bits differ, as the sums are in another order."""
    line = command_line("train", text, "-c", "tiny", *settings("training.steps=10", "training.batch_size=12"))
    found = []
    for count in (1, 2, 3):
        train_with(*count * [[*line, "-r", str(tmp_path / str(count))]])
        found.append(read_model(tmp_path / str(count) / "last.safetensors").parameters.tensors())
    for name, expected in found[0].items():
        for other in found[1:]:
            np.testing.assert_allclose(other[name], expected, atol=1e-5)


@pytest.mark.slow
def test_a_lost_machine_ends_the_other_and_two_go_on_to_the_same_bits(of_two: Path, text: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for lost, number, begin in ((1, KILL, text), (0, KILL, None), (1, signal.SIGSTOP, None)):
        before = newest_step(run)
        with training(2 * [train_line(begin, run, steps=STEPS)]) as processes:
            wait_until(lambda: newest_step(run) >= before + 20, processes, seconds=MACHINE_SECONDS)  # noqa: B023
            processes[lost].send_signal(number)
            printed, _ = processes[1 - lost].communicate(timeout=60)
            assert processes[1 - lost].returncode == 1
            assert printed.splitlines()[-1].startswith(LOST)
            assert "Traceback" not in printed
            processes[lost].kill()
    train_with(*2 * [train_line(None, run, steps=STEPS)])
    assert differences(of_two, run) == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "options", "found"),
    [(0, ["-s", "model.units=17"], "the settings of model"), (1, [], "the text"), (None, [], "")],
)
def test_other_settings_another_text_and_a_missing_one_end_all(
    first: int | None, options: list[str], found: str, text: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.txt"
    if first is not None:
        other.write_text(text.read_text(encoding="utf-8")[first:], encoding="utf-8")
    lines = train_line(text, tmp_path / "run", steps=20), train_line(other, tmp_path / "run", *options, steps=20)
    for index, printed in enumerate(train_with(*lines, code=1)):
        if first is not None:
            assert f"TF_CONFIG: worker 1 differs from worker 0 in {found}; must be the same on all" in printed
        else:
            assert (LOST, "other.txt: no such file or folder")[index] in printed
    assert not (tmp_path / "run").exists()
