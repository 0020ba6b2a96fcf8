"""The script that measures speed prints a line of figures for each thing."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

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
