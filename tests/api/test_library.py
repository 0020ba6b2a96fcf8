"""The names of the library, and their types."""

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

import charlm

PROGRAM = """
from pathlib import Path

import charlm


def continue_text(model: charlm.Model, prompt: str) -> str:
    return str(model.generate(prompt, length=200, temperature=0.8, seed=1))


def total_nats(folder: Path, text: str) -> float:
    model = charlm.load(folder, checkpoint="last")
    logits, state = model.step([0])
    logits, state = model.step([1], state)
    return float(model.score(text).sum() + logits.sum())


def train_and_score(text: Path) -> float | None:
    try:
        corpus = charlm.tokenize([text], "corpus")
        outcome = charlm.train(corpus, recipe="tiny", overrides={"model.units": 64}, say=print)
        outcome = charlm.resume(outcome.folder, overrides=["training.steps=200"])
        evaluation = charlm.evaluate(charlm.load(outcome.folder), split="validation", protocol="windows")
    except charlm.CharlmError as error:
        print(error)
        return None
    return evaluation.score.nats_per_char


for piece in charlm.load().generate(length=0):
    print(piece, end="")
"""
WRONG = """
import charlm

charlm.lode("run")
charlm.load("run").generate(length="long")
charlm.load("run", checkpoint="first")
"""


def test_every_public_name_is_there() -> None:
    assert {name: hasattr(charlm, name) for name in charlm.__all__} == dict.fromkeys(charlm.__all__, True)
    assert set(charlm.__all__) <= set(dir(charlm))
    assert [*charlm.__all__] == sorted(charlm.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'charlm' has no attribute 'lode'"):
        _ = charlm.lode  # type: ignore[attr-defined]


def test_the_package_says_that_it_is_typed() -> None:
    assert files("charlm").joinpath("py.typed").is_file()


def check_types(program: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run mypy on a program, with no settings but --strict."""
    (folder / "program.py").write_text(program, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "program.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_typed_program_passes_a_strict_type_check(tmp_path: Path) -> None:
    done = check_types(PROGRAM, tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


@pytest.mark.slow
def test_a_type_check_finds_wrong_names_and_arguments(tmp_path: Path) -> None:
    done = check_types(WRONG, tmp_path)
    assert done.returncode == 1
    errors = [line for line in done.stdout.splitlines() if line.startswith("program.py")]
    assert [error.rpartition("[")[2] for error in errors] == ["attr-defined]", "arg-type]", "arg-type]"]
