"""`.keras` files made by hand, without Keras."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

V, E, H = 5, 3, 4

Layer = dict[str, Any]


def layer(kind: str, name: str, reads: Sequence[str] = (), **settings: Any) -> Layer:
    """Return a layer of a config.json, with what it reads, for a functional model."""
    tensors = [{"config": {"keras_history": [source, 0, 0]}} for source in reads]
    arguments = [tensors[0] if len(tensors) == 1 else tensors]
    nodes = [{"args": arguments, "kwargs": {}}] if reads else []
    return {"class_name": kind, "config": {"name": name, **settings}, "inbound_nodes": nodes}


def rnn(name: str, reads: Sequence[str] = (), **settings: Any) -> Layer:
    """Return a SimpleRNN layer."""
    return layer(
        "SimpleRNN", name, reads, **{"activation": "tanh", "use_bias": True, "go_backwards": False, **settings}
    )


def dense(name: str, reads: Sequence[str] = (), **settings: Any) -> Layer:
    """Return a Dense layer."""
    return layer("Dense", name, reads, **{"activation": "linear", "use_bias": True, **settings})


def sequential(*layers: Layer) -> dict[str, Any]:
    """Return the config.json of a sequential model."""
    return {"class_name": "Sequential", "config": {"layers": list(layers)}}


def functional(*layers: Layer, output: str = "logits") -> dict[str, Any]:
    """Return the config.json of a functional model."""
    return {"class_name": "Functional", "config": {"layers": list(layers), "output_layers": [[output, 0, 0]]}}


PLAIN = sequential(
    layer("InputLayer", "ids"), layer("Embedding", "embedding"), rnn("rnn_0"), rnn("rnn_1"), dense("logits")
)
Weights = Mapping[str, NDArray[Any]]


def weights_of() -> dict[str, NDArray[Any]]:
    """Return random weights of two layers by their paths in model.weights.h5."""
    rng = np.random.default_rng(0)
    shapes = {
        "simple_rnn/cell/vars/0": (E, H),
        "simple_rnn/cell/vars/1": (H, H),
        "simple_rnn/cell/vars/2": (H,),
        "simple_rnn_1/cell/vars/0": (H, H),
        "simple_rnn_1/cell/vars/1": (H, H),
        "simple_rnn_1/cell/vars/2": (H,),
        "dense/vars/0": (H, V),
        "dense/vars/1": (V,),
        "embedding/vars/0": (V, E),
    }
    return {f"layers/{name}": rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def weights_file(weights: Weights) -> io.BytesIO:
    """Return model.weights.h5 with weights by their paths."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, tensor in weights.items():
            file[name] = tensor
    return buffer


def archive(config: Any, weights: bytes, *, compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return the contents of a `.keras` file; a config that is bytes is written as it is."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        file.writestr("config.json", config if isinstance(config, bytes) else json.dumps(config))
        file.writestr("model.weights.h5", weights)
    return buffer.getvalue()
