"""Real `charlm train` processes that are stopped or killed, or that train one run together.

If the same command is repeated after a kill at any moment, the run ends like an uninterrupted one,
to the byte: models, state, metrics, and the steps in TensorBoard. Several processes on this machine
train one run as workers, with TF_CONFIG.
"""

import contextlib
import json
import math
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import charlm, json_of, suggestions
from conftest import MakeOnce
from corpora import write_plays, write_texts
from fake_runs import CLOCK, repeatable_files
from models import weights_of
from processes import Process, command_line, settings, started, wait_until
from run_folders import event_steps, read_metrics

from charlm.core.checkpoints import saved_steps
from charlm.core.model_file import read_model
from charlm.runs.run import read_outcome

KILL, HANG_UP, INTERRUPT, TERMINATE = signal.SIGKILL, signal.SIGHUP, signal.SIGINT, signal.SIGTERM
GRACE_SECONDS, MACHINE_SECONDS = 60, 600
"""Time limits: only a process that hangs takes longer, even on a busy machine."""


def newest_step(run: Path) -> int:
    """Return the step of the newest checkpoint of a run; -1 if there is none."""
    return max(
        (int(path.stem.removeprefix("step-")) for path in run.glob("checkpoints/step-*")),
        default=-1,
    )


def wait_for_step(
    run: Path, step: int, processes: Sequence[Process], *, seconds: float = math.inf
) -> None:
    """Wait until a run has a checkpoint of a step, at most for some seconds."""
    end = time.monotonic() + seconds
    wait_until(
        lambda: newest_step(run) >= step or time.monotonic() > end,
        processes,
        seconds=MACHINE_SECONDS,
    )


def differences(one: Path, other: Path) -> set[str]:
    """Return the names of the parts in which two runs differ."""
    found = parts_of(one)
    expected = parts_of(other)
    same = {name for name in found if name in expected and found[name] == expected[name]}
    return {*found, *expected} - same


def parts_of(run: Path) -> dict[str, Any]:
    """Return the parts of a run that do not depend on the clock."""
    metrics = [
        {key: value for key, value in line.items() if key not in CLOCK}
        for line in read_metrics(run)
    ]
    return {
        **repeatable_files(run),
        **{path.name: path.read_bytes() for path in run.glob("soft_targets.bin")},
        "metrics.jsonl": metrics,
        "tensorboard": event_steps(run),
        **{str(path.relative_to(run)): "" for path in run.rglob("*.tmp")},
    }


def nightly_command(
    text: Path,
    run: Path,
    *overrides: str,
) -> list[str]:
    """Return the command that starts a run, or continues it when repeated."""
    return command_line("train", text, "-c", "tiny", *settings(*overrides), "-r", run, "--resume")


