"""Several processes on loopback train one run: the results of a single machine, SIGTERM, and wrong use."""

import shutil
import signal
import socket
from pathlib import Path

import pytest
from faults.kill import differences
from faults.loopback import (
    WORKER_LOST,
    finish,
    free_addresses,
    killed_at_the_end,
    start,
    start_process,
    wait_for_checkpoint,
)
from processes import command_line, settings

from charlm.config.recipes import DEFAULT_CORPUS

slow, nightly = pytest.mark.slow, pytest.mark.nightly

STEPS = 200


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a text file of 20,000 characters."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(DEFAULT_CORPUS.read_text(encoding="utf-8")[:20_000], encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def alone(text: Path) -> Path:
    """Return a run on a single machine."""
    run = text.parent / "alone"
    (process,) = start([None], text, run, steps=STEPS)
    assert finish(process)[0] == 0
    return run


@pytest.mark.parametrize("workers", [pytest.param(2, marks=slow), pytest.param(4, marks=nightly)])
def test_several_workers_write_the_run_of_one(workers: int, alone: Path, text: Path, tmp_path: Path) -> None:
    addresses = free_addresses(workers)
    processes = start(range(workers), text, tmp_path / "run", steps=STEPS, addresses=addresses)
    with killed_at_the_end(processes):
        assert [finish(process)[0] for process in processes] == [0] * workers
    assert differences(alone, tmp_path / "run") == []


