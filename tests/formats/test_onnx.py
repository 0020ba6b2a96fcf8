"""The ONNX model: its inputs, its metadata, streams side by side, and what is refused."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from formats.networks import STRANGE, make_model

from charlm.errors import CharlmError
from charlm.formats.onnx import FILE, export_onnx
from charlm.network.model_file import TrainedModel


def test_a_missing_package_is_named(trained: TrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(CharlmError, match="--format onnx: needs the package onnx: pip install onnx"):
        export_onnx(trained)


def session_of(trained: TrainedModel, folder: Path) -> Any:
    """Return a session of onnxruntime with the model of a trained."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="missing: onnxruntime")
    (folder / FILE).write_bytes(export_onnx(trained)[FILE])
    return onnxruntime.InferenceSession(folder / FILE)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["tanh", "linear"])
@pytest.mark.parametrize("layers", [1, 2])
def test_streams_side_by_side_go_on_from_their_states(tmp_path: Path, activation: str, layers: int) -> None:
    trained = make_model(layers=layers, skip_connections=True, activation=activation)
    session = session_of(trained, tmp_path)
    ids = np.random.default_rng(1).integers(0, 5, (7, 3))  # [T, B]
    state, parts = np.zeros((layers, 3, 4), np.float32), []
    for part in (ids[:4], ids[4:5], ids[5:]):
        logits, state = session.run(None, {"ids": part, "state": state})
        parts.append(logits)
    expected, last = trained.parameters.unroll(ids, trained.parameters.zero_state(3))
    np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-5)
    np.testing.assert_allclose(state, np.stack(last), atol=1e-5)


@pytest.mark.slow
def test_the_vocabulary_is_in_the_metadata(tmp_path: Path) -> None:
    trained = make_model(characters=STRANGE)
    session = session_of(trained, tmp_path)
    assert json.loads(session.get_modelmeta().custom_metadata_map["vocabulary"]) == trained.vocabulary.to_fields()
    shapes = {value.name: value.shape for value in (*session.get_inputs(), *session.get_outputs())}
    assert shapes == {
        "ids": ["T", "B"],
        "state": [1, "B", 4],
        "logits": ["T", "B", len(STRANGE)],
        "next_state": [1, "B", 4],
    }
