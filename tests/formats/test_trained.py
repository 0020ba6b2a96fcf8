"""Networks trained on the plays, in the real program of every format: logits, and the code in the model card."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import charlm
from pages import code_blocks

from charlm.api.model import Model, load
from charlm.formats.exporting import FORMATS

pytestmark = pytest.mark.slow


@pytest.fixture(params=["skip", "plain"])
def model(request: pytest.FixtureRequest, trained_runs: dict[str, Path]) -> Model:
    """Return one of the trained models."""
    return load(trained_runs[request.param])


@pytest.mark.parametrize("name", FORMATS)
def test_the_logits_over_10000_characters_are_those_of_charlm(model: Model, tmp_path: Path, name: str) -> None:
    command = charlm("export", model.path.parent, "--format", name, "--out", tmp_path / "out", "--check", "--json")
    found = json.loads(command.stdout)["check"]
    assert found["characters"] == 10_000
    assert found["largest_difference"] <= 1e-5


@pytest.mark.parametrize("name", ["onnx", "torch", "keras"])
def test_the_program_in_the_model_card_writes_text_and_goes_on_from_its_state(
    trained_runs: dict[str, Path], tmp_path: Path, name: str
) -> None:
    charlm("export", trained_runs["skip"], "--format", name, "--out", tmp_path / "out")
    (code,) = code_blocks((tmp_path / "out" / "README.md").read_text(encoding="utf-8"), "python")
    code = code.replace("range(500)", "range(60)")
    save = 'import numpy; numpy.save("logits.npy", logits)'
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{save}"], cwd=tmp_path / "out", check=True, capture_output=True, text=True
    )
    model = load(trained_runs["skip"])
    written = done.stdout[:-2]  # without the last character, which is not read, and the line break
    read = (model.vocabulary.characters[0] or "") + written
    assert len(read) == 60
    np.testing.assert_allclose(np.load(tmp_path / "out/logits.npy")[0, 0], model.logits(read)[-1], atol=1e-4, rtol=0)
