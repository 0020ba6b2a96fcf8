"""Every format in the program it is made for: logits, states, and the code in the model card."""

import base64
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from commands import charlm
from formats.networks import IDS, NETWORKS, STRANGE, make_deep_model, make_model, write_export
from numpy.typing import NDArray
from pages import code_blocks

from charlm.api.model import load
from charlm.errors import CharlmError
from charlm.formats import FormatName
from charlm.formats.exporting import FORMATS
from charlm.formats.onnx import FILE, export_onnx
from charlm.formats.programs import C_SOURCES, Check, check_export, run_browser, run_c, run_python
from charlm.network.model_file import TrainedModel
from charlm.network.rnn import ACTIVATIONS, Floats

SLOW = {"html", "torch", "keras", "c"}
TRIED = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in FORMATS]


@pytest.mark.parametrize("name", TRIED)
def test_a_format_has_the_logits_of_the_reference_for_every_kind_of_network(
    tmp_path: Path, name: FormatName
) -> None:
    activations = [{**NETWORKS[3], "activation": activation} for activation in ACTIVATIONS]
    found = FORMATS[name]
    for number, network in enumerate(
        [*NETWORKS, *activations] if name in {"html", "c"} else NETWORKS[2:4]
    ):
        trained = make_model(**network)
        folder = write_export(tmp_path / str(number), trained, found.export(trained, "x"))
        expected, _ = reference.read(trained.parameters, IDS.tolist())
        np.testing.assert_allclose(found.read_logits(folder, IDS), expected, atol=1e-5, rtol=1e-5)


def test_why_a_program_failed_is_said_in_a_line(tmp_path: Path) -> None:
    for body, message in (
        ("raise ValueError('broken')", "the program failed: ValueError: broken"),
        (
            "import nothing_such",
            "needs nothing_such, which is not installed: pip install onnx nothing_such$",
        ),
        ("import charlm.api", "the program failed: .*charlm"),
    ):
        with pytest.raises(CharlmError, match=message):
            run_python(tmp_path, IDS, body=body, needs=["onnx", "nothing_such"])


def test_what_the_c_compiler_refuses_is_said_in_a_line(tmp_path: Path) -> None:
    for name in C_SOURCES:
        (tmp_path / name).write_text("int main(void) { return }", encoding="utf-8")
    with pytest.raises(CharlmError, match=r"check: .* failed: .*error: "):
        run_c(tmp_path, IDS)


def test_a_missing_c_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "missing")
    message = (
        r"^check: no C compiler \(looked for CC=missing\); set CC to one that exists, or unset it$"
    )
    with pytest.raises(CharlmError, match=message):
        run_c(tmp_path, IDS)


@pytest.mark.slow
def test_the_compiler_named_by_cc_gets_its_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ziglang", reason="missing: ziglang")
    monkeypatch.setenv("CC", f"{shlex.quote(sys.executable)} -m ziglang cc")
    trained = make_model()
    folder = write_export(tmp_path / "out", trained, FORMATS["c"].export(trained, "x"))
    expected, _ = reference.read(trained.parameters, IDS.tolist())
    np.testing.assert_allclose(run_c(folder, IDS), expected, atol=1e-5, rtol=1e-5)


BROWSER = """#!/bin/sh
for page; do :; done
for part in '<body><script type="text/plain" id="network">{}</script><script>' '[1, 2, 3]'; do
    grep -Fq "$part" "${page#file://}" || exit 3
done
printf '<p></p>\n<body>%s</body>' "$LOGITS"; echo an error >&2; exit $CODE
"""
"""A program that finds a network and ids in the page that it is given, and writes what the environment says."""


