"""Keras: a `.keras` file of stock layers, written and read.

`charlm.engine.keras_file` writes it; TensorFlow is imported for that alone. Reading needs neither Keras nor TensorFlow:
a `.keras` file is a zip of config.json, the graph of layers, and model.weights.h5. Both are read as data: nothing that
they name is imported or run, no link in the HDF5 file is followed, and sizes are checked before memory is taken.
The graph must be ids or one-hot characters, an embedding if there is one, SimpleRNN layers one above the other, and a
Dense layer. Dropout layers are passed over: they do nothing after training.

Axes: T time, V vocabulary, E embedding, H units.
"""

import io
import json
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError, shorten
from charlm.formats.programs import run_python
from charlm.network.bundle import MAX_LAYERS, Bundle
from charlm.network.rnn import ACTIVATIONS, Floats, Layer, Parameters
from charlm.storage.files import open_file

FILE = "model.keras"


def export_keras(bundle: Bundle) -> dict[str, bytes]:
    """Return the `.keras` file of a network; every activation of charlm is one of Keras."""
    from charlm.engine import runtime

    runtime.start()
    from charlm.engine.keras_file import write_keras_file

    return {FILE: write_keras_file(bundle)}


def read_logits(folder: Path, ids: NDArray[Any]) -> Floats:
    """Return the logits that Keras computes after each of the ids, integers [T]: float32 [T, V]."""
    return run_python(_PROGRAM, folder, ids, needs=["keras", "tensorflow"])


_PROGRAM = f"""
import os
os.environ["KERAS_BACKEND"], os.environ["TF_CPP_MIN_LOG_LEVEL"] = "tensorflow", "3"
import keras
model = keras.models.load_model(f"{{folder}}/{FILE}")
states = [np.zeros((1, int(state.shape[1])), np.float32) for state in model.inputs[1:]]
logits = model.predict([ids[None].astype("int32"), *states], verbose=0)[0][0]
"""


CONFIG, WEIGHTS = "config.json", "model.weights.h5"
MAX_BYTES = 1 << 31
MAX_CONFIG_BYTES = 10_000_000
MAX_RATIO = 20
"""How many times larger a file may become when it is unpacked. Keras does not compress."""
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, RuntimeError, ArithmeticError),
    *(KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError),
)
"""What zipfile, json and h5py raise for a file that is not as Keras writes it."""


MAX_KERAS_LAYERS = 10 * MAX_LAYERS
_PASSED = {"Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization"}
"""Layers that change nothing after training."""
_SOURCES: Mapping[str, Mapping[str, Sequence[Any]]] = {
    **{"OneHot": {}, "CategoryEncoding": {"output_mode": ("one_hot",)}},
    "Embedding": {"mask_zero": (False, None)},  # it would skip id 0
}
_ALLOWED: Mapping[str, Mapping[str, Sequence[Any]]] = {
    **_SOURCES,
    **{kind: {} for kind in ("InputLayer", *_PASSED)},
    "SimpleRNN": {"go_backwards": (False,), "use_bias": (True, False)},
    "Dense": {"activation": ("linear", "softmax"), "use_bias": (True, False)},
}
"""The layers of a network of charlm, with the settings that some of them must have."""


class UnsupportedLayerError(Exception):
    """The graph is not one that charlm has; the message names the layer."""


@dataclass(frozen=True)
class LayerRecord:
    """A layer, as far as its weights need it."""

    folder: str
    """Its name inside `layers/` of model.weights.h5."""
    use_bias: bool


@dataclass(frozen=True)
class Stack:
    """The layers of a network of charlm."""

    embedding: str | None
    """The folder of its weights; None = one-hot characters."""
    rnn: tuple[LayerRecord, ...]
    """Lowest first."""
    logits: LayerRecord
    activation: str


def read_stack(config: Mapping[str, Any]) -> Stack:
    """Return the layers that a config.json describes; they must be listed from the input up, as Keras writes them.

    Raises:
        UnsupportedLayerError: the model has other layers, or they are connected in another way.
        KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError: the config is not as Keras writes
            it.

    """
    if config["class_name"] not in {"Sequential", "Functional", "Model"}:
        raise UnsupportedLayerError(
            f"a model of class {shorten(config['class_name'])}; must be Sequential or Functional"
        )
    listed = config["config"]["layers"]
    if len(listed) > MAX_KERAS_LAYERS:
        raise UnsupportedLayerError(f"{len(listed)} layers; must be {MAX_KERAS_LAYERS} at most")
    layers = {layer["config"]["name"]: layer for layer in listed}
    for name, layer in layers.items():
        _check_layer(name, layer["class_name"], layer["config"])
    if config["class_name"] != "Sequential":
        _check_connections(layers)
    chain = [name for name in layers if layers[name]["class_name"] not in {"InputLayer", *_PASSED}]
    kinds = [layers[name]["class_name"] for name in chain]
    first = 1 if kinds and kinds[0] in _SOURCES else 0
    network, count = chain[first:], kinds.count("SimpleRNN")
    if not count or kinds[first:] != [*["SimpleRNN"] * count, "Dense"]:
        found = ", ".join(map(shorten, kinds)) or "none"
        raise UnsupportedLayerError(f"layers {found}; must be SimpleRNN layers, and one Dense layer above them")
    activations = {_activation(layers[name]["config"]) for name in network[:-1]}
    if not (len(activations) == 1 and activations <= ACTIVATIONS.keys()):
        raise _unsupported(network[0], f"activations {', '.join(map(shorten, activations))}; must be one of charlm")
    folders = dict(zip(layers, _folders(listed), strict=True))
    records = [LayerRecord(folders[name], layers[name]["config"]["use_bias"]) for name in network]
    embedding = folders[chain[0]] if kinds[0] == "Embedding" else None
    return Stack(embedding, tuple(records[:-1]), records[-1], activations.pop())


