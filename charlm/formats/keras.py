"""Keras: a `.keras` file of stock layers, written and read.

`charlm.engine.keras_file` writes it; TensorFlow is imported for that alone. Reading needs neither Keras nor TensorFlow:
a `.keras` file is a zip of config.json, the graph of layers, and model.weights.h5. Both are read as data: nothing that
they name is imported or run, no link in the HDF5 file is followed, and sizes are checked before memory is taken.
`charlm.formats.keras_graph` understands the graph.

Axes: T time, V vocabulary, E embedding, H units.
"""

import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError, shorten
from charlm.formats.keras_graph import Stack, UnsupportedLayerError, read_stack
from charlm.formats.programs import run_python
from charlm.network.bundle import Bundle
from charlm.network.rnn import Floats, Layer, Parameters
from charlm.storage.files import open_file

FILE = "model.keras"
USAGE = """```python
import keras

model = keras.models.load_model("model.keras")
states = [keras.ops.zeros((1, {units}))] * {layers}  # [B, H] for each layer
logits, *states = model([keras.ops.array([[0]]), *states])  # ids [B, T] -> logits [B, T, V]
```"""
"""For the model card, by `str.format` with `layers` and `units`."""


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
        skip_connections=stack.skip_connections,
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
