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
def test_the_weights_and_the_most_likely_text_of_golden_models_have_not_changed(
    folder: Path,
) -> None:
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    assert [*expected] == ["model.safetensors", "run/best.safetensors", "run/last.safetensors"]
    for name, model in expected.items():
        found = read_model(folder / name).parameters.tensors
        assert found.keys() == model["weights"].keys()
        for tensor_name, tensor in found.items():
            np.testing.assert_array_equal(
                tensor, np.array(model["weights"][tensor_name], np.float32)
            )
        assert (
            str(load(folder / name).generate(length=40, temperature=0, ignore_end=True))
            == model["text"]
        )


def test_training_can_be_resumed_from_the_checkpoint_of_the_newest_format(tmp_path: Path) -> None:
    shutil.copytree(NEWEST / "run", tmp_path / "run")
    command = charlm("train", "--resume", "-r", tmp_path / "run", "-s", "training.steps=40")
    assert command.exit_code == 0, command.stderr
    assert "resumed at step 10 of 40\n" in command.stderr
    lines = [line for line in read_metrics(tmp_path / "run") if line["split"] == "validation"]
    nats = {line["step"]: line["nats_per_char"] for line in lines}
    assert [*nats] == [5, 10, 15, 20, 25, 30, 35, 40]  # as often as before
    assert nats[40] < nats[10]
