"""The benchmark scripts print their figures."""

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from corpora import write_plays

TESTS = Path(__file__).parents[1]
FIGURES = {
    "training --units 8 --batch 4 --time 5": "8 units: charlm N, .*Keras .*charlm/peer .*\n",
    "parts -c tiny": "tiny, ms: step N, gradients N, rest N, score N\n",
    "parts -c small": "small, ms: step N, gradients N, rest N, score N\n",
    "sampling --units 8": "8 units: characters/s N\nstart: sample, ms N, train, ms N\n",
}
"""The output of a command line, where N is any number."""


@pytest.mark.slow
@pytest.mark.parametrize(("line", "output"), FIGURES.items())
def test_the_speed_is_printed(line: str, output: str) -> None:
    command = [sys.executable, str(TESTS / "bench/speed.py"), *line.split(), "--rounds", "1"]
    environment = {"PYTHONPATH": str(TESTS)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    pattern = re.sub(r"\bN\b", r"[\\d.,e+-]+", output)
    assert re.fullmatch(pattern, done.stdout), done.stdout + done.stderr


@pytest.mark.slow
def test_the_grid_has_a_loss_for_each_recipe(tmp_path: Path) -> None:
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
    pattern = r"^lstm 2 x 32 lr 0\.01: best (\S+) nats per character \(last (\S+)\), "
    summary = re.search(pattern, done.stdout, re.MULTILINE)
    assert summary, done.stderr
    best, last = map(float, summary.groups())
    chance = math.log(len(set(text.read_text(encoding="utf-8"))))
    untrained = 0.95 * chance  # random weights alone can be slightly better than chance
    assert math.isfinite(last)
    assert 0 < best < untrained
