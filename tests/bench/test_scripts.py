"""The script that measures speed prints a line of figures for each thing, and the one for recipes a table."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from corpora import write_plays

TESTS = Path(__file__).parents[1]
FIGURES = {
    "training --units 8 --batch 4 --time 5": r"8 units: charlm [\d.,e+-]+, .*Keras .*charlm/peer .*\n",
    "parts -c tiny": r"tiny, ms: step [\d.,e+-]+, gradients [\d.,e+-]+, rest [\d.,e+-]+\n",
    "sampling --units 8": r"8 units: characters/s [\d.,e+-]+\nstart: sample, ms [\d.,e+-]+, train, ms [\d.,e+-]+\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("line", FIGURES)
def test_the_speed_of_each_thing_that_is_measured_is_printed(line: str) -> None:
    command = [sys.executable, str(TESTS / "bench/speed.py"), *line.split(), "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(TESTS)})
    assert re.fullmatch(FIGURES[line], done.stdout), done.stdout + done.stderr


@pytest.mark.slow
def test_the_grid_has_a_loss_for_each_recipe_and_the_choice(tmp_path: Path) -> None:
    text = write_plays(tmp_path / "plays.txt")
    arguments = [str(text), "--minutes", "0.1", "--recipes", "tiny", "tiny:model.units=9"]
    command = [sys.executable, str(TESTS / "bench/grid.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    row = done.stdout.splitlines()[-1]
    assert re.fullmatch(r"\| plays \| 0\.1 \| \**\d\.\d{3}\** \| \**\d\.\d{3}\** \| \w+ \|", row), done.stderr
