"""The model file: a safetensors file with the weights, and with everything else in its metadata.

The metadata has one entry, `charlm`: a JSON object with the fields of `model_bytes`, the SHA-256 of
the tensors, and finally the SHA-256 of the JSON text before that entry. (safetensors would write
two entries in random order.) A checkpoint has more tensors and one more field. A file contains no
code and is untrusted. Sizes are checked before memory is allocated, checksums before anything is
used, and the metadata when it is read, so other code need not expect strange strings, numbers or
depths.
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

from charlm.checks import parse_json
from charlm.config.stored import SETTINGS, complete
from charlm.core.architecture import Architecture, Shape
from charlm.core.rnn import ACTIVATIONS, Integers, Parameters
from charlm.core.vocabulary import Vocabulary, vocabulary_of
from charlm.errors import CharlmError
from charlm.storage import open_file, reading, write_file
from charlm.version import __version__
from charlm.wording import short_repr

if TYPE_CHECKING:
    from charlm.config.schema import Config

FORMAT = 4
ENTRY = "charlm"
"""Name of the metadata entry."""
FACTS = ("step", "epoch", "score", "corpus", "paragraphs", "temperature")
"""Fields that describe a model, but are not needed to use it."""
MAX_HEADER_BYTES = 1 << 25
"""Size limit of a header, enough for a vocabulary of all Unicode characters."""
DTYPES = {"BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F16", "F32", "F64"}
"""Names in safetensors of the dtypes that NumPy has."""
WEIGHT_DTYPES = {"F16", "F32"}
"""Names of the dtypes of weights. They are float32 once they are read."""
UNCHOSEN_TEMPERATURE = 0.7
"""Sampling temperature of a model whose training has not ended, unless the user sets one; and the
lowest that is chosen if the time is too short to compare temperatures."""

Tensors = dict[str, NDArray[Any]]
"""Arrays of any dtype by name."""


@dataclass(frozen=True)
class TrainedModel:
    """A trained model, with everything that sampling and scoring need."""

    parameters: Parameters
    vocabulary: Vocabulary
    config: Mapping[str, Any]
    """Every setting of the run, in sections as in config.yaml."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Step, epoch, score, text (`corpus`), whether the text has `paragraphs`, and the `temperature`
    chosen at the end of training."""

    @property
    def architecture(self) -> Architecture:
        """The sizes of the network."""
        return self.parameters.architecture

    @property
    def start(self) -> Integers:
        """The ids that the model reads before a text without a prompt, int64 [n], n >= 1.

        End of text, or else a blank line if its text has paragraphs, a line break, or id 0.
        """
        if self.vocabulary.end_of_text_id is not None:
            return np.array([self.vocabulary.end_of_text_id])
        breaks = "\n\n" if self.facts.get("paragraphs") is True else "\n"
        return np.maximum(self.vocabulary.look_up(breaks), 0)

    def parse_config(self, *, origin: str = "the model") -> "Config":
        """Return the config of the run that wrote the model.

        Args:
            origin: The file to name in an error.

        Raises:
            CharlmError: The config is not valid.

        """
        from charlm.config.file import parse_config  # sampling must not wait for pydantic

        return parse_config(self.config, origin=origin)

    @property
    def initial_model(self) -> str | None:
        """Name of the model whose weights the network began with; None = random weights."""
        match self.config:
            case {"training": {"initial_model": str(name)}}:
                return name
        return None

    @property
    def sampling_temperature(self) -> float:
        """The default sampling temperature, 0 or more.

        It is set in the config, or chosen at the end of training, or else UNCHOSEN_TEMPERATURE.
        """
        for section in (self.config.get("sampling"), self.facts):
            match section:
                case {"temperature": int(value) | float(value)} if 0 <= value < math.inf:
                    return float(value)
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
        tensors: All tensors of a checkpoint, including the weights; None = only the weights.
        training: The additional JSON field of a checkpoint; None = not a checkpoint.

    """
    tensors = tensors or model.parameters.tensors
    arrays = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    fields: dict[str, Any] = {"format": FORMAT, "charlm": __version__, **model.facts}
    fields |= {"vocabulary": model.vocabulary.to_fields(), "config": model.config}
    if training is not None:
        fields["training"] = training
    fields["tensors_sha256"] = tensors_sha256(arrays)
    text = json.dumps(fields, ensure_ascii=False, allow_nan=False)
    data: bytes = safetensors.numpy.save(arrays, {ENTRY: seal(text[:-1])})
    return data


def seal(start: str) -> str:
    """Complete a JSON object, which lacks its closing bracket, with the SHA-256 of its text."""
    return f'{start}, "sha256": "{hashlib.sha256(start.encode()).hexdigest()}"}}'


def write_model(path: Path, model: TrainedModel) -> None:
    """Write or replace a model file atomically; raise CharlmError if it cannot be written."""
    write_file(path, model_bytes(model))


def read_fields(path: Path) -> dict[str, Any]:
    """Return the fields in the metadata of a model file, without reading its tensors.

    `config` has every setting: a setting that the file lacks has its default. Like `vocabulary`, it
    is only checked as far as the shapes of the network depend on it. The other fields may contain
    any JSON.

    Raises:
        CharlmError: The file is damaged, or has a format that this version does not read.
        UnreadableError: The file is missing, cannot be read, or has an unknown setting.

    """
    with _open(path) as (fields, _):
        return fields


