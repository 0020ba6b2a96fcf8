"""Every format in the program it is made for: logits, states, and the code in README.md."""

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from commands import charlm
from formats.networks import (
    EVERY_NETWORK,
    IDS,
    NETWORKS,
    STRANGE,
    make_deep_model,
    make_model,
    write_export,
)
from javascript import Node
from numpy.typing import NDArray
from pages import code_blocks

from charlm.api.model import load
from charlm.errors import CharlmError
from charlm.formats import FormatName
from charlm.formats.exporting import FORMATS, TORCH_ACTIVATIONS
from charlm.formats.onnx import FILE, export_onnx
from charlm.formats.programs import C_SOURCES, Check, check_export, run_browser, run_c, run_python
from charlm.network.model_file import TrainedModel
from charlm.network.rnn import Floats

SLOW = {"html", "torch", "keras", "c"}
TRIED = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in FORMATS]


@pytest.mark.parametrize("name", TRIED)
def test_a_format_has_the_logits_of_the_reference(tmp_path: Path, name: FormatName) -> None:
    tried = FORMATS[name]
    for number, network in enumerate(NETWORKS):  # in one test, because a program starts slowly
        trained = make_model(**network)
        folder = write_export(tmp_path / str(number), trained, tried.export(trained, "x"))
        expected, _ = reference.read(trained.parameters, IDS.tolist())
        logits = tried.read_logits(folder, IDS)
        np.testing.assert_allclose(logits, expected, atol=1e-5, rtol=1e-5, err_msg=str(network))


READ_EVERY_NETWORK = {
    "torch": """
sys.path.insert(0, f"{folder}/0")
import torch
from torch_network import load
def read(folder):
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
EVERY_FOLDER = """
folders = sorted(os.listdir(folder))
logits = np.hstack([np.concatenate(read(os.path.join(folder, each))) for each in folders])
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", READ_EVERY_NETWORK)
def test_every_network_has_the_logits_of_the_reference(tmp_path: Path, name: FormatName) -> None:
    if find_spec(name) is None:
        pytest.skip(f"missing: {name}")
    networks = EVERY_NETWORK[::3]  # every structure, with one or two of the activations
    if name == "torch":
        networks = [each for each in EVERY_NETWORK if each["activation"] in TORCH_ACTIVATIONS]
    models = [make_model(**network) for network in networks]
    for number, trained in enumerate(models):
        files = FORMATS[name].export(trained, "x")
        write_export(tmp_path / "exports" / str(number), trained, files)
    body = READ_EVERY_NETWORK[name] + EVERY_FOLDER
    logits = run_python(tmp_path / "exports", IDS, body=body, needs=[])
    ordered = sorted(range(len(models)), key=str)
    found = logits.reshape(len(IDS), len(models), 5)
    for position, number in enumerate(ordered):
        expected, _ = reference.read(models[number].parameters, IDS.tolist())
        tried = str(networks[number])
        np.testing.assert_allclose(
            found[:, position], expected, atol=1e-5, rtol=1e-5, err_msg=tried
        )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise ValueError('broken')", "the program failed: ValueError: broken"),
        ("import none_such", "needs none_such, which is not installed: pip install onnx none_such"),
        ("import charlm.api", "the program failed: .*charlm"),
    ],
    ids=["exception", "missing package", "charlm"],
)
def test_a_failure_of_a_python_program_is_a_line(body: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match=message):
        run_python(tmp_path, IDS, body=body, needs=["onnx", "none_such"])


def test_a_refusal_of_the_c_compiler_is_a_line(tmp_path: Path) -> None:
    for name in C_SOURCES:
        (tmp_path / name).write_text("int main(void) { return }", encoding="utf-8")
    with pytest.raises(CharlmError, match=r"check: .* failed: .*error: "):
        run_c(tmp_path, IDS)


def test_a_missing_c_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "missing")
    message = "no C compiler (looked for CC=missing); set CC to one that exists, or unset it"
    with pytest.raises(CharlmError, match=rf"^check: {re.escape(message)}$"):
        run_c(tmp_path, IDS)


# The browser, played by a script

BROWSER = """#!/bin/sh
for page; do :; done
cp "${page#file://}" "$COPY"
printf '<p></p>\n<body>%s</body>' "$ANSWER"; printf %s "$MESSAGE" >&2; exit $CODE
"""
"""A browser that copies the page of a check, and answers as it is told."""
LOGITS = np.arange(6, dtype="<f4").reshape(3, 2)


