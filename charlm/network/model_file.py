"""A trained model on disk: one safetensors file, with everything else that its use takes in the file's own metadata.

The metadata has one entry, `charlm`, a JSON object with the fields of `model_bytes`, the SHA-256 of the tensors, and
at its end that of the text before. (With two entries, safetensors would write them in either order.) A checkpoint is
such a file with more tensors and one more field.
A file holds no code and is untrusted: sizes are checked before memory is allocated, checksums before anything is used,
and the metadata as a whole when it is read, so that no other code has to expect a strange text, number or depth.
"""

import contextlib
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from charlm import __version__
from charlm.checks import parse_json
from charlm.errors import CharlmError
from charlm.network.architecture import Architecture, Shape
from charlm.network.rnn import ACTIVATIONS, Parameters
from charlm.storage import open_file, reading, write_file
from charlm.text.vocabulary import Vocabulary, vocabulary_of
from charlm.wording import short_repr

if TYPE_CHECKING:
    from charlm.config.schema import Config

FORMAT = 4
ENTRY = "charlm"
"""The entry of the metadata of the file."""
FACTS = ("step", "epoch", "score", "corpus", "temperature")
"""The fields of a model besides those that its use takes."""
MAX_HEADER_BYTES = 1 << 25
"""The largest header that is read: enough for a vocabulary of every character of Unicode."""
MAX_SIZE = 1 << 21
"""The largest layer or embedding."""
MAX_LAYERS = 64
MAX_CONFIG_CHARACTERS = 100_000
"""The largest config in the metadata, as JSON."""
DTYPES = {*("BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F16", "F32", "F64")}
"""The dtypes of tensors that NumPy has, as safetensors calls them."""
UNCHOSEN_TEMPERATURE = 0.7
"""At which a network writes whose training has not ended, and whose user has not said."""

Tensors = dict[str, NDArray[Any]]
"""Arrays of any dtype by name."""


@dataclass(frozen=True)
class TrainedModel:
    """A trained model: all that sampling and scoring need."""

    parameters: Parameters
    vocabulary: Vocabulary
    config: Mapping[str, Any]
    """Every setting of the run, by sections as in config.yaml."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Its step, epoch, score, text (`corpus`), and the `temperature` that was chosen when its training had ended."""

    @property
    def architecture(self) -> Architecture:
        """The sizes of the network."""
        return self.parameters.architecture

    def parse_config(self, *, origin: str = "the model") -> "Config":
        """Return the config of the run that wrote the model.

        Args:
            origin: The file to name in an error.

        Raises:
            CharlmError: it is not a valid config.

        """
        from charlm.config.file import parse_config  # sampling must not wait for pydantic

        return parse_config(self.config, origin=origin)

    @property
    def sampling_temperature(self) -> float:
        """At which it writes unless another is asked for, 0 or more.

        That of its config, else the one that was chosen when its training had ended, else UNCHOSEN_TEMPERATURE.
        """
        for place in (self.config.get("sampling"), self.facts):
            match place:
                case {"temperature": int(found) | float(found)} if 0 <= found < math.inf:
                    return float(found)
        return UNCHOSEN_TEMPERATURE


