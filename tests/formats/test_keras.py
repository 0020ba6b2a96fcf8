"""A `.keras` file becomes parameters; damaged and hostile ones are refused in a line."""

import contextlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytest
from formats.archives import PLAIN, SKIPPING, archive, layer, sequential, weights_file, weights_of
from formats.networks import NETWORKS, BundleMaker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charlm.errors import CharlmError
from charlm.formats.keras import export_keras, read_keras_archive
from charlm.network.rnn import Parameters

WEIGHTS = weights_file(weights_of()).getvalue()


def read(folder: Path, data: bytes) -> Parameters:
    (folder / "model.keras").write_bytes(data)
    return read_keras_archive(folder / "model.keras")


def test_the_tensors_of_each_layer_are_found(tmp_path: Path) -> None:
    weights = weights_of()
    found = read(tmp_path, archive(PLAIN, weights_file(weights).getvalue())).tensors()
    expected = {
        "embedding": "embedding/vars/0",
        "rnn.0.kernel": "simple_rnn/cell/vars/0",
        "rnn.1.recurrent_kernel": "simple_rnn_1/cell/vars/1",
        "rnn.1.bias": "simple_rnn_1/cell/vars/2",
        "logits.kernel": "dense/vars/0",
        "logits.bias": "dense/vars/1",
    }
    for name, path in expected.items():
        np.testing.assert_array_equal(found[name], weights[f"layers/{path}"])


def test_skip_connections_come_with_the_graph(tmp_path: Path) -> None:
    weights = weights_of(skips=True, embedding=False)
    found = read(tmp_path, archive(SKIPPING, weights_file(weights).getvalue()))
    assert (found.skip_connections, found.embedding) == (True, None)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a .keras file"),
        (b"PK\x03\x04", "not a .keras file"),
        (archive(PLAIN, WEIGHTS)[:-30], "not a .keras file"),
        (archive(b"{", WEIGHTS), "not a .keras file"),
        (archive(b"[" * 100_000, WEIGHTS), "not a .keras file"),
        (archive([], WEIGHTS), "not a .keras file"),
        (archive({"class_name": "Sequential", "config": {"layers": 3}}, WEIGHTS), "not a .keras file"),
        (archive(sequential(), WEIGHTS), "0 SimpleRNN and 0 Dense layers"),
        (archive({"class_name": ["x"], "config": 1}, WEIGHTS), "not a .keras file"),
        (archive(PLAIN, b""), "not a .keras file"),
        (archive(PLAIN, WEIGHTS[: len(WEIGHTS) // 2]), "not a .keras file"),
        (archive(PLAIN, weights_file({}).getvalue()), "not a .keras file"),
        (archive(sequential(layer("Lambda", "\x1b[2J")), WEIGHTS), r"layer '\\x1b\[2J': found Lambda"),
    ],
    ids=[
        *("empty", "signature alone", "end missing", "half a config", "deep config", "config is a list"),
        *("layers are a number", "no layers", "class name is a list", "no weights", "half the weights"),
        *("weights missing", "another layer"),
    ],
)
def test_a_file_that_is_not_one_of_keras_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(CharlmError, match=message):
        read(tmp_path, data)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    bomb = archive(PLAIN, bytes(50_000_000), compression=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000
    with pytest.raises(CharlmError, match=r"model.weights.h5 has 50,000,000 bytes unpacked"):
        read(tmp_path, bomb)


@pytest.mark.parametrize("kind", ["soft", "external", "outside", "virtual", "large", "text", "group"])
def test_weights_that_are_not_in_the_file_itself_are_refused(tmp_path: Path, kind: str) -> None:
    name = "layers/dense/vars/0"
    buffer = weights_file({key: value for key, value in weights_of().items() if key != name})
    (tmp_path / "secret").write_bytes(bytes(1000))
    with h5py.File(buffer, "r+") as file:
        if kind == "soft":
            file[name] = h5py.SoftLink("/layers/embedding/vars/0")
        elif kind == "external":
            file[name] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/x")
        elif kind == "outside":
            file.create_dataset(name, (4, 5), "f4", external=[(str(tmp_path / "secret"), 0, 80)])
        elif kind == "virtual":
            layout = h5py.VirtualLayout((4, 5), "f4")
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", shape=(4, 5))
            file.create_virtual_dataset(name, layout)
        elif kind == "large":
            file.create_dataset(name, (1 << 20, 1 << 20), "f4", chunks=(1024, 1024))
        elif kind == "text":
            file[name] = b"text"
        else:
            file.create_group(name)
    with pytest.raises(CharlmError, match="layers/dense/vars/0"):
        read(tmp_path, archive(PLAIN, buffer.getvalue()))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 1500), value=st.integers(0, 255))
def test_a_changed_byte_of_the_config_gives_a_network_or_a_line(tmp_path: Path, position: int, value: int) -> None:
    buffer = io.BytesIO(archive(PLAIN, WEIGHTS))
    config = bytearray(zipfile.ZipFile(buffer).read("config.json"))
    config[position % len(config)] = value
    with contextlib.suppress(CharlmError):
        read(tmp_path, archive(bytes(config), WEIGHTS))


@pytest.mark.slow
def test_changed_bytes_of_the_weights_give_a_network_or_a_line(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        weights = bytearray(WEIGHTS)
        for position in rng.integers(0, 4000, rng.integers(1, 5)):
            weights[position] = int(rng.choice([0, 1, 128, 255, int(rng.integers(256))]))
        with contextlib.suppress(CharlmError):
            read(tmp_path, archive(PLAIN, bytes(weights)))


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_what_is_exported_comes_back(make_bundle: BundleMaker, tmp_path: Path, network: dict[str, Any]) -> None:
    bundle = make_bundle(activation="softsign", **network)
    found = read(tmp_path, export_keras(bundle)["model.keras"])
    assert found.activation == "softsign"
    for name, tensor in bundle.parameters.tensors().items():
        np.testing.assert_array_equal(found.tensors()[name], tensor)


STOCK = """
import sys
import keras
import numpy as np
keras.utils.set_random_seed(1)
model = keras.Sequential([
    keras.layers.Embedding(5, 3),
    keras.layers.SimpleRNN(4, return_sequences=True, activation="relu"),
    keras.layers.Dropout(0.5),
    keras.layers.SimpleRNN(4, return_sequences=True, activation="relu"),
    keras.layers.Dense(5, activation="softmax"),
])
probabilities = model(np.array([[0, 3, 1, 4, 2]]))
model.save(sys.argv[1] + "/stock.keras")
np.save(sys.argv[1] + "/probabilities.npy", probabilities)
"""


@pytest.mark.slow
def test_a_model_of_keras_has_the_same_probabilities(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", STOCK, str(tmp_path)], check=True, capture_output=True)
    parameters = read_keras_archive(tmp_path / "stock.keras")
    logits, _ = parameters.unroll(np.array([0, 3, 1, 4, 2])[:, None], parameters.zero_state(1))
    weights = np.exp(logits[:, 0])
    expected = np.load(tmp_path / "probabilities.npy")[0]
    np.testing.assert_allclose(weights / weights.sum(-1, keepdims=True), expected, atol=1e-6)