@pytest.fixture
def browse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Floats]:
    """Return a function that checks an exported page with an answer of the browser."""
    (tmp_path / "chromium").write_text(BROWSER, encoding="utf-8")
    (tmp_path / "chromium").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("COPY", str(tmp_path / "check.html"))
    page = FORMATS["html"].export(make_model(**NETWORKS[1]), "x")["index.html"]
    (tmp_path / "index.html").write_bytes(page)

    def run(answer: str = "", *, code: int = 0, message: str = "") -> Floats:
        monkeypatch.setenv("ANSWER", answer)
        monkeypatch.setenv("CODE", str(code))
        monkeypatch.setenv("MESSAGE", message)
        return run_browser(tmp_path, np.array([1, 2, 3]))

    return run


def test_the_logits_are_the_answer_of_the_browser(browse: Callable[..., Floats]) -> None:
    answer = base64.b64encode(LOGITS.tobytes()).decode()
    np.testing.assert_array_equal(browse(answer), LOGITS)


def test_the_page_of_a_check_answers_with_the_logits(
    browse: Callable[..., Floats], node: Node, tmp_path: Path
) -> None:
    browse(base64.b64encode(LOGITS.tobytes()).decode())
    node.open((tmp_path / "check.html").read_text(encoding="utf-8"))
    answer = base64.b64decode(node.run("return document.body.textContent"))
    expected, _ = reference.read(make_model(**NETWORKS[1]).parameters, [1, 2, 3])
    logits = np.frombuffer(answer, "<f4").reshape(3, 5)
    np.testing.assert_allclose(logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("answer", "code", "message", "expected"),
    [
        pytest.param("<p>", 0, "an error", "an error", id="markup"),
        pytest.param("AAAA", 1, "an error", "an error", id="exit code"),
        pytest.param("AAAA", 1, "", "it wrote no message", id="no message"),
    ],
)
def test_a_wrong_answer_of_the_browser_is_an_error(
    answer: str, code: int, message: str, expected: str, browse: Callable[..., Floats]
) -> None:
    with pytest.raises(CharlmError, match=f"^check: chromium failed: {expected}$"):
        browse(answer, code=code, message=message)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx", "torch", "keras"])
def test_the_program_in_the_readme_continues_from_its_state(tmp_path: Path, name: str) -> None:
    model = load(write_export(tmp_path / "deep", make_deep_model(), {}) / "model.safetensors")
    folder = tmp_path / "out"
    charlm("export", model.path, "--format", name, "--out", folder)
    (code,) = code_blocks((folder / "README.md").read_text(encoding="utf-8"), "python")
    code = code.replace("range(500)", "range(60)")
    code += 'import numpy; numpy.save("logits.npy", logits)'
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    generated = done.stdout.removesuffix("\n")[:-1]  # the program does not read the last character
    read = (model.vocabulary.characters[0] or "") + generated
    assert len(read) == 60
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


def check(trained: TrainedModel, *, error: float, time: int | None = None) -> Check:
    """Check an export whose program is wrong in one logit, and reads only the first ids."""

    def read_logits(folder: Path, ids: NDArray[Any]) -> Floats:
        assert (folder / "model").read_bytes() == b"weights"
        assert (folder / "model.safetensors").is_file()
        parameters = trained.parameters
        logits = parameters.unroll(ids[:time, None], parameters.zero_state(1))[0][:, 0]
        logits[1, 2] += error
        return logits

    return check_export(
        {"model": b"weights"},
        np.arange(5),
        model=trained,
        program="another program",
        read_logits=read_logits,
    )


def test_a_check_has_the_largest_difference_of_a_logit(trained: TrainedModel) -> None:
    result = check(trained, error=-0.9e-4)
    assert result.largest_difference == pytest.approx(0.9e-4, rel=1e-2)
    assert (result.program, result.characters) == ("another program", 5)


@pytest.mark.parametrize("error", [1.1e-4, np.nan, np.inf])
def test_a_difference_above_the_tolerance_is_an_error(error: float, trained: TrainedModel) -> None:
    message = r"a logit of another program differs by .*; must be at most 0\.0001"
    with pytest.raises(CharlmError, match=message):
        check(trained, error=error)


def test_logits_of_another_shape_are_an_error(trained: TrainedModel) -> None:
    message = r"another program computes logits of shape \(4, 5\); must be \(5, 5\)"
    with pytest.raises(CharlmError, match=message):
        check(trained, error=0, time=4)
