"""Files of every released format can still be read: models, and a run that can be resumed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import charlm
from run_folders import read_metrics

from charlm.api.model import load
from charlm.network.model_file import FORMAT, read_model

GOLDEN = Path(__file__).parent / "golden"
FORMATS = sorted(GOLDEN.glob("format-*"))
NEWEST = FORMATS[-1]


def test_the_present_format_has_golden_files() -> None:
    assert NEWEST.name == f"format-{FORMAT}"


@pytest.mark.parametrize("folder", FORMATS, ids=lambda folder: folder.name)
@pytest.mark.parametrize(
    "name", ["model.safetensors", "run/best.safetensors", "run/last.safetensors"]
)
def test_a_golden_model_has_not_changed(folder: Path, name: str) -> None:
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))[name]
    tensors = read_model(folder / name).parameters.tensors
    assert tensors.keys() == expected["weights"].keys()
    for tensor_name, values in expected["weights"].items():
        np.testing.assert_array_equal(tensors[tensor_name], np.array(values, np.float32))
    text = load(folder / name).generate(length=40, temperature=0, ignore_end=True)
    assert str(text) == expected["text"]


def test_a_golden_run_can_be_resumed(tmp_path: Path) -> None:
    shutil.copytree(NEWEST / "run", tmp_path / "run")
    command = charlm("train", "--resume", "-r", tmp_path / "run")
    assert command.exit_code == 0, command.stderr
    assert "resumed at step 10 of 40\n" in command.stderr
    lines = [line for line in read_metrics(tmp_path / "run") if line["split"] == "validation"]
    nats = {line["step"]: line["nats_per_char"] for line in lines}
    assert [*nats] == [5, 10, 15, 20, 25, 30, 35, 40]
    assert nats[40] < nats[10]
