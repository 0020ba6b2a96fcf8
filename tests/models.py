"""Models made by hand: random ones, and changes of their files with correct checksums, so that only these are wrong."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import safe_open

from charlm.config.file import nest, parse_config
from charlm.network.architecture import Architecture
from charlm.network.model_file import TrainedModel, read_model, seal, tensors_sha256
from charlm.network.rnn import Parameters
from charlm.text.vocabulary import Vocabulary


def random_parameters(*, scale: float = 1.0, seed: int = 0, **network: Any) -> Parameters:
    """Return normally distributed weights of a plain network, or of one with other fields of `Architecture`."""
    plain = {
        "vocabulary_size": 5,
        "layers": 1,
        "units": 4,
        "embedding": None,
        "use_bias": True,
        "activation": "tanh",
    }
    architecture = Architecture(**{**plain, "skip_connections": False, **network})
    rng = np.random.default_rng(seed)
    shapes = architecture.shapes()
    return Parameters(
        architecture,
        {
            name: (scale * rng.standard_normal(shape)).astype(np.float32)
            for name, shape in shapes.items()
        },
    )


def one_layer_of(
    kernel: Any, recurrent_kernel: Any, logits_kernel: Any, *, activation: str = "tanh"
) -> Parameters:
    """Return a network of one layer with some kernels, [V, H], [H, H] and [H, V], whose biases are zero."""
    ids, units = np.shape(kernel)
    parameters = random_parameters(vocabulary_size=ids, units=units, activation=activation, scale=0)
    kernels = {
        "rnn.0.kernel": kernel,
        "rnn.0.recurrent_kernel": recurrent_kernel,
        "logits.kernel": logits_kernel,
    }
    return with_tensors(
        parameters, {name: np.array(value, np.float32) for name, value in kernels.items()}
    )


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
    """Return the fields in the metadata of a model file, and its tensors; nothing is checked."""
    with safe_open(path, "numpy") as file:
        fields = json.loads(file.metadata()["charlm"])
        return fields, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def write_parts(path: Path, fields: dict[str, Any], tensors: dict[str, Any]) -> None:
    """Write a model file of these parts, with the checksums that they have."""
    fields = {
        name: value for name, value in fields.items() if name not in {"sha256", "tensors_sha256"}
    }
    fields["tensors_sha256"] = tensors_sha256(tensors)
    text = seal(json.dumps(fields, ensure_ascii=False)[:-1])
    path.write_bytes(safetensors.numpy.save(dict(tensors), {"charlm": text}))


def change_model(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the fields of a model file, and renew its checksums."""
    fields, tensors = read_parts(path)
    change(fields)
    write_parts(path, fields, tensors)
