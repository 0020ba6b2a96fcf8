"""A trained model on disk: weights.safetensors, vocabulary.json, config.yaml and model.json.

A bundle is self-contained, holds no code, and can be copied anywhere. It may come from a stranger: sizes and shapes are
checked before memory is allocated, checksums before anything is used, and no link is followed. model.json holds the
checksums of the other files, and its own checksum as `seal`: the SHA-256 of its other fields as `_seal` writes them.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
import safetensors.numpy

from charlm import __version__
from charlm.errors import CharlmError, short_repr
from charlm.network.architecture import CONFIG_FILE, MODEL, VOCABULARY_FILE, WEIGHTS, Architecture
from charlm.network.rnn import ACTIVATIONS, Floats, Parameters, parameters_from_tensors
from charlm.storage.atomic import sha256, write_folder
from charlm.storage.files import read_file
from charlm.text.vocabulary import Vocabulary, parse_vocabulary

if TYPE_CHECKING:
    from charlm.config.schema import Config

FORMAT = 1
FACTS = ("step", "epoch", "score", "corpus")
"""What model.json holds of a model besides what is needed to use it."""
MAX_HEADER_BYTES = 1_000_000
"""The largest model.json, config.yaml and header of weights.safetensors that are read."""
MAX_ATTEMPTS = 10
"""How often a bundle is read before an error in it is reported, if it is replaced during each attempt."""
MAX_SIZE = 1 << 21
"""The largest vocabulary, layer or embedding."""
MAX_LAYERS = 64

ReadFile = Callable[..., bytes]
"""A function with the arguments of `charlm.storage.files.read_file`."""


@dataclass(frozen=True)
class Bundle:
    """A trained model: all that sampling and scoring need."""

    architecture: Architecture
    parameters: Parameters
    vocabulary: Vocabulary
    config: str
    """The contents of config.yaml: every setting of the run."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The step, epoch, score and text (`corpus`) of the model, as model.json holds them."""

    def parse_config(self, *, origin: str = f"{CONFIG_FILE} of the bundle") -> "Config":
        """Return the config of the run that wrote the bundle.

        Args:
            origin: The file to name in an error.

        Raises:
            CharlmError: config.yaml is not a valid config.

        """
        from charlm.config.file import parse_config  # sampling must not wait for pydantic
        from charlm.config.yaml import parse_yaml

        return parse_config(parse_yaml(self.config, origin=origin), origin=origin)

    def sampling_temperature(self, *, origin: str = f"{CONFIG_FILE} of the bundle") -> float:
        """Return the temperature that the run sampled with, `sampling.temperature` of its config: 0 or more.

        Args:
            origin: The file to name in an error.

        Raises:
            CharlmError: config.yaml is not a valid config.

        """
        from charlm.config.yaml import parse_yaml

        match parse_yaml(self.config, origin=origin):
            case {"sampling": {"temperature": float(found)}} if 0 <= found < math.inf:
                return found  # the rest of the config is not looked at: sampling must not wait for pydantic
        return self.parse_config(origin=origin).sampling.temperature


def write_bundle(folder: Path, bundle: Bundle) -> None:
    """Write a bundle; an existing one is replaced in a single step.

    Args:
        folder: Where to write it. Missing parent folders are made.
        bundle: The model.

    Raises:
        CharlmError: the folder cannot be written, for instance because the disk is full.

    """
    write_folder(folder, bundle_files(bundle))


def weights_sha256(parameters: Parameters) -> str:
    """Return the SHA-256 of weights.safetensors, as charlm writes it."""
    return sha256(_weights_bytes(parameters))


def _weights_bytes(parameters: Parameters) -> bytes:
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in parameters.tensors().items()}
    data: bytes = safetensors.numpy.save(tensors)
    return data


def bundle_files(bundle: Bundle) -> dict[str, bytes]:
    """Return the contents of the files of a bundle, by name."""
    files = {
        WEIGHTS: _weights_bytes(bundle.parameters),
        VOCABULARY_FILE: bundle.vocabulary.to_json().encode(),
        CONFIG_FILE: bundle.config.encode(),
    }
    model = {
        "format": FORMAT,
        "charlm": __version__,
        "architecture": asdict(bundle.architecture),
        **bundle.facts,
        "shapes": {name: list(shape) for name, shape in bundle.architecture.shapes().items()},
        "sha256": {name: sha256(data) for name, data in files.items()},
    }
    sealed = {**model, "seal": _seal(model)}
    return {**files, MODEL: (json.dumps(sealed, indent=2) + "\n").encode()}


