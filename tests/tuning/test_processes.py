"""Real searches in processes of their own: killed and gone on with, shared by two, and from the command line."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charlm.config.file import load_config
from charlm.config.recipes import DEFAULT_CORPUS

pytest.importorskip("optuna", reason="missing: optuna")
pytestmark = pytest.mark.slow

SPACE = """
recipe: tiny
search:
  model.units: {int: [8, 24], step: 4}
  training.optimizer.learning_rate: {float: [1e-3, 1e-1], log: true}
"""
TRIALS = 6


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
