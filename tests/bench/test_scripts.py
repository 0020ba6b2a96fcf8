"""The scripts that measure speed print every figure of their tables; mutations are noticed or printed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent

pytestmark = pytest.mark.slow


SCRIPTS = {
    "training.py --units 8 --batch 4 --time 5": ["8 units"],
    "step_parts.py -c tiny": ["tiny, ms"],
    "sampling.py --units 8 --megabytes 0.5": ["8 units", "sample, to a character", "train, to a step", "tokenize"],
}


@pytest.mark.parametrize("line", SCRIPTS)
def test_a_script_prints_a_line_for_each_thing_that_it_measures(line: str) -> None:
    script, *arguments = line.split()
    command = [sys.executable, str(FOLDER / script), *arguments, "--rounds", "1"]
    environment = {**os.environ, "PYTHONPATH": str(FOLDER.parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [row.strip("| ").split(" | ") for row in done.stdout.splitlines() if row.startswith("| ")]
    assert [name for name, *_ in rows if name in SCRIPTS[line]] == SCRIPTS[line]


def test_a_mutation_is_printed_unless_a_test_notices_it(tmp_path: Path) -> None:
    pytest.importorskip("coverage", reason="missing: coverage")
    for name, text in (
        ("charlm/__init__.py", ""),
        ("charlm/toy.py", "def seen(n):\n    return n + 1\n\n\ndef unseen(n):\n    return n > 1\n"),
        (
            "tests/test_toy.py",
            "from charlm import toy\ndef test_toy(): assert (toy.seen(1), toy.unseen(9)) == (2, True)\n",
        ),
        ("pyproject.toml", "[tool.pytest.ini_options]\n"),
    ):
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
