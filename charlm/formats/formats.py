"""Which formats there are: how each is written, read by the program it is made for, and described."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from charlm.formats import c, html, keras, onnx, torch
from charlm.network.bundle import Bundle
from charlm.network.rnn import Floats

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
