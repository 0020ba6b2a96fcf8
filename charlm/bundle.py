"""A trained model on disk: weights.safetensors, vocabulary.json, config.yaml and model.json.

A bundle is self-contained, holds no code, and can be copied anywhere. Bundles come from strangers: sizes and
shapes are checked before memory is taken, checksums before anything is used, and no link is followed. model.json
holds the checksums of the other files and its own, `seal`: that of all the rest of it as `_seal` writes it.
"""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

import charlm
from charlm.errors import CharlmError, shorten
from charlm.files import sha256, write_folder
from charlm.intake import read_file
from charlm.rnn import ACTIVATIONS, Floats, Parameters, parameters_from_tensors, tensor_shapes
from charlm.vocabulary import Vocabulary, parse_vocabulary

FORMAT = 1
MODEL, WEIGHTS, VOCABULARY, CONFIG = "model.json", "weights.safetensors", "vocabulary.json", "config.yaml"
MAX_HEADER_BYTES = 1_000_000
READ_ATTEMPTS, READ_PAUSE_SECONDS = 5, 0.02


@dataclass(frozen=True)
class Architecture:
    """What decides the shapes of the weights and how they are used."""

    vocabulary_size: int
    layers: int
    units: int
    embedding: int | None
    use_bias: bool
    activation: str
    skip_connections: bool

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each tensor by its name."""
        fields = asdict(self)
        fields.pop("activation")
        return tensor_shapes(**fields)


@dataclass(frozen=True)
class Bundle:
    """A trained model: what samples and scores, without what trained it."""

    architecture: Architecture
    parameters: Parameters
    vocabulary: Vocabulary
    config: str
    """The contents of config.yaml: every value the run used."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else model.json tells: step, epoch, score."""


def write_bundle(folder: Path, bundle: Bundle) -> None:
    """Write a bundle, replacing one that is there in a single step; raises CharlmError if it cannot."""
    files = {
        WEIGHTS: safetensors.numpy.save(
            {name: np.ascontiguousarray(tensor) for name, tensor in bundle.parameters.tensors().items()}
        ),
        VOCABULARY: bundle.vocabulary.to_json().encode(),
        CONFIG: bundle.config.encode(),
    }
    model = {
        "format": FORMAT,
        "charlm": charlm.__version__,
        "architecture": asdict(bundle.architecture),
        **bundle.facts,
        "shapes": {name: list(shape) for name, shape in bundle.architecture.shapes().items()},
        "sha256": {name: sha256(data) for name, data in files.items()},
    }
    sealed = {**model, "seal": _seal(model)}
    write_folder(folder, {**files, MODEL: (json.dumps(sealed, indent=2) + "\n").encode()})


def _seal(model: Mapping[str, Any]) -> str:
    """Return the SHA-256 of what model.json tells, apart from its seal."""
    return sha256(json.dumps(model, sort_keys=True).encode())