def run_to_its_end(line: list[str], variables: Mapping[str, str] | None = None) -> None:
    """Run a command with more environment variables, and check that it succeeds."""
    ended = subprocess.run(
        line, env={**os.environ, **(variables or {})}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


# A start


START = (
    "training.steps=60",
    "training.evaluations=3",
    "training.ngram_weight=0.3",
    "sampling.length=40",
)
DOCUMENTS, CHARACTERS_PER_DOCUMENT = 1500, 30
"""A text of many small files is read for some time, although it is short."""
MOMENTS = {
    "Python starts": ("sources", 0.4),
    "the text is read": (".*.run.tmp/.lock", 0.1),
    "the text is written": (".*.run.tmp/.*.corpus.tmp", 0.05),
    "TensorFlow is loaded": (".*.run.tmp/corpus", 1.5),
    "the kernel is compiled": ("cache/charlm", 1.7),
    "the kernel is kept": ("cache/charlm/kernel-*.so", 1.5),
    "n-grams are counted": (".*.run.tmp/corpus", 3.0),
    "soft targets are written": (".*.run.tmp/.*.soft_targets.bin.tmp", 0.02),
    "the run has begun": ("run", 0.1),
    "the first checkpoint is written": ("run/checkpoints", 0.05),
}
"""What a start does: the file that appears when that begins, and about how many seconds it takes.

A file under cache/ only appears if the kernel has to be compiled.
"""
SOME_MOMENTS = ("the text is read", "the kernel is compiled", "the run has begun")
KILLS = [
    *(pytest.param(*MOMENTS[name], 0, id=name, marks=pytest.mark.slow) for name in SOME_MOMENTS),
    *(
        pytest.param(*moment, seed, id=f"{name}-{seed}", marks=pytest.mark.nightly)
        for name, moment in MOMENTS.items()
        for seed in (1, 2, 3)
    ),
]


def write_many_texts(folder: Path) -> Path:
    """Write the beginning of the plays as many small files, and return their folder."""
    plays = write_plays(
        folder / "plays.txt", characters=DOCUMENTS * CHARACTERS_PER_DOCUMENT
    ).read_text("utf-8")
    starts = range(0, len(plays), CHARACTERS_PER_DOCUMENT)
    return write_texts(
        folder, *(plays[start : start + CHARACTERS_PER_DOCUMENT] for start in starts)
    )


def wait_for_moment(
    process: Process,
    folder: Path,
    pattern: str,
    *,
    later_seconds: float,
) -> None:
    """Wait until a file has appeared in a folder, and some seconds longer."""
    wait_until(lambda: any(folder.glob(pattern)), [process], every_seconds=0.001)
    time.sleep(later_seconds)


@pytest.fixture
def uninterrupted_start(make_once: MakeOnce, tmp_path: Path) -> Path:
    """Return the run of a start that nothing has disturbed."""
    text = write_many_texts(tmp_path / "uninterrupted-start")
    return make_once(
        "uninterrupted-start",
        lambda run: run_to_its_end(nightly_command(text, run, *START)),
    )


@pytest.mark.parametrize(("pattern", "seconds", "seed"), KILLS)
def test_a_killed_start_can_be_repeated(
    pattern: str, seconds: float, seed: int, uninterrupted_start: Path, tmp_path: Path
) -> None:
    line = nightly_command(write_many_texts(tmp_path), tmp_path / "run", *START)
    variables = {"TMPDIR": str(tmp_path)}  # where a killed process leaves its temporary files
    if pattern.startswith("cache"):
        variables["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    with started(line, env={**os.environ, **variables}) as (process,):
        wait_for_moment(
            process, tmp_path, pattern, later_seconds=random.Random(seed).uniform(0, seconds)
        )
        process.kill()
    run_to_its_end(line, variables)
    assert differences(uninterrupted_start, tmp_path / "run") == set()


# A training


TRAINING = (
    "model.layers=2",
    "model.layer_dropout=0.1",
    "model.output_dropout=0.1",
    "sampling.length=40",
    "training.average_momentum=0.9",
    "training.state_reset=0.1",
    "training.steps=720",
    "training.evaluations=36",
)
MOST_STEPS = 100
"""The largest number of steps between interruptions, so that steps remain after the last one."""
RESUME_SECONDS = 3.0
"""The approximate time until a resumed run takes its first step."""


@pytest.fixture
def uninterrupted(make_once: MakeOnce, tmp_path: Path) -> Path:
    """Return a run that was not interrupted."""
    text = write_plays(tmp_path / "plays.txt")
    return make_once(
        "uninterrupted-training",
        lambda run: run_to_its_end(nightly_command(text, run, *TRAINING)),
    )


@pytest.mark.slow
def test_a_run_under_nohup_survives_the_end_of_its_terminal(
    uninterrupted: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    line = nightly_command(write_plays(tmp_path / "text.txt"), run, *TRAINING)
    with started(["nohup", *line]) as (process,):
        wait_for_step(run, 20, [process])
        process.send_signal(HANG_UP)
        _, said = process.communicate(timeout=GRACE_SECONDS)
    assert process.returncode == 0, said
    assert differences(uninterrupted, run) == set()


READERS = (
    ["runs"],
    ["evaluate"],
    ["sample", "-n", "40"],
    ["inspect", "--only", "units"],
    ["export", "--format", "torch", "--out", "exported"],
)
"""Commands that read a run, which may be unfinished."""


def read_run(run: Path, command: list[str]) -> Any:
    """Return what a command prints about a run; it must succeed."""
    shutil.rmtree("exported", ignore_errors=True)
    name, *options = command
    return json_of(name, run, *options)


def served_text(run: Path) -> Any:
    """Start a server, request a text of a run, and stop the server."""
    with started(command_line("serve", run, "--port", 0)) as (server,):
        assert server.stdout is not None
        url = f"{server.stdout.readline().strip()}/v1/completions"
        request = urllib.request.Request(url, b'{"prompt": "The ", "seed": 1}')
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["choices"]


def results(text: Path, run: Path, child: Path) -> list[Any]:
    """Return the loss and two texts of a run, and the weights of a run that begins with its own."""
    nats = json_of("evaluate", run)["nats_per_char"]
    samples = json_of("sample", run, "--seed", 1)["samples"]
    few = settings("training.steps=20")
    run_to_its_end(command_line("train", text, "-c", "tiny", *few, "--init", run, "-r", child))
    return [nats, samples, served_text(run), weights_of(child / "last.safetensors")]


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(0, marks=pytest.mark.slow),
        *(pytest.param(seed, marks=pytest.mark.nightly) for seed in range(1, 11)),
    ],
)
def test_a_run_that_is_stopped_and_read_many_times_ends_like_an_uninterrupted_one(
    seed: int, uninterrupted: Path, tmp_path: Path
) -> None:
    """Every second signal may come while the run is being resumed, before its first step."""
    rng = random.Random(seed)
    run = tmp_path / "run"
    text = write_plays(tmp_path / "text.txt")
    line = nightly_command(text, run, *TRAINING)
    signals = [KILL, INTERRUPT, KILL, rng.choice([HANG_UP, TERMINATE])]
    for turn, number in enumerate(signals):
        later = newest_step(run) + rng.randint(1, MOST_STEPS)
        seconds = rng.uniform(0, RESUME_SECONDS) if turn == 2 else math.inf
        with started(line) as (process,):
            wait_for_step(run, later, [process], seconds=seconds)
            time.sleep(rng.uniform(0, 0.05))
            process.send_signal(number)
            _, said = process.communicate(timeout=GRACE_SECONDS)
        if number != KILL:
            assert process.returncode == 128 + number, said
            assert said.endswith(f"charlm: continue with: charlm train --resume -r {run}\n")
            assert [*run.rglob("*.tmp")] == []
        for command in rng.sample(READERS, 2):
            read_run(run, command)
    run_to_its_end(line)
    assert differences(uninterrupted, run) == set()
    expected = results(text, uninterrupted, tmp_path / "expected")
    assert results(text, run, tmp_path / "child") == expected


ENDLESS = settings("training.steps=100000", "training.evaluations=1000")


@pytest.mark.slow
def test_a_run_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    run = tmp_path / "run"
    text = write_plays(tmp_path / "text.txt")
    rows = []
    with started(command_line("train", text, "-c", "tiny", *ENDLESS, "-r", run)) as (process,):
        wait_for_step(run, 200, [process], seconds=MACHINE_SECONDS)
        for command in 10 * READERS:
            read_run(run, command)
            rows += read_run(run, ["runs"])
        assert process.poll() is None
        process.kill()
    steps = [row["step"] for row in rows]
    assert steps == sorted(steps)
    assert steps[0] < steps[-1]
    logged = {line["nats_per_char"] for line in read_metrics(run)}
    assert logged >= {row["nats_per_char"] for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize("options", [["-c", "tiny", *ENDLESS], ["--minutes", "60"]], ids=" ".join)
def test_a_signal_before_the_run_has_begun_leaves_nothing_behind(
    options: list[str], tmp_path: Path
) -> None:
    """TensorFlow is loaded, n-grams are counted, and steps are timed in these moments."""
    for seconds in (0.5, 2.0, 3.0, 4.0):
        with started(command_line("train", *options, "-r", tmp_path / "run")) as (process,):
            wait_until(lambda: any(tmp_path.glob(".*.run.tmp/corpus")), [process])
            time.sleep(seconds)
            has_begun = (tmp_path / "run").exists()
            process.send_signal(INTERRUPT)
            _, said = process.communicate(timeout=GRACE_SECONDS)
        assert process.returncode == 128 + INTERRUPT, said
        if has_begun or (tmp_path / "run").exists():
            break
        assert "stopped by SIGINT before training; nothing was saved\n" in said
        assert [*tmp_path.iterdir()] == []


# Several workers

STEPS = 200
LOST = "charlm: TF_CONFIG: another worker has ended or does not answer"
DIFFICULT = (
    "model.layers=2",
    "model.skip_connections=true",
    "model.layer_dropout=0.2",
    "model.rnn.dropout=0.1",
    "training.average_momentum=0.9",
    "training.state_reset=0.1",
    "training.optimizer.name=muon",
    "training.parts=2",
    "training.batch_size=12",
    "training.schedule.final_fraction=1",
    "training.evaluations=20",
)
"""Everything that workers could do differently."""


def train_line(
    text: Path,
    run: Path,
    *options: str,
    steps: int,
) -> list[str]:
    """Return the command of a training with DIFFICULT settings."""
    chosen = settings(*DIFFICULT, f"training.steps={steps}")
    return command_line("train", text, "-c", "tiny", *chosen, "-r", run, *options)


@contextlib.contextmanager
def training(lines: Sequence[list[str]]) -> Iterator[list[Process]]:
    """Start a command line for each worker at free ports below those of the system."""
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
            variables = {
                **os.environ,
                "TF_CONFIG": config if len(lines) > 1 else "",
            }  # a single one is a single worker
            options: dict[str, Any] = {
                "stderr": subprocess.STDOUT,
                "stdin": subprocess.DEVNULL,
                "env": variables,
            }
            processes += stack.enter_context(started(line, **options))
        yield processes


def train_with(*lines: list[str], code: int = 0) -> list[str]:
    """Run a command line for each worker, check the exit codes, and return the outputs."""
    with training(lines) as processes:
        ended = [
            (process.communicate(timeout=MACHINE_SECONDS)[0], process.returncode)
            for process in processes
        ]
    assert [found for _, found in ended] == [code] * len(ended), ended
    return [printed for printed, _ in ended]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a text file of 20,000 characters."""
    return write_plays(tmp_path_factory.mktemp("text") / "text.txt")


FOLLOW = command_line("train")
"""The command of a worker that follows: no text, no recipe, no folder."""


@pytest.fixture(scope="module")
def of_two(text: Path) -> Path:
    """Return a run of two workers."""
    run = text.parent / "two"
    reported, told = train_with(train_line(text, run, steps=STEPS), FOLLOW)
    assert f"\ncharlm: all steps done: {STEPS} steps in " in reported
    sample, *_ = suggestions(reported)
    assert charlm(*sample).exit_code == 0
    assert told.splitlines() == [
        "charlm: TF_CONFIG: this is worker 1; waiting for 1 other worker",
        "charlm: following worker 0, which has the text, the settings and the run",
    ]
    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "counts"),
    [
        pytest.param([], (1, 2, 3), id="random weights"),
        pytest.param(["--init", "first"], (1, 2), id="initial weights"),
    ],
)
def test_workers_add_up_the_gradients_of_one(
    options: list[str], counts: tuple[int, ...], text: Path, trained_run: Path, tmp_path: Path
) -> None:
    """Without dropout; the last bits differ, as the sums are in another order."""
    Path("first").symlink_to(trained_run)
    chosen = settings("training.steps=10", "training.batch_size=12")
    line = command_line("train", text, "-c", "tiny", *chosen, *options)
    found = []
    for count in counts:
        own = [*line, "-s", "training.ngram_weight=0.3", "-r", str(tmp_path / str(count))]
        train_with(own, *(count - 1) * [FOLLOW])
        found.append(read_model(tmp_path / str(count) / "last.safetensors").parameters.tensors)
    for name, expected in found[0].items():
        for other in found[1:]:
            np.testing.assert_allclose(other[name], expected, atol=1e-5)


@pytest.mark.slow
def test_a_run_continues_after_a_lost_worker(
    of_two: Path,
    text: Path,
    tmp_path: Path,
) -> None:
    """Another number of workers can continue it, too; the last bits then differ."""
    run = tmp_path / "run"
    resume = command_line("train", "--resume", "-r", run)
    lines = (train_line(text, run, steps=STEPS), resume, resume)
    losses = ((1, KILL), (0, KILL), (1, signal.SIGSTOP))
    for line, (lost, number) in zip(lines, losses, strict=True):
        before = newest_step(run)
        with training([line, FOLLOW]) as processes:
            wait_for_step(run, before + 20, processes)
            processes[lost].send_signal(number)
            printed, _ = processes[1 - lost].communicate(timeout=60)
            assert processes[1 - lost].returncode == 1
            assert printed.splitlines()[-1].startswith(LOST)
            assert "Traceback" not in printed
            processes[lost].kill()
    other = Path(shutil.copytree(run, tmp_path / "other"))
    train_with(resume, FOLLOW)
    assert differences(of_two, run) == set()
    train_with(command_line("train", "--resume", "-r", other), FOLLOW, FOLLOW)
    assert read_outcome(other) is not None


@pytest.mark.slow
def test_a_signal_to_worker_0_saves_and_ends_all(
    of_two: Path,
    text: Path,
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    with training([train_line(text, run, steps=STEPS), FOLLOW]) as processes:
        wait_for_step(run, 20, processes)
        processes[0].terminate()
        assert [process.wait(60) for process in processes] == [128 + signal.SIGTERM, 0]
    train_with(command_line("train", "--resume", "-r", run), FOLLOW)
    assert differences(of_two, run) == set()


SAVE_OFTEN = """
import sys
from charlm.core import loop
from charlm.__main__ import main
loop.SAVE_SECONDS = 0.01
sys.argv[0] = "charlm"
main()
"""


@pytest.mark.slow
def test_workers_save_by_time_and_end_in_time(text: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    line = ["train", text, "-c", "tiny", "--minutes", "0.4", "-s", "training.evaluations=1"]
    line += ["-s", "training.keep_checkpoints=true", "-r", run]
    started_at = time.monotonic()
    train_with([sys.executable, "-c", SAVE_OFTEN, *map(str, line)], FOLLOW)
    assert time.monotonic() - started_at < 60
    assert len(saved_steps(run)) > 2


@pytest.mark.slow
def test_an_error_of_worker_0_ends_all(tmp_path: Path) -> None:
    refused, lost = train_with(command_line("train", "missing.txt"), FOLLOW, code=1)
    assert refused.endswith("charlm: missing.txt: no such file or folder\n")
    assert lost.splitlines()[-1].startswith(LOST)
