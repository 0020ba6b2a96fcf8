"""Every format in the program it is made for: logits, states, and the code in README.md."""

import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from commands import charlm
from exports.networks import (
    EVERY_NETWORK,
    IDS,
    STRANGE,
    make_deep_model,
    make_model,
    write_export,
)
from pages import code_blocks

from charlm.api.model import load
from charlm.core.model_file import TrainedModel
from charlm.errors import CharlmError
from charlm.exports import FormatName
from charlm.exports.exporting import TORCH_ACTIVATIONS, export_files
from charlm.exports.onnx import FILE, export_onnx

PROGRAMS = {
    "torch": """
import torch
def read(folder):
    sys.path.insert(0, folder)
    from torch_network import load
    network, _ = load(f"{folder}/model.safetensors")
    parts, state = [], None
    for part in (ids[:20], ids[20:]):
        part, state = network(torch.tensor(part)[:, None], state)
        parts.append(part[:, 0].detach().numpy())
    return parts
""",
    "keras": """
os.environ["KERAS_BACKEND"], os.environ["TF_CPP_MIN_LOG_LEVEL"] = "tensorflow", "3"
import keras
def read(folder):
    model = keras.models.load_model(f"{folder}/model.keras")
    states = [keras.ops.zeros([1, state.shape[1]]) for state in model.inputs[1:]]
    parts = []
    for part in (ids[:20], ids[20:]):
        part, *states = model([keras.ops.array(part[None]), *states])
        parts.append(np.array(part[0]))
    return parts
""",
}
"""Functions that read a text in two parts and return both parts' logits, [T, V]."""
START = """
import os, sys
sys.modules["charlm"] = None  # an export must not need charlm
import numpy as np
ids = np.load("ids.npy")
"""
END = """
for folder in os.listdir("exports"):
    np.save(f"exports/{folder}/logits.npy", np.concatenate(read(f"exports/{folder}")))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_every_network_has_the_logits_of_the_reference(tmp_path: Path, name: FormatName) -> None:
    if find_spec(name) is None:
        pytest.skip(f"missing: {name}")
    networks = EVERY_NETWORK[::3]  # every structure, with one or two of the activations
    if name == "torch":
        networks = [each for each in EVERY_NETWORK if each["activation"] in TORCH_ACTIVATIONS]
    models = {str(network): make_model(**network) for network in networks}
    np.save(tmp_path / "ids.npy", IDS)
    for number, trained in enumerate(models.values()):
        files = export_files(trained, name, title="x")
        write_export(tmp_path / "exports" / str(number), trained, files)
    command = [sys.executable, "-c", START + PROGRAMS[name] + END]
    subprocess.run(command, cwd=tmp_path, check=True)
    for number, (network, trained) in enumerate(models.items()):
        expected, _ = reference.read(trained.parameters, IDS.tolist())
        logits = np.load(tmp_path / "exports" / str(number) / "logits.npy")
        np.testing.assert_allclose(logits, expected, atol=1e-5, rtol=1e-5, err_msg=network)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx", "torch", "keras"])
def test_the_program_in_the_readme_continues_from_its_start(tmp_path: Path, name: str) -> None:
    """A text with paragraphs begins with two line breaks."""
    trained = replace(make_deep_model(), facts={"paragraphs": True})
    model = load(write_export(tmp_path / "deep", trained, {}) / "model.safetensors")
    folder = tmp_path / "out"
    charlm("export", model.path, "--format", name, "--out", folder)
    (code,) = code_blocks((folder / "README.md").read_text(encoding="utf-8"), "python")
    code = code.replace("range(500)", "range(60)")
    code += 'import numpy; numpy.save("logits.npy", logits)'
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    generated = done.stdout.removesuffix("\n")[:-1]  # the program does not read the last character
    read = "\n\n" + generated
    assert len(read) == 61
    logits = np.load(folder / "logits.npy")[0, 0]
    np.testing.assert_allclose(logits, model.logits(read)[-1], atol=1e-4, rtol=0)


def test_a_missing_package_is_named(trained: TrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(CharlmError, match="format onnx: needs the onnx package: pip install onnx"):
        export_onnx(trained)


def session_of(trained: TrainedModel, folder: Path) -> Any:
    """Return a session of onnxruntime with a model."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="missing: onnxruntime")
    (folder / FILE).write_bytes(export_onnx(trained)[FILE])
    return onnxruntime.InferenceSession(folder / FILE)


@pytest.mark.parametrize("network", EVERY_NETWORK, ids=str)
def test_an_onnx_model_continues_several_streams(tmp_path: Path, network: dict[str, Any]) -> None:
    trained = make_model(**network)
    session = session_of(trained, tmp_path)
    ids = np.random.default_rng(1).integers(0, 5, (7, 3))  # [T, B]
    state = np.zeros((network["layers"], 3, network["units"]), np.float32)
    parts = []
    for part in (ids[:4], ids[4:5], ids[5:]):
        logits, state = session.run(None, {"ids": part, "state": state})
        parts.append(logits)
    found = np.concatenate(parts)
    for stream in range(3):
        expected, last = reference.read(trained.parameters, ids[:, stream].tolist())
        np.testing.assert_allclose(found[:, stream], expected, atol=1e-5)
        np.testing.assert_allclose(state[:, stream], np.stack(last), atol=1e-5)


def test_an_onnx_model_has_the_vocabulary_in_its_metadata(tmp_path: Path) -> None:
    trained = make_model(characters=STRANGE)
    metadata = session_of(trained, tmp_path).get_modelmeta().custom_metadata_map
    assert json.loads(metadata["vocabulary"]) == trained.vocabulary.to_fields()


def test_an_onnx_model_names_its_arguments_with_their_shapes(tmp_path: Path) -> None:
    session = session_of(make_model(characters=STRANGE), tmp_path)
    arguments = [*session.get_inputs(), *session.get_outputs()]
    assert {argument.name: argument.shape for argument in arguments} == {
        "ids": ["T", "B"],
        "state": [1, "B", 4],
        "logits": ["T", "B", len(STRANGE)],
        "next_state": [1, "B", 4],
    }
