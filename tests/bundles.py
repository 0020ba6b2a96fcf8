"""Models made by hand: random ones, and changes of their files with correct checksums, so that only these are wrong."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from charlm.config.file import dump_config
from charlm.config.schema import Config, ModelConfig
from charlm.network.architecture import Architecture
from charlm.network.bundle import Bundle
from charlm.network.rnn import Parameters, parameters_from_tensors
from charlm.storage.atomic import sha256
from charlm.text.vocabulary import Vocabulary


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


def make_random_bundle(
    characters: Sequence[str | None] = "\nabcd",
    *,
    vocabulary: Vocabulary | None = None,
    facts: Mapping[str, Any] | None = None,
    **network: Any,
) -> Bundle:
    """Return a model with random weights for some characters, or for a vocabulary."""
    known = vocabulary or Vocabulary(tuple(characters))
    parameters = make_random_parameters(vocabulary_size=len(known), **network)
    made = architecture_of(parameters)
    config = dump_config(Config(model=ModelConfig(layers=made.layers, units=made.units)))
    return Bundle(made, parameters, known, config, dict(facts or {}))


def change_model(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the fields of model.json and renew its seal."""
    path = folder / "model.json"
    model = json.loads(path.read_text())
    change(model)
    del model["seal"]
    model["seal"] = sha256(json.dumps(model, sort_keys=True).encode())
    path.write_text(json.dumps(model))
