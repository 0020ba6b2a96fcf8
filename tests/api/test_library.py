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


def total_nats(folder: Path, text: str) -> float:
    model = charlm.load(folder / "last.safetensors")
    text += str(model.generate(text, length=200, temperature=0.8, seed=1))
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
    return evaluation.nats_per_char


for piece in charlm.load().generate(length=0):
    print(piece, end="")
"""


def test_every_public_name_is_there_and_no_other() -> None:
    assert {name: hasattr(charlm, name) for name in charlm.__all__} == dict.fromkeys(charlm.__all__, True)
    assert set(charlm.__all__) <= set(dir(charlm))
    assert [*charlm.__all__] == sorted(charlm.__all__)
    assert files("charlm").joinpath("py.typed").is_file()
    with pytest.raises(AttributeError, match="module 'charlm' has no attribute 'lode'"):
        _ = charlm.lode  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_typed_program_passes_a_strict_type_check(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "program.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