@slow
def test_several_workers_begin_with_the_weights_of_another_model_as_one_does(
    alone: Path, text: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.txt"
    other.write_text(text.read_text(encoding="utf-8").replace("e", "é"), encoding="utf-8")
    options = ["--init", str(alone)]
    (single,) = start([None], other, tmp_path / "single", steps=20, options=options)
    assert finish(single)[0] == 0
    processes = start((0, 1), other, tmp_path / "run", steps=20, addresses=free_addresses(2), options=options)
    with killed_at_the_end(processes):
        assert [finish(process)[0] for process in processes] == [0, 0]
    assert differences(tmp_path / "single", tmp_path / "run") == []


@pytest.mark.parametrize(
    "length",
    [
        pytest.param(settings("training.steps=40"), id="steps", marks=slow),
        pytest.param(["--minutes", "1"], id="minutes", marks=nightly),
    ],
)
def test_without_a_recipe_and_with_teachers_several_workers_write_what_one_would(
    length: list[str], text: Path, tmp_path: Path
) -> None:
    run, again = tmp_path / "run", tmp_path / "again"
    options = settings("model.units=8", "training.teacher_seeds=[3]", "training.teacher_settings.training={steps: 20}")
    cluster = ",".join(free_addresses(2))
    command = command_line("train", text, "-r", run, *length, *options, "--cluster", cluster, "--task")
    processes = [start_process([*command, str(task)]) for task in (0, 1)]
    with killed_at_the_end(processes):
        (code, printed), (other, told) = map(finish, processes)
    assert (code, other) == (0, 0), printed + told
    assert "recipe: small" in printed
    assert "the run is on worker 0" in told
    (single,) = [start_process(command_line("train", text, "-c", run / "config.yaml", "-r", again))]
    assert finish(single)[0] == 0
    for name in ("last", "teachers/3/last"):
        weights = [(folder / name / "weights.safetensors").read_bytes() for folder in (run, again)]
        assert weights[0] == weights[1]


@slow
def test_a_run_of_one_machine_goes_on_with_two_and_sigterm_to_any_ends_both(alone: Path, tmp_path: Path) -> None:
    run, addresses = shutil.copytree(alone, tmp_path / "run"), free_addresses(2)
    processes = start((0, 1), None, run, steps=100_000, addresses=addresses, resume=True)
    with killed_at_the_end(processes):
        wait_for_checkpoint(run, processes, step=STEPS + 10)
        processes[1].send_signal(signal.SIGTERM)
        (chief, told), (other, why) = map(finish, processes)
    assert (chief, other) == (128 + signal.SIGTERM, 128 + signal.SIGTERM)
    assert "stopped by SIGTERM" in told
    assert "stopped by SIGTERM" in why


LOSSES = ((2, 0, signal.SIGKILL), (2, 1, signal.SIGSTOP))
"""How many workers train, which one is lost, and how."""
MORE_LOSSES = ((2, 1, signal.SIGKILL), (2, 0, signal.SIGKILL), (1, 0, signal.SIGKILL), (3, 2, signal.SIGSTOP))


@pytest.mark.parametrize(
    "losses", [pytest.param(LOSSES, marks=slow, id="two"), pytest.param(MORE_LOSSES, marks=nightly, id="one to three")]
)
def test_if_one_is_lost_the_others_end_and_the_run_goes_on_to_the_same_bytes(
    losses: tuple[tuple[int, int, signal.Signals], ...], alone: Path, text: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    for index, (workers, lost, number) in enumerate(losses):
        addresses = free_addresses(workers)
        processes = start(
            range(workers) if workers > 1 else [None],
            None if index else text,
            run,
            steps=STEPS,
            addresses=addresses,
            resume=bool(index),
        )
        with killed_at_the_end(processes):
            wait_for_checkpoint(run, processes, step=40 * index + 20)
            processes[lost].send_signal(number)
            others = [finish(process) for process in processes if process is not processes[lost]]
            processes[lost].send_signal(signal.SIGCONT)
            code, _ = finish(processes[lost])
        assert [ended for ended, _ in others] == [WORKER_LOST] * (workers - 1)
        for _, printed in others:
            assert f"worker {lost} ({addresses[lost]}): lost; continue with --resume" in printed
            assert "Traceback" not in printed
        assert code == (WORKER_LOST if number == signal.SIGSTOP else -number)
    (last,) = start([None], None, run, steps=STEPS, resume=True)
    assert finish(last)[0] == 0
    assert differences(alone, run) == []


@slow
def test_an_error_on_one_machine_is_told_to_the_others(text: Path, tmp_path: Path) -> None:
    addresses = free_addresses(2)
    chief = start([0], text, tmp_path / "run", steps=20, addresses=addresses)
    worker = start([1], tmp_path / "missing.txt", tmp_path / "run", steps=20, addresses=addresses)
    with killed_at_the_end([*chief, *worker]):
        (code, printed), (other, why) = (finish(process) for process in (*chief, *worker))
    assert (code, other) == (1, 1)
    assert "missing.txt: no such file or folder" in why
    assert f"worker 1 ({addresses[1]}) has ended the run: {tmp_path}/missing.txt: no such file or folder" in printed
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("first", "options", "expected"),
    [
        pytest.param(
            *(0, ["-s", "model.units=17"], "worker 1 ({}): model.units: found 17; must be 16, as on worker 0 ({})"),
            id="settings",
            marks=nightly,
        ),
        pytest.param(
            *(1, [], "worker 1 ({}): another text or split than on worker 0 ({}); give each the same"),
            id="text",
            marks=slow,
        ),
    ],
)
def test_other_settings_and_another_text_are_named(
    first: int, options: list[str], expected: str, text: Path, tmp_path: Path
) -> None:
    other, addresses = tmp_path / "other.txt", free_addresses(2)
    other.write_text(text.read_text(encoding="utf-8")[first:], encoding="utf-8")
    chief = start([0], text, tmp_path / "run", steps=20, addresses=addresses)
    worker = start([1], other, tmp_path / "run", steps=20, addresses=addresses, options=options)
    with killed_at_the_end([*chief, *worker]):
        results = [finish(process) for process in (*chief, *worker)]
    assert [code for code, _ in results] == [1, 1]
    assert all(expected.format(addresses[1], addresses[0]) in printed for _, printed in results)
    assert not (tmp_path / "run").exists()


@slow
def test_the_same_task_twice_and_a_port_in_use_are_refused(text: Path, tmp_path: Path) -> None:
    addresses = free_addresses(2)
    with socket.create_server(("127.0.0.1", int(addresses[1].rpartition(":")[2]))):
        (worker,) = start([1], text, tmp_path / "run", steps=20, addresses=addresses)
        code, printed = finish(worker)
    assert code == 1
    assert f"worker 1 ({addresses[1]}): cannot listen there" in printed
