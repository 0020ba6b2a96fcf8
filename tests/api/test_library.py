"""The names of the library, and their types."""

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

import charlm

PROGRAM = """
import charlm

def score(text: str) -> float:
    model = charlm.load(charlm.train("a.txt", overrides={"model.units": 64}, say=print).folder)
    logits, state = model.step([0])
    return float(model.score(text + str(model.generate(text, length=2)), state=state).sum() + logits.sum())

model: int = charlm.load()
charlm.evaluate(split="dev")
"""


def test_every_public_name_is_there_and_an_unknown_one_is_an_attribute_error() -> None:
    assert {name: hasattr(charlm, name) for name in charlm.__all__} == dict.fromkeys(charlm.__all__, True)
    assert set(charlm.__all__) <= set(dir(charlm))
    assert [*charlm.__all__] == sorted(charlm.__all__)
    assert files("charlm").joinpath("py.typed").is_file()
    with pytest.raises(AttributeError, match="module 'charlm' has no attribute 'lode'"):
        _ = charlm.lode  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_strict_type_check_passes_a_typed_program_but_for_its_mistakes(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "program.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    wrong = [line.split(":")[1] for line in done.stdout.splitlines() if ": error: " in line]
    assert wrong == ["9", "10"], done.stdout + done.stderr
