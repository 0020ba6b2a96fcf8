"""Several processes on loopback train one run: the results of a single machine, SIGTERM, and wrong use."""

import shutil
import signal
import socket
from pathlib import Path

import pytest
from faults.kill import differences, newest_step, write_plays
from faults.loopback import LIMIT_SECONDS, WORKER_LOST, finish, free_addresses, train_line, train_with, training
from models import weights_of
from processes import command_line, settings, wait_until

slow, nightly = pytest.mark.slow, pytest.mark.nightly

STEPS = 200


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a text file of 20,000 characters."""
    return write_plays(tmp_path_factory.mktemp("text") / "text.txt")


@pytest.fixture(scope="module")
def alone(text: Path) -> Path:
    """Return a run on a single machine."""
    run = text.parent / "alone"
    train_with(train_line(text, run, steps=STEPS))
    return run


@pytest.mark.parametrize("workers", [pytest.param(2, marks=slow), pytest.param(4, marks=nightly)])
def test_several_workers_write_the_run_of_one(workers: int, alone: Path, text: Path, tmp_path: Path) -> None:
    lines = [train_line(text, tmp_path / "run", steps=STEPS)] * workers
    train_with(*lines, addresses=free_addresses(workers))
    assert differences(alone, tmp_path / "run") == []


@slow
def test_several_workers_begin_with_the_weights_of_another_model_as_one_does(
    alone: Path, text: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.txt"
    other.write_text(text.read_text(encoding="utf-8").replace("e", "é"), encoding="utf-8")
    single, run = (train_line(other, tmp_path / name, "--init", str(alone), steps=20) for name in ("single", "run"))
    train_with(single)
    train_with(run, run, addresses=free_addresses(2))
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
    line = command_line("train", text, "-r", run, *length, *options)
    printed, told = train_with(line, line, addresses=free_addresses(2))
    assert "recipe: small" in printed
    assert "the run is on worker 0" in told
    train_with(command_line("train", text, "-c", run / "config.yaml", "-r", again))
    for name in ("last.safetensors", "teachers/3/last.safetensors"):
        assert weights_of(run / name) == weights_of(again / name)


@slow
def test_a_run_of_one_machine_goes_on_with_two_and_sigterm_to_any_ends_both(alone: Path, tmp_path: Path) -> None:
    run = shutil.copytree(alone, tmp_path / "run")
    with training([train_line(None, run, steps=100_000)] * 2, free_addresses(2)) as processes:
        wait_until(lambda: newest_step(run) >= STEPS + 10, processes, seconds=LIMIT_SECONDS)
        processes[1].send_signal(signal.SIGTERM)
        for code, printed in map(finish, processes):
            assert code == 128 + signal.SIGTERM
            assert "stopped by SIGTERM" in printed


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
        line = train_line(None if index else text, run, steps=STEPS)
        with training([line] * workers, addresses if workers > 1 else ()) as processes:
            wait_until(lambda: newest_step(run) >= 40 * index + 20, processes, seconds=LIMIT_SECONDS)  # noqa: B023
            processes[lost].send_signal(number)
            for code, printed in [finish(process) for process in processes if process is not processes[lost]]:
                assert code == WORKER_LOST
                assert f"worker {lost} ({addresses[lost]}): lost; continue with --resume" in printed
                assert "Traceback" not in printed
            processes[lost].send_signal(signal.SIGCONT)
            assert finish(processes[lost])[0] == (WORKER_LOST if number == signal.SIGSTOP else -number)
    train_with(train_line(None, run, steps=STEPS))
    assert differences(alone, run) == []


@slow
def test_an_error_on_one_machine_is_told_to_the_others(text: Path, tmp_path: Path) -> None:
    addresses = free_addresses(2)
    lines = [train_line(path, tmp_path / "run", steps=20) for path in (text, tmp_path / "missing.txt")]
    printed, why = train_with(*lines, addresses=addresses, code=1)
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
    lines = train_line(text, tmp_path / "run", steps=20), train_line(other, tmp_path / "run", *options, steps=20)
    for printed in train_with(*lines, addresses=addresses, code=1):
        assert expected.format(addresses[1], addresses[0]) in printed
    assert not (tmp_path / "run").exists()


@slow
def test_a_port_in_use_is_refused(text: Path, tmp_path: Path) -> None:
    addresses = free_addresses(2)
    line = [*train_line(text, tmp_path / "run", steps=20), "--cluster", ",".join(addresses), "--task", "1"]
    with socket.create_server(("127.0.0.1", int(addresses[1].rpartition(":")[2]))):
        (printed,) = train_with(line, code=1)
    assert f"worker 1 ({addresses[1]}): cannot listen there" in printed