def read_model(path: Path) -> TrainedModel:
    """Read a model file, or the model in a checkpoint.

    Raises:
        CharlmError: The file is damaged or has an unknown format, or its tensors do not fit its
            config.
        UnreadableError: The file is missing, cannot be read, or has an unknown setting.

    """
    return read_tensors(path, only_model=True)[0]


def read_tensors(
    path: Path, *, only_model: bool = False
) -> tuple[TrainedModel, dict[str, Any], Tensors]:
    """Return the model in a file, the fields of its metadata, and its tensors; see `read_model`.

    Args:
        path: The file.
        only_model: Whether to return only the tensors of the model.

    """
    with _open(path) as (fields, file):
        vocabulary = vocabulary_of(fields.get("vocabulary"), origin=str(path))
        architecture = read_architecture(fields, path)
        shapes = architecture.shapes()
        _check_tensors(file, shapes, path)
        digest = hashlib.sha256()
        tensors: Tensors = {}
        for name in sorted(file.keys()):
            tensor = file.get_tensor(name)
            _add(digest, name, tensor)
            if name in shapes and not np.isfinite(tensor).all():
                raise CharlmError(
                    f"{path}: tensor {name}: contains values that are not finite; use an earlier "
                    f"model"
                )
            if name in shapes:
                tensors[name] = tensor.astype(np.float32, copy=False)
            elif not only_model:
                tensors[name] = tensor
        if digest.hexdigest() != fields.get("tensors_sha256"):
            raise CharlmError(
                f"{path}: damaged: the SHA-256 of its tensors differs from the one in its metadata"
            )
    parameters = Parameters(architecture, {name: tensors[name] for name in shapes})
    facts = {name: value for name, value in fields.items() if name in FACTS}
    return TrainedModel(parameters, vocabulary, fields["config"], facts), fields, tensors


def _check_tensors(file: Any, shapes: Mapping[str, Shape], path: Path) -> None:
    """Check the dtypes and shapes of the tensors before they are read."""
    slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
    for name, tensor in slices.items():
        dtype = tensor.get_dtype()
        if dtype not in DTYPES or (name in shapes and dtype not in WEIGHT_DTYPES):
            expected = "float32 or float16" if name in shapes else "a dtype of NumPy"
            raise CharlmError(
                f"{path}: tensor {short_repr(name)[1:-1]}: found dtype {dtype}; expected {expected}"
            )
    for name, shape in shapes.items():
        if name not in slices:
            raise CharlmError(f"{path}: tensor {name}: missing; its config says {shape}")
        actual = tuple(slices[name].get_shape())
        if actual != shape:
            raise CharlmError(f"{path}: tensor {name}: shape {actual}; its config says {shape}")


def read_architecture(fields: Mapping[str, Any], path: Path) -> Architecture:
    """Return the architecture in the metadata of a file; raise CharlmError if it is not valid."""
    try:
        architecture = Architecture.from_fields(fields)
    except ValueError as error:
        raise CharlmError(f"{path}: {error}") from None
    if architecture.activation not in ACTIVATIONS:
        raise CharlmError(
            f"{path}: activation {short_repr(architecture.activation)}; must be one of "
            f"{', '.join(ACTIVATIONS)}"
        )
    return architecture


def _add(digest: Any, name: str, tensor: NDArray[Any]) -> None:
    digest.update(name.encode())
    digest.update(np.asarray(tensor, order="C"))


@contextlib.contextmanager
def _open(path: Path) -> Iterator[tuple[dict[str, Any], Any]]:
    """Open a model file; yield the fields of its metadata, and the file opened by safetensors."""
    with open_file(path) as file:
        size = int.from_bytes(file.read(8), "little")
    if size > MAX_HEADER_BYTES:
        raise CharlmError(
            f"{path}: not a model file of charlm: its header has more than {MAX_HEADER_BYTES:,} "
            f"bytes"
        )
    try:
        with reading(path), safetensors.safe_open(path, "numpy") as opened:
            yield _fields(opened.metadata() or {}, path), opened
    except (safetensors.SafetensorError, ValueError) as error:
        reason = str(error)[:200]
        raise CharlmError(f"{path}: damaged, or not a model file of charlm: {reason}") from None


def _fields(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    if ENTRY not in metadata:
        raise CharlmError(
            f"{path}: not a model file of charlm: its metadata lacks the entry {ENTRY}"
        )
    text = metadata[ENTRY]
    if seal(text.rpartition(', "sha256"')[0]) != text:
        raise CharlmError(f"{path}: damaged: the SHA-256 of its metadata is wrong")
    fields = parse_json(text, origin=f"{path}: metadata")
    version = fields.get("format") if isinstance(fields, dict) else None
    if version != FORMAT:
        raise CharlmError(
            f"{path}: format {short_repr(version)}; charlm {__version__} reads format {FORMAT}: "
            f"use the version of charlm that wrote it"
        )
    writer = short_repr(fields.get("charlm", "?"))[1:-1]
    origin = f"{path}: written by charlm {writer}: config."
    fields["config"] = complete(fields.get("config"), SETTINGS, origin=origin)
    read_architecture(fields, path)
    return dict(fields)
