"""Random models, and model files that are changed but keep correct checksums."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import safe_open

from charlm.config.file import nest, parse_config
from charlm.core.architecture import Architecture
from charlm.core.model_file import TrainedModel, read_model, seal, tensors_sha256
from charlm.core.rnn import Parameters
from charlm.core.vocabulary import Vocabulary


def random_parameters(*, scale: float = 1.0, seed: int = 0, **network: Any) -> Parameters:
    """Return normally distributed weights of a plain network with some fields of `Architecture`."""
    plain = {
        "vocabulary_size": 5,
        "layers": 1,
        "units": 4,
        "embedding": None,
        "use_bias": True,
        "activation": "tanh",
        "skip_connections": False,
    }
    architecture = Architecture(**{**plain, **network})
    rng = np.random.default_rng(seed)
    tensors = {
        name: (scale * rng.standard_normal(shape)).astype(np.float32)
        for name, shape in architecture.shapes().items()
    }
    return Parameters(architecture, tensors)


def one_layer_of(
    kernel: Any, recurrent_kernel: Any, logits_kernel: Any, *, activation: str = "tanh"
) -> Parameters:
    """Return a network of one layer with kernels [V, H], [H, H] and [H, V], and zero biases."""
    ids, units = np.shape(kernel)
    parameters = random_parameters(vocabulary_size=ids, units=units, activation=activation, scale=0)
    kernels = {
        "rnn.0.kernel": np.array(kernel, np.float32),
        "rnn.0.recurrent_kernel": np.array(recurrent_kernel, np.float32),
        "logits.kernel": np.array(logits_kernel, np.float32),
    }
    return with_tensors(parameters, kernels)


def overflowing_parameters() -> Parameters:
    """Return the weights of two linear layers whose outputs are infinite, and then not numbers."""
    parameters = random_parameters(layers=2, units=2, activation="linear", scale=0)
    parameters.layers[0].kernel[...] = 3e38
    parameters.layers[0].recurrent_kernel[...] = [[9, 1], [1, 9]]
    return parameters


def with_tensors(parameters: Parameters, changed: Mapping[str, Any]) -> Parameters:
    """Return the weights with some of them replaced."""
    return replace(parameters, tensors={**parameters.tensors, **changed})


def make_random_model(
    characters: Sequence[str | None] = "\nabcd",
    *,
    vocabulary: Vocabulary | None = None,
    facts: Mapping[str, Any] | None = None,
    **network: Any,
) -> TrainedModel:
    """Return a model with random weights for some characters, or for a vocabulary."""
    known = vocabulary or Vocabulary(tuple(characters))
    parameters = random_parameters(vocabulary_size=len(known), **network)
    return as_model(parameters, known, facts=facts)


def as_model(
    parameters: Parameters, known: Vocabulary, *, facts: Mapping[str, Any] | None = None
) -> TrainedModel:
    """Return a model with some weights, whose config describes its network."""
    settings = parameters.architecture.settings()
    config = parse_config(nest(settings.items()), origin="test").model_dump(mode="json")
    return TrainedModel(parameters, known, config, dict(facts or {}))


def weights_of(path: Path) -> str:
    """Return the SHA-256 of the weights in a model file."""
    return tensors_sha256(read_model(path).parameters.tensors)


def read_parts(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the metadata and the tensors of a model file without checks."""
    with safe_open(path, "numpy") as file:
        fields = json.loads(file.metadata()["charlm"])
        return fields, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def write_parts(path: Path, fields: dict[str, Any], tensors: dict[str, Any]) -> None:
    """Write a model file with some metadata and tensors, and correct checksums."""
    sealed = {name: value for name, value in fields.items() if name != "sha256"}
    sealed["tensors_sha256"] = tensors_sha256(tensors)
    text = seal(json.dumps(sealed, ensure_ascii=False)[:-1])
    path.write_bytes(safetensors.numpy.save(dict(tensors), {"charlm": text}))


def change_model(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the metadata of a model file, and correct its checksums."""
    fields, tensors = read_parts(path)
    change(fields)
    write_parts(path, fields, tensors)
