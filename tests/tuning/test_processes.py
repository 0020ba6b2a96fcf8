"""Real searches in processes of their own: killed and gone on with, shared by several, and from the command line."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from worker_tasks import end_at, fail_at_once, note_cores, search_without_end

from charlm.config.file import load_config
from charlm.config.recipes import DEFAULT_CORPUS
from charlm.errors import CharlmError
from charlm.hardware import core_count
from charlm.training.signals import StopRequest, stop_on_signal
from charlm.tuning.processes import searching_beside, share_cores

pytest.importorskip("optuna", reason="missing: optuna")
pytestmark = pytest.mark.slow

SPACE = """
recipe: tiny
search:
  model.units: {int: [8, 24], step: 4}
  training.optimizer.learning_rate: {float: [1e-3, 1e-1], log: true}
"""
TRIALS = 6
two_cores = pytest.mark.skipif(
    core_count() < 2 or not hasattr(os, "sched_setaffinity"), reason="missing: two cores, and Linux"
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a folder with a space and a text."""
    (tmp_path / "space.yaml").write_text(SPACE, encoding="utf-8")
    (tmp_path / "text.txt").write_text(DEFAULT_CORPUS.read_text(encoding="utf-8")[:20_000], encoding="utf-8")
    return tmp_path


def command(*arguments: str, trials: int = TRIALS) -> list[str]:
    fixed = ("tune", "space.yaml", "text.txt", "--minutes", "20", "--trial-minutes", "0.01", "--out", "out")
    return [sys.executable, "-m", "charlm", *fixed, "--trials", str(trials), "--json", *arguments]


def wait_for_trials(place: Path, count: int, process: "subprocess.Popen[str]") -> None:
    """Wait until some trials have begun and the last of them has been evaluated."""

    def is_so() -> bool:
        metrics = place / "out" / f"trial-{count - 1:04}" / "metrics.jsonl"
        return metrics.exists() and '"validation"' in metrics.read_text(encoding="utf-8")

    wait_until(is_so, process)


def wait_until(is_so: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 600
    while not is_so():
        assert time.monotonic() < deadline, "waited in vain"
        assert process.poll() is None, "it ended"
        time.sleep(0.01)


def check_trials(found: dict[str, Any]) -> None:
    """Check that every trial was trained once, with values of its own, and that the best is the lowest loss."""
    trials = found["trials"]
    assert [trial["trial"] for trial in trials if trial["state"] in {"complete", "pruned"}] == list(range(TRIALS))
    values = [json.dumps(trial["settings"]) for trial in trials]
    assert len(set(values)) == len(values)
    complete = [trial for trial in trials if trial["state"] == "complete"]
    assert found["best"] == min(complete, key=lambda trial: trial["nats_per_char"])


def test_a_search_killed_twice_goes_on_without_losing_a_trial(place: Path) -> None:
    for begun in (1, 3):
        with subprocess.Popen(command(), cwd=place, text=True, stderr=subprocess.DEVNULL) as process:
            wait_for_trials(place, begun, process)
            process.kill()
    done = subprocess.run(command(), cwd=place, text=True, capture_output=True, check=True)
    assert "trial 2 (continued)" in done.stderr
    check_trials(json.loads(done.stdout))


def test_two_processes_share_a_search_without_a_double_trial(place: Path) -> None:
    with (
        subprocess.Popen(command(), cwd=place, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as first,
        subprocess.Popen(command(), cwd=place, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as second,
    ):
        outputs = [process.communicate(timeout=1200) for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), outputs
    trained = [{line for line in said.splitlines() if " learning_rate " in line} for _, said in outputs]
    numbers = [{line.removeprefix("charlm: ").split(":")[0] for line in lines} for lines in trained]
    assert numbers[0].isdisjoint(numbers[1])
    assert len(numbers[0] | numbers[1]) == TRIALS
    assert all(numbers)
    last = subprocess.run(command(), cwd=place, text=True, capture_output=True, check=True)
    check_trials(json.loads(last.stdout))


def test_sigterm_ends_a_search_with_a_line_that_says_how_to_go_on(place: Path) -> None:
    with subprocess.Popen(
        command(), cwd=place, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        wait_for_trials(place, 1, process)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=600)
    assert process.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in said
    assert "stopped by SIGTERM" in said
    done = subprocess.run(command(), cwd=place, text=True, capture_output=True, check=True)
    check_trials(json.loads(done.stdout))


def test_the_best_recipe_gives_the_weights_of_the_best_trial(place: Path) -> None:
    done = subprocess.run(command(trials=3), cwd=place, text=True, capture_output=True, check=True)
    found = json.loads(done.stdout)
    recipe = place / found["recipe"]
    head = recipe.read_text(encoding="utf-8").splitlines()[0]
    assert head == "# charlm train text.txt -c out/best.yaml"
    again = [sys.executable, "-m", "charlm", *head.removeprefix("# charlm ").split(), "-r", "again"]
    subprocess.run(again, cwd=place, capture_output=True, check=True)
    weights = "best/weights.safetensors"
    assert (place / "again" / weights).read_bytes() == (place / found["best"]["run"] / weights).read_bytes()
    assert load_config(recipe).training.steps == load_config(place / "again" / "config.yaml").training.steps


@two_cores
def test_every_process_has_as_many_cores_of_its_own() -> None:
    shares = share_cores(2)
    assert [len(cores) for cores in shares] == [core_count() // 2] * 2
    assert shares[0].isdisjoint(shares[1])
    with pytest.raises(CharlmError, match=rf"^--processes: found 9999; must be at most {core_count()}, the number of"):
        share_cores(9999)


@two_cores
def test_the_others_search_on_their_cores_while_this_process_has_its_own(tmp_path: Path) -> None:
    before, (own, other), file = os.sched_getaffinity(0), share_cores(2), tmp_path / "cores"
    with searching_beside(note_cores, file, shares=[own, other], request=StopRequest(), say=print):
        assert os.sched_getaffinity(0) == own
    assert {int(core) for core in file.read_text(encoding="utf-8").split()} == other
    assert os.sched_getaffinity(0) == before


@two_cores
def test_the_failure_of_another_process_is_said() -> None:
    said: list[str] = []
    with searching_beside(fail_at_once, "no disk", shares=share_cores(2), request=StopRequest(), say=said.append):
        pass
    assert said == ["a process of the search has failed: no disk"]


@two_cores
def test_a_process_that_is_killed_is_said() -> None:
    said: list[str] = []
    with searching_beside(end_at, 3, shares=share_cores(2), request=StopRequest(), say=said.append):
        pass
    assert said == ["a process of the search was ended from outside, perhaps because the memory is full"]


@two_cores
def test_a_signal_ends_the_others_too(tmp_path: Path) -> None:
    file = tmp_path / "begun"
    with (
        stop_on_signal() as request,
        searching_beside(search_without_end, file, shares=share_cores(2), request=request, say=print),
        request.deferred(),
    ):
        while not file.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)
    assert request.signal == signal.SIGTERM


@two_cores
def test_one_command_searches_in_two_processes(place: Path) -> None:
    done = subprocess.run(command("--processes", "2"), cwd=place, text=True, capture_output=True, check=True)
    check_trials(json.loads(done.stdout))
