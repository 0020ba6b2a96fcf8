"""Parts of bundles made by hand: sizes of weights, and changes with correct checksums, so that only these are wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from charlm.network.architecture import Architecture
from charlm.network.rnn import Parameters, parameters_from_tensors
from charlm.storage.atomic import sha256


def make_random_parameters(
    *,
    vocabulary_size: int = 5,
    layers: int = 1,
    units: int = 4,
    embedding: int | None = None,
    use_bias: bool = True,
    activation: str = "tanh",
    skip_connections: bool = False,
    scale: float = 1.0,
    seed: int = 0,
) -> Parameters:
    """Return normally distributed weights."""
    architecture = Architecture(vocabulary_size, layers, units, embedding, use_bias, activation, skip_connections)
    rng = np.random.default_rng(seed)
    tensors = {
        name: (scale * rng.standard_normal(shape)).astype(np.float32) for name, shape in architecture.shapes().items()
    }
    return parameters_from_tensors(tensors, activation=activation, skip_connections=skip_connections)


def architecture_of(parameters: Parameters) -> Architecture:
    """Return the sizes of a network, as its first layer and its logits have them."""
    return Architecture(
        vocabulary_size=parameters.vocabulary_size,
        layers=len(parameters.layers),
        units=parameters.layers[0].units,
        embedding=None if parameters.embedding is None else int(parameters.embedding.shape[1]),
        use_bias=parameters.layers[0].bias is not None,
        activation=parameters.activation,
        skip_connections=parameters.skip_connections,
    )


def change_model(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the fields of model.json and renew its seal."""
    path = folder / "model.json"
    model = json.loads(path.read_text())
    change(model)
    del model["seal"]
    model["seal"] = sha256(json.dumps(model, sort_keys=True).encode())
    path.write_text(json.dumps(model))