def _check_layer(name: str, kind: str, settings: Mapping[str, Any]) -> None:
    """Refuse a layer that charlm does not have, or with settings that it does not have."""
    if kind not in _ALLOWED:
        raise _unsupported(name, f"found {kind}; charlm has SimpleRNN, Embedding and Dense layers")
    for key, allowed in _ALLOWED[kind].items():
        found = _activation(settings) if key == "activation" else settings.get(key)
        if found not in allowed:
            raise _unsupported(name, f"{key} is {shorten(found)}; must be {' or '.join(map(shorten, allowed))}")


def _check_connections(layers: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse a functional model in which a layer does not read the outputs of the one listed before it alone."""
    before: str | None = None
    for name, layer in layers.items():
        if layer["class_name"] == "InputLayer":
            continue
        if len(nodes := layer["inbound_nodes"]) != 1:
            raise _unsupported(name, "must be used once")
        source, _, output = nodes[0]["args"][0]["config"]["keras_history"]
        is_right = source == before if before else layers[source]["class_name"] == "InputLayer"
        if not is_right or output != 0:
            raise _unsupported(
                name, f"reads {shorten(source)}; must read the outputs of {shorten(before or 'the input')}"
            )
        before = name


def _unsupported(name: str, problem: str) -> UnsupportedLayerError:
    return UnsupportedLayerError(f"layer {shorten(name)}: {problem}")


def _activation(settings: Mapping[str, Any]) -> str:
    """Return the name of an activation, which Keras writes as text or as an object."""
    found = settings["activation"]
    return str(found["config"] if isinstance(found, dict) else found)


def _folders(layers: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the layers inside model.weights.h5: by class, numbered in the order of the layers."""
    used: Counter[str] = Counter()
    folders = []
    for layer in layers:
        name = _snake_case(str(layer["class_name"]))
        folders.append(f"{name}_{used[name]}" if used[name] else name)
        used[name] += 1
    return folders


def _snake_case(name: str) -> str:
    """Return the name of a class as Keras writes it: SimpleRNN is simple_rnn."""
    name = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def read_keras_archive(path: Path) -> Parameters:
    """Return the network in a `.keras` file.

    Args:
        path: The file, at most 2 GiB.

    Raises:
        CharlmError: the file cannot be read, is damaged or too large, or has a layer that charlm does not have; the
            message names the layer.

    """
    with open_file(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                config = json.loads(_unpack(archive, CONFIG, path, limit=MAX_CONFIG_BYTES))
                stack = read_stack(config)
                return _parameters(stack, _unpack(archive, WEIGHTS, path, limit=MAX_BYTES))
        except UnsupportedLayerError as error:
            raise CharlmError(f"{path}: {error}") from None
        except _DAMAGE as error:
            raise CharlmError(f"{path}: not a .keras file as Keras 3 writes it: {shorten(str(error))[1:-1]}") from None


def _unpack(archive: zipfile.ZipFile, name: str, path: Path, *, limit: int) -> bytes:
    member = archive.getinfo(name)
    if member.file_size > min(limit, MAX_RATIO * max(member.compress_size, 1000)):
        raise CharlmError(
            f"{path}: {name} has {member.file_size:,} bytes unpacked; must be {limit:,} at most, and not "
            f"{MAX_RATIO} times its packed size"
        )
    return archive.read(member)


def _parameters(stack: Stack, weights: bytes) -> Parameters:
    import h5py  # type: ignore[import-untyped]

    with h5py.File(io.BytesIO(weights), "r") as file:

        def tensor(*parts: str) -> Floats:
            """Return a tensor of the file by the parts of its path."""
            return _tensor(file, parts, limit=len(weights))

        layers = tuple(
            Layer(
                kernel=tensor("layers", layer.folder, "cell", "vars", "0"),
                recurrent_kernel=tensor("layers", layer.folder, "cell", "vars", "1"),
                bias=tensor("layers", layer.folder, "cell", "vars", "2") if layer.use_bias else None,
            )
            for layer in stack.rnn
        )
        kernel = tensor("layers", stack.logits.folder, "vars", "0")
        bias = tensor("layers", stack.logits.folder, "vars", "1") if stack.logits.use_bias else None
        embedding = None if stack.embedding is None else tensor("layers", stack.embedding, "vars", "0")
    return Parameters(
        embedding=embedding,
        layers=layers,
        logits_kernel=kernel,
        logits_bias=np.zeros(kernel.shape[1], np.float32) if bias is None else bias,
        activation=stack.activation,
    )


def _tensor(file: Any, parts: tuple[str, ...], *, limit: int) -> Floats:
    """Return a dataset of an HDF5 file, float32; refuse links, data elsewhere, and more than `limit` bytes."""
    import h5py

    found = file
    for part in parts:
        if not isinstance(found.get(part, getlink=True), h5py.HardLink):
            raise ValueError(f"{'/'.join(parts)} is a link")
        found = found[part]
    if not isinstance(found, h5py.Dataset) or found.is_virtual or found.external is not None:
        raise ValueError(f"{'/'.join(parts)} is not a tensor in the file itself")
    if found.dtype.kind != "f" or found.dtype.itemsize * found.size > limit:
        raise ValueError(
            f"{'/'.join(parts)}: {found.dtype} of shape {found.shape}; must be numbers that the file holds"
        )
    return np.asarray(found[()], np.float32)