def test_a_browser_is_given_the_ids_and_writes_the_logits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "chromium").write_text(BROWSER, encoding="utf-8")
    (tmp_path / "chromium").chmod(0o755)
    (tmp_path / "index.html").write_text(
        '<script type="text/plain" id="network">{}</script>', encoding="utf-8"
    )
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    logits = np.arange(6, dtype="<f4").reshape(3, 2)
    for code, text in ((0, base64.b64encode(logits.tobytes()).decode()), (0, "<p>"), (1, "AAAA")):
        monkeypatch.setenv("LOGITS", text)
        monkeypatch.setenv("CODE", str(code))
        if text == "<p>" or code:
            with pytest.raises(CharlmError, match="check: chromium failed: an error"):
                run_browser(tmp_path, np.array([1, 2, 3]))
        else:
            np.testing.assert_array_equal(run_browser(tmp_path, np.array([1, 2, 3])), logits)
    (tmp_path / "index.html").write_text(
        '<script type="text/plain" id="network">[]</script>', encoding="utf-8"
    )
    with pytest.raises(CharlmError, match="check: chromium failed: it wrote no message"):
        run_browser(tmp_path, np.array([1, 2, 3]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx", "torch", "keras"])
def test_the_program_in_the_model_card_writes_text_and_goes_on_from_its_state(
    tmp_path: Path, name: str
) -> None:
    model = load(write_export(tmp_path / "deep", make_deep_model(), {}) / "model.safetensors")
    charlm("export", model.path, "--format", name, "--out", tmp_path / "out")
    (code,) = code_blocks((tmp_path / "out/README.md").read_text(encoding="utf-8"), "python")
    code = (
        code.replace("range(500)", "range(60)") + 'import numpy; numpy.save("logits.npy", logits)'
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path / "out", check=True, capture_output=True, text=True)
    written = done.stdout[:-2]  # without the last character, which is not read, and the line break
    read = (model.vocabulary.characters[0] or "") + written
    assert len(read) == 60
    np.testing.assert_allclose(
        np.load(tmp_path / "out/logits.npy")[0, 0], model.logits(read)[-1], atol=1e-4, rtol=0
    )


def test_a_missing_package_is_named(trained: TrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(CharlmError, match="format onnx: needs the package onnx: pip install onnx"):
        export_onnx(trained)


def session_of(trained: TrainedModel, folder: Path) -> Any:
    """Return a session of onnxruntime with a model."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="missing: onnxruntime")
    (folder / FILE).write_bytes(export_onnx(trained)[FILE])
    return onnxruntime.InferenceSession(folder / FILE)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("network", NETWORKS[:4], ids=str)
def test_streams_side_by_side_go_on_from_their_states(
    tmp_path: Path, activation: str, network: dict[str, Any]
) -> None:
    trained = make_model(**network, activation=activation)
    session, layers = session_of(trained, tmp_path), network["layers"]
    ids = np.random.default_rng(1).integers(0, 5, (7, 3))  # [T, B]
    state, parts = np.zeros((layers, 3, 4), np.float32), []
    for part in (ids[:4], ids[4:5], ids[5:]):
        logits, state = session.run(None, {"ids": part, "state": state})
        parts.append(logits)
    expected, last = trained.parameters.unroll(ids, trained.parameters.zero_state(3))
    np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-5)
    np.testing.assert_allclose(state, np.stack(last), atol=1e-5)


def test_the_vocabulary_is_in_the_metadata(tmp_path: Path) -> None:
    trained = make_model(characters=STRANGE)
    session = session_of(trained, tmp_path)
    assert (
        json.loads(session.get_modelmeta().custom_metadata_map["vocabulary"])
        == trained.vocabulary.to_fields()
    )
    shapes = {value.name: value.shape for value in (*session.get_inputs(), *session.get_outputs())}
    of_states = {"state": [1, "B", 4], "next_state": [1, "B", 4]}
    assert shapes == {"ids": ["T", "B"], "logits": ["T", "B", len(STRANGE)], **of_states}


def check(trained: TrainedModel, *, error: float, time: int | None = None) -> Check:
    """Check an export whose program errs in one logit by `error`, and returns the logits of `time` ids."""

    def read_logits(folder: Path, ids: NDArray[Any]) -> Floats:
        assert (folder / "model").read_bytes() == b"weights"
        assert (folder / "model.safetensors").is_file()
        parameters = trained.parameters
        logits = parameters.unroll(ids[:time, None], parameters.zero_state(1))[0][:, 0]
        logits[1, 2] += error
        return logits

    ids, files = np.arange(5), {"model": b"weights"}
    return check_export(
        files, ids, model=trained, program="another program", read_logits=read_logits
    )


def test_the_largest_difference_of_a_logit_is_found_and_must_be_within_the_tolerance(
    trained: TrainedModel,
) -> None:
    found = check(trained, error=-0.9e-4)
    assert found.largest_difference == pytest.approx(0.9e-4, rel=1e-2)
    assert (found.program, found.characters) == ("another program", 5)
    for error in (1.1e-4, np.nan, np.inf):
        with pytest.raises(
            CharlmError, match=r"a logit of another program differs by .*; must be at most 0\.0001"
        ):
            check(trained, error=error)
    with pytest.raises(
        CharlmError, match=r"another program computes logits of shape \(4, 5\); must be \(5, 5\)"
    ):
        check(trained, error=0, time=4)