def tensors_sha256(tensors: Tensors) -> str:
    """Return the SHA-256 of tensors and their names, in hexadecimal digits."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        _add(digest, name, tensors[name])
    return digest.hexdigest()


def model_bytes(
    model: TrainedModel, *, tensors: Tensors | None = None, training: Any = None
) -> bytes:
    """Return the contents of a model file.

    Args:
        model: The model.
        tensors: All tensors of a checkpoint, those of the model included; None = those of the model.
        training: The further field of a checkpoint, for JSON; None = it is none.

    """
    tensors = {
        name: np.asarray(tensor, order="C")
        for name, tensor in (tensors or model.parameters.tensors).items()
    }
    fields: dict[str, Any] = {"format": FORMAT, "charlm": __version__, **model.facts}
    fields |= {"vocabulary": model.vocabulary.to_fields(), "config": model.config}
    fields |= {} if training is None else {"training": training}
    fields["tensors_sha256"] = tensors_sha256(tensors)
    data: bytes = safetensors.numpy.save(
        tensors, {ENTRY: seal(json.dumps(fields, ensure_ascii=False, allow_nan=False)[:-1])}
    )
    return data


def seal(begun: str) -> str:
    """Return a JSON object, given all but its closing bracket, with the SHA-256 of what is given as its last field."""
    return f'{begun}, "sha256": "{hashlib.sha256(begun.encode()).hexdigest()}"}}'


def write_model(path: Path, model: TrainedModel) -> None:
    """Write a model file; an existing one is replaced in a single step. Raises CharlmError if it cannot be written."""
    write_file(path, model_bytes(model))


def read_fields(path: Path) -> dict[str, Any]:
    """Return what the metadata of a model file says; the tensors are not read.

    `vocabulary` and `config` are checked as far as the shapes of the network depend on them. The other fields may hold
    anything that JSON can express.

    Raises:
        CharlmError: the file is damaged, or of a format that this version of charlm does not read.
        UnreadableError: the file is missing or cannot be read.

    """
    with _open(path) as (fields, _):
        return fields


def read_model(path: Path) -> TrainedModel:
    """Read a model file, or the model in a checkpoint.

    Raises:
        CharlmError: the file is damaged, of an unknown format, or its tensors are not those of the network that it
            describes.
        UnreadableError: the file is missing or cannot be read.

    """
    return read_tensors(path, only_model=True)[0]


def read_tensors(
    path: Path, *, only_model: bool = False
) -> tuple[TrainedModel, dict[str, Any], Tensors]:
    """Return the model in a file, the fields of its metadata, and its tensors; raises what `read_model` raises.

    Args:
        path: The file.
        only_model: Whether to keep the tensors of the model alone in memory.

    """
    with _open(path) as (fields, file):
        vocabulary = vocabulary_of(fields.get("vocabulary"), origin=str(path))
        architecture = read_architecture(fields, path)
        shapes, names = architecture.shapes(), file.keys()
        _check_tensors(file, shapes, path)
        digest, tensors = hashlib.sha256(), dict[str, NDArray[Any]]()
        for name in sorted(names):
            tensor = file.get_tensor(name)
            _add(digest, name, tensor)
            if name in shapes and not np.isfinite(tensor).all():
                raise CharlmError(
                    f"{path}: tensor {name}: holds values that are not finite; use an earlier model"
                )
            if name in shapes or not only_model:
                tensors[name] = tensor
        if digest.hexdigest() != fields.get("tensors_sha256"):
            raise CharlmError(
                f"{path}: damaged: the SHA-256 of its tensors is not the one in its metadata"
            )
    parameters = Parameters(architecture, {name: tensors[name] for name in shapes})
    facts = {name: value for name, value in fields.items() if name in FACTS}
    return TrainedModel(parameters, vocabulary, fields["config"], facts), fields, tensors


def _check_tensors(file: Any, shapes: Mapping[str, Shape], path: Path) -> None:
    """Refuse an open file whose tensors are not those of a network, before any of them is read."""
    found = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
    for name, tensor in found.items():
        dtype = tensor.get_dtype()
        if dtype not in (("F32",) if name in shapes else DTYPES):
            expected = "float32" if name in shapes else "a dtype of NumPy"
            raise CharlmError(
                f"{path}: tensor {short_repr(name)[1:-1]}: found dtype {dtype}; expected {expected}"
            )
    for name, shape in shapes.items():
        actual = tuple(found[name].get_shape()) if name in found else None
        if actual != shape:
            problem = "missing" if actual is None else f"shape {actual}"
            raise CharlmError(f"{path}: tensor {name}: {problem}; its config says {shape}")


def read_architecture(fields: Mapping[str, Any], path: Path) -> Architecture:
    """Return the architecture that the metadata of a file describes; raises CharlmError if it is not possible."""
    match fields:
        case {
            "vocabulary": {"characters": [*characters]},
            "config": {
                "model": {
                    "layers": layers,
                    "units": units,
                    "embedding": embedding,
                    "skip_connections": bool(skip_connections),
                    "rnn": {"use_bias": bool(use_bias), "activation": str(activation)},
                }
            },
        }:
            numbers = [layers, units, *([] if embedding is None else [embedding])]
            if (
                any(type(size) is not int or not 1 <= size <= MAX_SIZE for size in numbers)
                or layers > MAX_LAYERS
            ):
                most = f"the sizes of the network must be from 1 to {MAX_SIZE:,}, and {MAX_LAYERS} layers at most"
                raise CharlmError(f"{path}: {most}")
            if activation not in ACTIVATIONS:
                raise CharlmError(
                    f"{path}: activation {short_repr(activation)}; must be {', '.join(ACTIVATIONS)}"
                )
            return Architecture(
                len(characters), layers, units, embedding, use_bias, activation, skip_connections
            )
    raise CharlmError(f"{path}: damaged: its metadata does not describe a network")


def _add(digest: Any, name: str, tensor: NDArray[Any]) -> None:
    digest.update(name.encode())
    digest.update(np.asarray(tensor, order="C"))


@contextlib.contextmanager
def _open(path: Path) -> Iterator[tuple[dict[str, Any], Any]]:
    """Open a model file; yield the fields of its metadata, and the open file of safetensors."""
    with open_file(path) as file:
        size = int.from_bytes(file.read(8), "little")
    if size > MAX_HEADER_BYTES:
        raise CharlmError(
            f"{path}: not a model file of charlm: its header has more than {MAX_HEADER_BYTES:,} bytes"
        )
    try:
        with reading(path), safetensors.safe_open(path, "numpy") as opened:
            yield _fields(opened.metadata() or {}, path), opened
    except (safetensors.SafetensorError, ValueError) as error:
        raise CharlmError(
            f"{path}: damaged, or not a model file of charlm: {str(error)[:200]}"
        ) from None


def _fields(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    if ENTRY not in metadata:
        raise CharlmError(f"{path}: not a model file of charlm: its metadata has no entry {ENTRY}")
    text = metadata[ENTRY]
    if seal(text.rpartition(', "sha256"')[0]) != text:
        raise CharlmError(f"{path}: damaged: the SHA-256 of its metadata is wrong")
    fields = parse_json(text, origin=f"{path}: metadata")
    found = fields.get("format") if isinstance(fields, dict) else None
    if found != FORMAT:
        raise CharlmError(
            f"{path}: format {short_repr(found)}; charlm {__version__} reads format {FORMAT}: use the version of "
            f"charlm that wrote it"
        )
    read_architecture(fields, path)
    size = len(json.dumps(fields["config"]))
    if size > MAX_CONFIG_CHARACTERS:
        raise CharlmError(
            f"{path}: config of {size:,} characters; expected at most {MAX_CONFIG_CHARACTERS:,}"
        )
    return dict(fields)
