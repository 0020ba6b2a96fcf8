"""The scripts that measure speed print every figure of their tables; mutations are noticed or printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent

pytestmark = pytest.mark.slow


FIGURES = {
    "training --units 8 --batch 4 --time 5": {"8 units": ["charlm", "Keras", "charlm/peer"]},
    "parts -c tiny": {"tiny, ms": ["step", "gradients", "rest"]},
    "sampling --units 8": {"8 units": ["characters/s"], "start": ["sample, ms", "train, ms"]},
}
"""Of each line: what begins the lines that are printed, and the figures in them."""


@pytest.mark.parametrize("line", FIGURES)
def test_the_speed_of_each_thing_that_is_measured_is_printed(line: str) -> None:
    command = [sys.executable, str(FOLDER / "speed.py"), *line.split(), "--rounds", "1"]
    paths = os.pathsep.join(filter(None, [str(FOLDER.parent), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    for printed, (label, names) in zip(done.stdout.splitlines(), FIGURES[line].items(), strict=True):
        assert printed.startswith(f"{label}: ")
        assert all(re.search(rf"\b{name} [\d.,e+-]+", printed) for name in names)


def test_a_mutation_is_printed_unless_a_test_notices_it(tmp_path: Path) -> None:
    pytest.importorskip("coverage", reason="missing: coverage")
    toy = "def seen(n):\n    return n + 1\n\n\ndef unseen(n):\n    return n > 1\n"
    test = "from charlm import toy\ndef test_toy(): assert (toy.seen(1), toy.unseen(9)) == (2, True)\n"
    files = {
        "charlm/__init__.py": "",
        "charlm/toy.py": toy,
        "tests/test_toy.py": test,
        "pyproject.toml": "[tool.pytest.ini_options]\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "toy"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    script = [sys.executable, str(FOLDER / "mutate.py"), "--repository", str(tmp_path)]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    assert {*done.stdout.splitlines()} == {
        "charlm/toy.py:6  1  ->  2  (1 tests)",
        "charlm/toy.py:6  n > 1  ->  (n >= 1)  (1 tests)",
        "charlm: 2 of 6 survive, 33%",
        "all: 2 of 6 survive, 33%",
    }
