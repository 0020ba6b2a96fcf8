"""Which formats there are, and whether the program of a format computes what charlm computes from the bundle.

Axes: T time, V vocabulary.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.formats import c, html, keras, onnx, torch
from charlm.network.bundle import Bundle
from charlm.network.rnn import Floats, Parameters

FormatName = Literal["html", "onnx", "torch", "keras", "c"]


@dataclass(frozen=True)
class Format:
    """A format."""

    program: str
    """The program that reads it, for the user."""
    export: Callable[[Bundle], dict[str, bytes]]
    """Returns the files by name; raises CharlmError for a network that the format cannot hold."""
    read_logits: Callable[[Path, NDArray[Any]], Floats]
    """Returns what the program computes from a folder with the export and of the bundle: ids [T] -> logits [T, V]."""
    usage: str
    """How to use it, in Markdown; a pattern for `str.format` with `layers` and `units`."""
    suffix: str | None = None
    """The suffix of its file, if it has a single one."""


def find_format(name: FormatName, *, title: str, precision: html.Precision) -> Format:
    """Return a format by its name.

    Args:
        name: The name of the format.
        title: The name of the model, for people.
        precision: How html stores the weights; the others always have float32.

    """

    def export_html(bundle: Bundle) -> dict[str, bytes]:
        """Return the page of a model."""
        return html.export_html(bundle, title=title, precision=precision)

    formats: Mapping[FormatName, Format] = {
        "html": Format("a browser", export_html, html.read_logits, html.USAGE, ".html"),
        "onnx": Format("onnxruntime", onnx.export_onnx, onnx.read_logits, onnx.USAGE, ".onnx"),
        "torch": Format("PyTorch", torch.export_torch, torch.read_logits, torch.USAGE),
        "keras": Format("Keras", keras.export_keras, keras.read_logits, keras.USAGE, ".keras"),
        "c": Format("C", c.export_c, c.read_logits, c.USAGE),
    }
    return formats[name]


TOLERANCE = 1e-4
"""The largest difference of a logit. Sums of float32 are taken in another order: 1e-5 is usual over 10,000 steps."""


@dataclass(frozen=True)
class Check:
    """How far the logits of an export are from those of charlm."""

    program: str
    """What has read the export."""
    characters: int
    """T, the length of the text."""
    largest_difference: float
    """Of a logit, given the weights as they are stored."""
    tolerance: float
    rounding_difference: float
    """What storing the weights has changed in a logit at most: 0 for float32."""

    @property
    def has_passed(self) -> bool:
        """Whether the largest difference is within the tolerance."""
        return self.largest_difference <= self.tolerance


def check_export(
    files: Mapping[str, bytes],
    ids: NDArray[Any],
    *,
    parameters: Parameters,
    stored: Parameters,
    program: str,
    read_logits: Callable[[Path, NDArray[Any]], Floats],
) -> Check:
    """Let the program that an export is made for read a text from the zero state, and compare its logits.

    Args:
        files: The files of the export and of the bundle.
        ids: The text, integers [T], T >= 1.
        parameters: The weights of the bundle.
        stored: The weights as the export stores them.
        program: The name of the program.
        read_logits: Runs the program on a folder: ids [T] -> logits [T, V].

    Raises:
        CharlmError: the program is missing or fails, or its logits have another shape.

    """
    with TemporaryDirectory() as place:
        for name, data in files.items():
            (Path(place) / name).write_bytes(data)
        found = read_logits(Path(place), ids)
    with np.errstate(over="ignore", invalid="ignore"):  # a difference that is not finite is too large
        return _compare(found, ids, parameters=parameters, stored=stored, program=program)


def _compare(found: Floats, ids: NDArray[Any], *, parameters: Parameters, stored: Parameters, program: str) -> Check:
    expected = _logits(stored, ids)
    if found.shape != expected.shape:
        raise CharlmError(f"--check: {program} computes logits of shape {found.shape}; must be {expected.shape}")
    rounding = 0.0 if stored is parameters else _largest(expected - _logits(parameters, ids))
    return Check(program, len(ids), _largest(found - expected), TOLERANCE, rounding)


def _logits(parameters: Parameters, ids: NDArray[Any]) -> Floats:
    return parameters.unroll(ids[:, None], parameters.zero_state(1))[0][:, 0]


def _largest(differences: Floats) -> float:
    return float(np.nan_to_num(np.abs(differences), nan=np.inf).max())
