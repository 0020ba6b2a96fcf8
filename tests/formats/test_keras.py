"""A `.keras` file becomes parameters; damaged and hostile ones are refused in a line."""

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytest
from formats.archives import PLAIN, archive, dense, functional, layer, rnn, sequential, weights_file, weights_of
from formats.networks import NETWORKS, BundleMaker

from charlm.errors import CharlmError
from charlm.formats.keras import (
    LayerRecord,
    Stack,
    UnsupportedLayerError,
    export_keras,
    read_keras_archive,
    read_stack,
)
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


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a .keras file"),
        (archive(PLAIN, WEIGHTS)[:-30], "not a .keras file"),
        (archive(b"{", WEIGHTS), "not a .keras file"),
        (archive(b"[" * 100_000, WEIGHTS), "not a .keras file"),
        (archive({"class_name": "Sequential", "config": {"layers": 3}}, WEIGHTS), "not a .keras file"),
        (archive(sequential(), WEIGHTS), "layers none; must be SimpleRNN layers"),
        (archive(PLAIN, WEIGHTS[: len(WEIGHTS) // 2]), "not a .keras file"),
        (archive(PLAIN, weights_file({}).getvalue()), "not a .keras file"),
        (archive(sequential(layer("Lambda", "\x1b[2J")), WEIGHTS), r"layer '\\x1b\[2J': found Lambda"),
    ],
    ids=[
        *("empty", "end missing", "half a config", "deep config", "layers are a number", "no layers"),
        *("half the weights", "weights missing", "another layer"),
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


@pytest.mark.parametrize("kind", ["external", "outside", "virtual", "large", "group"])
def test_weights_that_are_not_in_the_file_itself_are_refused(tmp_path: Path, kind: str) -> None:
    name = "layers/dense/vars/0"
    buffer = weights_file({key: value for key, value in weights_of().items() if key != name})
    (tmp_path / "secret").write_bytes(bytes(1000))
    with h5py.File(buffer, "r+") as file:
        if kind == "external":
            file[name] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/x")
        elif kind == "outside":
            file.create_dataset(name, (4, 5), "f4", external=[(str(tmp_path / "secret"), 0, 80)])
        elif kind == "virtual":
            layout = h5py.VirtualLayout((4, 5), "f4")
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", shape=(4, 5))
            file.create_virtual_dataset(name, layout)
        elif kind == "large":
            file.create_dataset(name, (1 << 20, 1 << 20), "f4", chunks=(1024, 1024))
        else:
            file.create_group(name)
    with pytest.raises(CharlmError, match="layers/dense/vars/0"):
        read(tmp_path, archive(PLAIN, buffer.getvalue()))


@pytest.mark.slow
@pytest.mark.parametrize("network", [each for each in NETWORKS if not each.get("skip_connections")], ids=str)
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


INPUT = layer("InputLayer", "ids")
SHARED = rnn("a", ["ids"])
SHARED["inbound_nodes"] *= 2


def test_a_sequential_stack_is_read() -> None:
    assert read_stack(PLAIN) == Stack(
        embedding="embedding",
        rnn=(LayerRecord("simple_rnn", True), LayerRecord("simple_rnn_1", True)),
        logits=LayerRecord("dense", True),
        activation="tanh",
    )


def test_an_activation_may_be_an_object_and_layers_that_do_nothing_after_training_are_passed_over() -> None:
    recurrent = rnn("r", activation={"class_name": "function", "config": "relu"})
    found = read_stack(
        sequential(INPUT, layer("Dropout", "a"), recurrent, layer("GaussianNoise", "b"), dense("logits"))
    )
    assert (len(found.rnn), found.activation) == (1, "relu")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (sequential(INPUT, layer("LSTM", "deep"), dense("logits")), r"layer 'deep': found LSTM; charlm has SimpleRNN"),
        (sequential(INPUT, rnn("r")), r"layers 'SimpleRNN'; must be"),
        (sequential(INPUT, rnn("r", go_backwards=True), dense("d")), r"layer 'r': go_backwards is True; must be False"),
        (sequential(INPUT, rnn("r", activation="gelu"), dense("d")), r"layer 'r': activations 'gelu'; must be one"),
        (sequential(INPUT, rnn("r"), rnn("s", activation="relu"), dense("d")), r"activations .*; must be one"),
        (sequential(INPUT, rnn("r"), dense("d", activation="relu")), r"layer 'd': activation is 'relu'"),
        (
            sequential(INPUT, layer("Embedding", "e", mask_zero=True), rnn("r"), dense("d")),
            r"layer 'e': mask_zero is True; must be False",
        ),
        (sequential(INPUT, rnn("r", use_bias="no"), dense("d")), r"layer 'r': use_bias is 'no'"),
        (sequential(INPUT, layer("CategoryEncoding", "c", output_mode="multi_hot"), rnn("r"), dense("d")), "multi_hot"),
        (
            sequential(INPUT, rnn("r"), layer("Embedding", "e"), rnn("s"), dense("d")),
            r"layers 'SimpleRNN', 'Embedding', 'SimpleRNN', 'Dense'; must be",
        ),
        ({"class_name": "Subclass", "config": {}}, r"a model of class 'Subclass'"),
        (sequential(*[INPUT] * 1000), r"1000 layers; must be 640 at most"),
    ],
)
def test_other_stacks_are_refused_by_name(config: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedLayerError, match=message):
        read_stack(config)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([rnn("a", ["ids"]), rnn("b", ["ids"]), layer("Dropout", "c", ["b"])], r"'b': reads 'ids'; must read .* 'a'"),
        ([rnn("a", ["ids"]), layer("Concatenate", "c", ["a", "ids"])], r"'c': found Concatenate"),
        ([SHARED, layer("Dropout", "c", ["a"])], "layer 'a': must be used once"),
    ],
)
def test_layers_that_are_connected_in_another_way_are_refused(layers: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(UnsupportedLayerError, match=message):
        read_stack(functional(INPUT, *layers, dense("logits", ["c"])))


def test_the_state_of_a_layer_is_not_its_output() -> None:
    top = dense("logits", ["a"])
    top["inbound_nodes"][0]["args"][0]["config"]["keras_history"] = ["a", 0, 1]
    with pytest.raises(UnsupportedLayerError, match="layer 'logits': reads 'a'; must read the outputs"):
        read_stack(functional(INPUT, rnn("a", ["ids"]), top))
