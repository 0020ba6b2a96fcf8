"""Several processes on loopback train one run by TF_CONFIG: the same bits twice, a lost one, and wrong use."""

import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from corpora import write_plays
from faults.kill import differences, newest_step
from faults.loopback import LIMIT_SECONDS, train_line, train_with, training
from processes import command_line, settings, wait_until

from charlm.network.model_file import read_model

pytestmark = pytest.mark.slow

STEPS = 200
LOST = "charlm: TF_CONFIG: another machine has ended or does not answer"


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


def test_a_lost_machine_ends_the_other_and_two_go_on_to_the_bits_of_two_that_were_not_interrupted(
    of_two: Path, text: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    for lost, number, begin in ((1, signal.SIGKILL, text), (0, signal.SIGKILL, None), (1, signal.SIGSTOP, None)):
        before = newest_step(run)
        with training(2 * [train_line(begin, run, steps=STEPS)]) as processes:
            wait_until(lambda: newest_step(run) >= before + 20, processes, seconds=LIMIT_SECONDS)  # noqa: B023
            processes[lost].send_signal(number)
            printed, _ = processes[1 - lost].communicate(timeout=60)
            assert processes[1 - lost].returncode == 1
            assert printed.splitlines()[-1].startswith(LOST)
            assert "Traceback" not in printed
            processes[lost].kill()
    train_with(*2 * [train_line(None, run, steps=STEPS)])
    assert differences(of_two, run) == []


@pytest.mark.parametrize("count", [1, 3])
def test_a_run_of_two_goes_on_with_another_number_of_machines(count: int, of_two: Path, tmp_path: Path) -> None:
    run = shutil.copytree(of_two, tmp_path / "run")
    train_with(*count * [train_line(None, run, steps=STEPS + 20)])
    assert newest_step(run) == STEPS + 20


def test_sigterm_to_any_machine_ends_both_after_the_same_step(of_two: Path, tmp_path: Path) -> None:
    run = shutil.copytree(of_two, tmp_path / "run")
    often = settings("training.evaluations=1000")
    with training(2 * [train_line(None, run, *often, steps=100_000)]) as processes:
        wait_until(lambda: newest_step(run) >= STEPS + 10, processes, seconds=LIMIT_SECONDS)
        processes[1].send_signal(signal.SIGTERM)
        for process in processes:
            printed, _ = process.communicate(timeout=LIMIT_SECONDS)
            assert process.returncode == 128 + signal.SIGTERM
            assert "stopped by SIGTERM" in printed


def test_teachers_another_model_and_minutes_work_as_on_one_machine(of_two: Path, text: Path, tmp_path: Path) -> None:
    line = command_line("train", text, "--init", of_two, "--minutes", 0.5, "-r", tmp_path / "timed")
    printed, _ = train_with(line, line)
    assert "0.5 min: " in printed
    assert (tmp_path / "timed/ended.json").is_file()
    recipe = tmp_path / "teacher.yaml"
    recipe.write_text("training: {steps: 20}\n", encoding="utf-8")
    taught = settings(f"training.teachers={{recipe: {recipe}, seeds: [3]}}", "training.steps=20")
    line = command_line("train", text, "-c", "tiny", *taught, "-r", tmp_path / "taught")
    train_with(line, line)
    assert (tmp_path / "taught/teachers/3/ended.json").is_file()
    assert (tmp_path / "taught/ended.json").is_file()


@pytest.mark.parametrize(
    ("first", "options", "found"),
    [
        (0, ["-s", "model.units=17"], "the settings of model"),
        (1, [], "the text"),
        (None, [], ""),
    ],
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
