"""Networks trained on the plays, in the real program of every format: logits, greedy text, command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import charlm
from formats.networks import FORMATS
from pages import code_blocks

from charlm.api.model import Model, load

pytestmark = pytest.mark.slow
LENGTH = 500

HEAD = """
import json, os, sys
sys.modules["charlm"] = None
import numpy as np
characters = json.load(open("vocabulary.json", encoding="utf-8"))["characters"]
ids, text = [characters.index(character) for character in "The "], ""
"""
GREEDY = {
    "torch": """
import torch
sys.path.insert(0, ".")
from torch_network import load
network, _ = load()
logits, state = network(torch.tensor(ids)[:, None])
for _ in range(500):
    index = int(logits[-1, 0].argmax())
    text += characters[index]
    logits, state = network(torch.tensor([[index]]), state)
""",
    "onnx": """
import onnxruntime
session = onnxruntime.InferenceSession("model.onnx")
assert json.loads(session.get_modelmeta().custom_metadata_map["vocabulary"])["characters"] == characters
state = np.zeros([int(size) if size != "B" else 1 for size in session.get_inputs()[1].shape], np.float32)
logits, state = session.run(None, {"ids": np.array(ids)[:, None], "state": state})
for _ in range(500):
    index = int(logits[-1, 0].argmax())
    text += characters[index]
    logits, state = session.run(None, {"ids": np.array([[index]]), "state": state})
""",
    "keras": """
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
model = keras.models.load_model("model.keras")
states = [keras.ops.zeros((1, state.shape[1])) for state in model.inputs[1:]]
logits, *states = model([keras.ops.array([ids]), *states])
for _ in range(500):
    index = int(np.argmax(logits[0, -1]))
    text += characters[index]
    logits, *states = model([keras.ops.array([[index]]), *states])
""",
}
"""Programs that write 500 characters after "The " with the most likely character each time."""


def greedy_text(name: str, folder: Path) -> str:
    """Return the text that the program of a format writes in the folder of an export."""
    if name == "c":
        subprocess.run(["cc", "-O3", "run.c", "-lm", "-o", "run"], cwd=folder, check=True)
        done = subprocess.run(
            ["./run", "model.bin", "The ", str(LENGTH), "0"], cwd=folder, capture_output=True, check=True
        )
        return done.stdout.decode().removeprefix("The ")
    program = HEAD + GREEDY[name] + 'open("text.txt", "w", encoding="utf-8").write(text)\n'
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", program], cwd=folder, check=True, capture_output=True, env=environment)
    return (folder / "text.txt").read_text(encoding="utf-8")


@pytest.fixture(params=["skip", "plain"])
def model(request: pytest.FixtureRequest, trained_runs: dict[str, Path]) -> Model:
    """Return one of the trained models."""
    return load(trained_runs[request.param])


@pytest.mark.parametrize("name", FORMATS)
def test_the_logits_over_10000_characters_are_those_of_charlm(model: Model, tmp_path: Path, name: str) -> None:
    command = charlm("export", model.folder.parent, "--format", name, "--out", tmp_path / "out", "--check", "--json")
    found = json.loads(command.stdout)["check"]
    assert found["characters"] == 10_000
    assert found["largest_difference"] <= 1e-5


@pytest.mark.parametrize("name", ["onnx", "torch", "keras", "c"])
def test_the_most_likely_text_is_that_of_charlm(model: Model, tmp_path: Path, name: str) -> None:
    assert charlm("export", model.folder, "--format", name, "--out", tmp_path / "out").exit_code == 0
    expected = str(model.generate("The ", length=LENGTH, temperature=0))
    assert len(expected) == LENGTH
    assert greedy_text(name, tmp_path / "out") == expected


@pytest.mark.parametrize("name", ["onnx", "torch", "keras"])
def test_the_code_in_the_model_card_runs_and_can_go_on_from_its_state(
    trained_runs: dict[str, Path], tmp_path: Path, name: str
) -> None:
    charlm("export", trained_runs["skip"], "--format", name, "--out", tmp_path / "out")
    (code,) = code_blocks((tmp_path / "out" / "README.md").read_text(encoding="utf-8"), "python")
    program = f"{code}\n{code.splitlines()[-1]}\nassert logits.shape == (1, 1, 64), logits.shape"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path / "out", check=True, capture_output=True)
