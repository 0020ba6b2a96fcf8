"""Run each benchmark script briefly, and check what it prints."""

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from corpora import write_plays

TESTS = Path(__file__).parents[1]
FIGURES = {
    "training --units 8 --batch 4 --time 5": r"8 units: charlm [\d.,e+-]+, .*Keras .*charlm/peer .*\n",
    "parts -c tiny": r"tiny, ms: step [\d.,e+-]+, gradients [\d.,e+-]+, rest [\d.,e+-]+, score [\d.,e+-]+\n",
    "parts -c small": r"small, ms: step [\d.,e+-]+, gradients [\d.,e+-]+, rest [\d.,e+-]+, score [\d.,e+-]+\n",
    "sampling --units 8": r"8 units: characters/s [\d.,e+-]+\nstart: sample, ms [\d.,e+-]+, train, ms [\d.,e+-]+\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("line", FIGURES)
def test_the_speed_of_each_thing_that_is_measured_is_printed(line: str) -> None:
    command = [sys.executable, str(TESTS / "bench/speed.py"), *line.split(), "--rounds", "1"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(TESTS)}
    )
    assert re.fullmatch(FIGURES[line], done.stdout), done.stdout + done.stderr


@pytest.mark.slow
def test_the_grid_has_a_loss_for_each_recipe_and_the_choice(tmp_path: Path) -> None:
    text = write_plays(tmp_path / "plays.txt")
    arguments = [str(text), "--minutes", "0.1", "--recipes", "tiny", "tiny:model.units=9"]
    command = [sys.executable, str(TESTS / "bench/grid.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    row = done.stdout.splitlines()[-1]
    assert re.fullmatch(r"\| plays \| 0\.1 \| \**\d\.\d{3}\** \| \**\d\.\d{3}\** \| \w+ \|", row), (
        done.stderr
    )


@pytest.mark.slow
def test_the_lstm_learns_to_predict_the_validation_text(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="missing: torch")
    text = write_plays(tmp_path / "plays.txt")
    options = ["--minutes", "0.2", "--units", "32", "--learning-rate", "0.01", "--threads", "1"]
    command = [sys.executable, str(TESTS / "bench/lstm.py"), str(text), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    summary = re.search(
        r"^lstm 2 x 32 lr 0\.01: best (\S+) nats per character \(last (\S+)\), ", done.stdout, re.M
    )
    assert summary, done.stderr
    best, last = map(float, summary.groups())
    chance = math.log(len(set(text.read_text(encoding="utf-8"))))
    untrained = 0.95 * chance  # random weights alone can be slightly better than chance
    assert math.isfinite(last)
    assert 0 < best < untrained