def is_bundle(folder: Path) -> bool:
    """Return whether a folder looks like a bundle."""
    return (folder / MODEL).is_file()


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle, whole even while a training run replaces it.

    Raises CharlmError naming the file that is missing, damaged, of an unknown format or not what
    model.json says of it.
    """
    for _ in range(READ_ATTEMPTS - 1):
        try:
            return _read(folder)
        except CharlmError:
            time.sleep(READ_PAUSE_SECONDS)  # perhaps replaced between two of its files
    return _read(folder)


def _read(folder: Path) -> Bundle:
    model = read_model(folder)
    architecture = _architecture(model, folder / MODEL)
    shapes = architecture.shapes()
    weights_bytes = sum(4 * math.prod(shape) for shape in shapes.values())
    weights = _read_checked(folder / WEIGHTS, model, limit=weights_bytes + MAX_HEADER_BYTES)
    vocabulary_bytes = _read_checked(folder / VOCABULARY, model, limit=64 * architecture.vocabulary_size + 1000)
    config = _read_checked(folder / CONFIG, model, limit=MAX_HEADER_BYTES)
    vocabulary = parse_vocabulary(_text(vocabulary_bytes, folder / VOCABULARY), origin=str(folder / VOCABULARY))
    if len(vocabulary) != architecture.vocabulary_size:
        raise CharlmError(
            f"{folder / VOCABULARY}: {len(vocabulary)} ids, but {MODEL} says {architecture.vocabulary_size}"
        )
    tensors = _tensors(weights, shapes, folder / WEIGHTS)
    parameters = parameters_from_tensors(
        tensors, activation=architecture.activation, skip_connections=architecture.skip_connections
    )
    facts = {name: value for name, value in model.items() if name in {"step", "epoch", "score"}}
    return Bundle(architecture, parameters, vocabulary, _text(config, folder / CONFIG), facts)


def read_model(folder: Path) -> dict[str, Any]:
    """Return what model.json tells of a bundle, its seal checked and left out.

    Raises CharlmError where it is missing, damaged or of a format that this charlm does not read.
    """
    path = folder / MODEL
    if not path.is_file():
        raise CharlmError(f"{folder}: not a bundle: there is no {MODEL} in it")
    try:
        model = json.loads(_text(read_file(path, limit=MAX_HEADER_BYTES, follow_links=False), path))
        if not isinstance(model, dict):
            raise CharlmError(f"{path}: damaged: not a JSON object")
        is_whole = model.pop("seal", None) == _seal(model)
    except (ValueError, RecursionError):
        raise CharlmError(f"{path}: damaged: not JSON") from None
    if model.get("format") != FORMAT:
        raise CharlmError(
            f"{path}: format {shorten(model.get('format'))}; charlm {charlm.__version__} reads format {FORMAT}: "
            f"use the version of charlm that wrote it"
        )
    if not is_whole:
        raise CharlmError(f"{path}: damaged: its own SHA-256, `seal`, is wrong")
    return model


def _architecture(model: Mapping[str, Any], path: Path) -> Architecture:
    try:
        architecture = Architecture(**model["architecture"])
    except (KeyError, TypeError):
        raise CharlmError(f"{path}: damaged: `architecture` is missing or has other fields") from None
    numbers = [architecture.vocabulary_size, architecture.layers, architecture.units]
    numbers += [architecture.embedding] if architecture.embedding is not None else []
    if any(type(number) is not int or not 1 <= number <= 1 << 21 for number in numbers):
        raise CharlmError(f"{path}: damaged: a size in `architecture` is not a positive whole number")
    if architecture.layers > 64:
        raise CharlmError(f"{path}: {architecture.layers} layers; charlm has at most 64")
    if any(type(flag) is not bool for flag in (architecture.use_bias, architecture.skip_connections)):
        raise CharlmError(f"{path}: damaged: a flag in `architecture` is not true or false")
    if not isinstance(architecture.activation, str) or architecture.activation not in ACTIVATIONS:
        raise CharlmError(f"{path}: activation {shorten(architecture.activation)} is not one that charlm knows")
    return architecture


def _read_checked(path: Path, model: Mapping[str, Any], *, limit: int) -> bytes:
    data = read_file(path, limit=limit, follow_links=False)
    checksums = model.get("sha256")
    if not isinstance(checksums, dict) or sha256(data) != checksums.get(path.name):
        raise CharlmError(f"{path}: damaged: its SHA-256 is not the one in {MODEL}")
    return data


def _text(data: bytes, path: Path) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise CharlmError(f"{path}: damaged: not UTF-8") from None


def _tensors(data: bytes, shapes: Mapping[str, tuple[int, ...]], path: Path) -> dict[str, Floats]:
    try:
        tensors: dict[str, Floats] = safetensors.numpy.load(data)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise CharlmError(f"{path}: damaged: {str(error)[:200]}") from None
    found = {name: tensor.shape for name, tensor in tensors.items()}
    if found != dict(shapes):
        wrong = sorted(name for name in {*found, *shapes} if found.get(name) != shapes.get(name))[0]
        raise CharlmError(
            f"{path}: tensor {wrong[:100]}: shape {found.get(wrong)}; the architecture wants {shapes.get(wrong)}"
        )
    if any(tensor.dtype != np.float32 for tensor in tensors.values()):
        raise CharlmError(f"{path}: a tensor is not float32")
    broken = next((name for name, tensor in tensors.items() if not np.isfinite(tensor).all()), None)
    if broken is not None:
        raise CharlmError(f"{path}: tensor {broken}: holds values that are not finite; use an earlier bundle")
    return tensors
