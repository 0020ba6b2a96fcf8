"""The benchmark scripts print their figures."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
FIGURES = {
    "training --units 8 --batch 4 --time 5": "8 units: charlm N, .*Keras .*charlm/peer .*\n",
    "parts -c tiny": "tiny, ms: step N, gradients N, rest N, score N\n",
    "parts -c small": "small, ms: step N, gradients N, rest N, score N\n",
}
"""The output of a command line, where N is any number."""


@pytest.mark.slow
@pytest.mark.parametrize(("line", "output"), FIGURES.items())
def test_the_speed_is_printed(line: str, output: str) -> None:
    command = [sys.executable, str(TESTS / "bench/speed.py"), *line.split(), "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    pattern = re.sub(r"\bN\b", r"[\\d.,e+-]+", output)
    assert re.fullmatch(pattern, done.stdout), done.stdout + done.stderr