def _seal(model: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the fields of model.json other than the seal."""
    return sha256(_as_json(model).encode())


def read_bundle(folder: Path, *, read: ReadFile = read_file) -> Bundle:
    """Read a bundle, whole even if a training run replaces it meanwhile.

    An error is reported at once unless model.json has changed since the attempt began: the files of the attempt may
    then belong to two bundles, and the bundle is read again.

    Args:
        folder: The folder of the bundle.
        read: Reads each file.

    Raises:
        CharlmError: a file is missing, damaged, a link, of an unknown format, or not as model.json describes it.

    """
    for _ in range(MAX_ATTEMPTS - 1):
        before = _model_bytes(folder, read)
        try:
            return _read_once(folder, read)
        except CharlmError:
            if _model_bytes(folder, read) == before:
                raise
    return _read_once(folder, read)


def _model_bytes(folder: Path, read: ReadFile) -> bytes | None:
    """Return the contents of model.json, which change if any file of the bundle does, or None if it cannot be read."""
    try:
        return read(folder / MODEL, limit=MAX_HEADER_BYTES)
    except CharlmError:
        return None


def _read_once(folder: Path, read: ReadFile) -> Bundle:
    model = read_model(folder, read=read)
    architecture = _architecture(model, folder / MODEL)
    shapes = architecture.shapes()
    weights_bytes = sum(4 * math.prod(shape) for shape in shapes.values())

    def read_checked(name: str, limit: int) -> bytes:
        """Read a file and check its SHA-256."""
        data = read(folder / name, limit=limit)
        checksums = model.get("sha256")
        if not isinstance(checksums, dict) or sha256(data) != checksums.get(name):
            raise CharlmError(f"{folder / name}: damaged: its SHA-256 is not the one in {MODEL}")
        return data

    weights = read_checked(WEIGHTS, weights_bytes + MAX_HEADER_BYTES)
    vocabulary_json = read_checked(VOCABULARY_FILE, 64 * architecture.vocabulary_size + 1000)
    config = read_checked(CONFIG_FILE, MAX_HEADER_BYTES)
    vocabulary = _vocabulary(vocabulary_json, architecture.vocabulary_size, folder / VOCABULARY_FILE)
    parameters = parameters_from_tensors(
        _tensors(weights, shapes, folder / WEIGHTS),
        activation=architecture.activation,
        skip_connections=architecture.skip_connections,
    )
    facts = {name: value for name, value in model.items() if name in FACTS}
    return Bundle(architecture, parameters, vocabulary, _text(config, folder / CONFIG_FILE), facts)


def read_model(folder: Path, *, read: ReadFile = read_file) -> dict[str, Any]:
    """Return the fields of the model.json of a bundle; the seal is checked and left out.

    `architecture` and `shapes` are checked: sizes are bounded, and the shapes are those of the architecture. The other
    fields may hold anything that JSON can express.

    Args:
        folder: The folder of the bundle.
        read: Reads the file.

    Raises:
        CharlmError: the file is missing, damaged, a link, of a format that this version of charlm does not read, or
            describes a network that is not possible.

    """
    path = folder / MODEL
    if not path.is_file():
        raise CharlmError(f"{folder}: not a bundle: there is no {MODEL} in it")
    try:
        model = json.loads(_text(read(path, limit=MAX_HEADER_BYTES), path))
        if not isinstance(model, dict):
            raise CharlmError(f"{path}: damaged: not a JSON object")
        is_whole = model.pop("seal", None) == _seal(model)
    except (ValueError, RecursionError):
        raise CharlmError(f"{path}: damaged: not JSON") from None
    if model.get("format") != FORMAT:
        raise CharlmError(
            f"{path}: format {short_repr(model.get('format'))}; charlm {__version__} reads format {FORMAT}: "
            f"use the version of charlm that wrote it"
        )
    if not is_whole:
        raise CharlmError(f"{path}: damaged: its own SHA-256, `seal`, is wrong")
    shapes = _architecture(model, path).shapes()
    if _as_json(model.get("shapes")) != _as_json(shapes):  # as JSON, because 4 == 4.0 and 1 == True in Python
        raise CharlmError(f"{path}: damaged: `shapes` are not the shapes of `architecture`")
    return model


def _as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _architecture(model: Mapping[str, Any], path: Path) -> Architecture:
    try:
        architecture = Architecture(**model["architecture"])
    except (KeyError, TypeError):
        raise CharlmError(f"{path}: damaged: `architecture` is missing or has other fields") from None
    numbers = [architecture.vocabulary_size, architecture.layers, architecture.units]
    numbers += [architecture.embedding] if architecture.embedding is not None else []
    if any(type(number) is not int or not 1 <= number <= MAX_SIZE for number in numbers):
        raise CharlmError(f"{path}: damaged: a size in `architecture` is not a whole number from 1 to {MAX_SIZE:,}")
    if architecture.layers > MAX_LAYERS:
        raise CharlmError(f"{path}: {architecture.layers} layers; must be {MAX_LAYERS} at most")
    if any(type(flag) is not bool for flag in (architecture.use_bias, architecture.skip_connections)):
        raise CharlmError(f"{path}: damaged: a flag in `architecture` is not true or false")
    if not isinstance(architecture.activation, str) or architecture.activation not in ACTIVATIONS:
        found = short_repr(architecture.activation)
        raise CharlmError(f"{path}: activation {found} is unknown; must be one of {', '.join(ACTIVATIONS)}")
    return architecture


def _vocabulary(data: bytes, size: int, path: Path) -> Vocabulary:
    vocabulary = parse_vocabulary(_text(data, path), origin=str(path))
    if len(vocabulary) != size:
        raise CharlmError(f"{path}: {len(vocabulary)} ids, but {MODEL} says {size}")
    return vocabulary


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
        actual = f"shape {found[wrong]}" if wrong in found else "missing"
        raise CharlmError(f"{path}: tensor {wrong[:100]}: {actual}; {MODEL} says {shapes.get(wrong, 'no such tensor')}")
    if any(tensor.dtype != np.float32 for tensor in tensors.values()):
        raise CharlmError(f"{path}: a tensor is not float32; all must be")
    infinite = next((name for name, tensor in tensors.items() if not np.isfinite(tensor).all()), None)
    if infinite is not None:
        raise CharlmError(f"{path}: tensor {infinite}: holds values that are not finite; use an earlier bundle")
    return tensors
