"""The scripts that measure speed run, and print every figure of their tables."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("script", "arguments", "lines"),
    [
        ("training.py", ["--units", "8", "--batch", "4", "--time", "5"], ["8 units"]),
        (
            "sampling.py",
            ["--units", "8", "--megabytes", "0.1"],
            [
                "8 units, 1 streams",
                "8 units, 64 streams",
                "sample, to a character",
                "train, to a step",
                "ascii",
                "mixed",
            ],
        ),
    ],
)
def test_a_script_prints_a_line_for_each_thing_that_it_measures(
    script: str, arguments: list[str], lines: list[str]
) -> None:
    command = [sys.executable, str(FOLDER / script), "--rounds", "1", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(FOLDER.parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows if row[0] in lines] == lines
