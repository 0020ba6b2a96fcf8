"""The formats of `charlm export`: what each writes, what lies beside it, and how far its logits are from charlm's.

Axes: T time, V vocabulary.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.formats import FormatName, c, onnx, programs, torch, web_page
from charlm.formats.card import LICENSE, model_card
from charlm.formats.programs import read_shipped
from charlm.network.bundle import Bundle, bundle_files
from charlm.network.rnn import Floats


@dataclass(frozen=True)
class Format:
    """A format."""

    program: str
    """What reads it, for the user."""
    export: Callable[[Bundle, str], dict[str, bytes]]
    """From a bundle and the name of the model to the files by name; raises CharlmError if they cannot be made."""
    read_logits: Callable[[Path, NDArray[Any]], Floats]
    """Returns what the program computes from a folder with the export and the bundle: ids [T] -> logits [T, V]."""
    usage: str
    """How to use it, in Markdown; a `string.Template` with `layers`, `units` and `temperature`."""
    suffix: str | None = None
    """The suffix of its file, if it has a single one."""


def export_keras(bundle: Bundle) -> dict[str, bytes]:
    """Return model.keras, a network of stock layers; every activation of charlm is one of Keras."""
    from charlm.engine import runtime

    runtime.start()
    from charlm.engine.keras_file import write_keras_file

    return {"model.keras": write_keras_file(bundle)}


FORMATS: Mapping[FormatName, Format] = {
    "html": Format(
        "a browser",
        lambda bundle, title: web_page.export_html(bundle, title=title),
        programs.run_browser,
        "Open `index.html` in a browser. It needs no server and no network.",
        ".html",
    ),
    "onnx": Format(
        "onnxruntime",
        lambda bundle, _: onnx.export_onnx(bundle),
        programs.run_onnx,
        read_shipped("onnx.md"),
        ".onnx",
    ),
    "torch": Format(
        "PyTorch", lambda bundle, _: torch.export_torch(bundle), programs.run_torch, read_shipped("torch.md")
    ),
    "keras": Format(
        "Keras", lambda bundle, _: export_keras(bundle), programs.run_keras, read_shipped("keras.md"), ".keras"
    ),
    "c": Format("C", lambda bundle, _: c.export_c(bundle), programs.run_c, read_shipped("c.md")),
}

MIN_TEMPERATURE = 0.01
"""Of the programs in the cards, which divide by it; it chooses as 0 would."""
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
    """Of a logit."""
    tolerance: float

    @property
    def has_passed(self) -> bool:
        """Whether the largest difference is within the tolerance."""
        return self.largest_difference <= self.tolerance


def check_export(files: Mapping[str, bytes], ids: NDArray[Any], *, bundle: Bundle, found: Format) -> Check:
    """Let the program that an export is made for read a text from the zero state, and compare its logits.

    Args:
        files: The files of the export.
        ids: The text, integers [T], T >= 1.
        bundle: The model.
        found: The format.

    Raises:
        CharlmError: the program is missing or fails, or its logits have another shape.

    """
    with TemporaryDirectory() as place:
        for name, data in {**bundle_files(bundle), **files}.items():
            (Path(place) / name).write_bytes(data)
        logits = found.read_logits(Path(place), ids)
    with np.errstate(over="ignore", invalid="ignore"):  # a difference that is not finite is too large
        parameters = bundle.parameters
        expected = parameters.unroll(ids[:, None], parameters.zero_state(1))[0][:, 0]
        if logits.shape != expected.shape:
            raise CharlmError(
                f"--check: {found.program} computes logits of shape {logits.shape}; must be {expected.shape}"
            )
        largest = float(np.nan_to_num(np.abs(logits - expected), nan=np.inf).max())
    return Check(found.program, len(ids), largest, TOLERANCE)


def hub_files(bundle: Bundle, found: Format, files: Mapping[str, bytes], *, title: str) -> dict[str, bytes]:
    """Return the files of an export and those beside it: the bundle, so that charlm can read the folder, card, license.

    Args:
        bundle: The model.
        found: The format.
        files: The files of the export.
        title: The name of the model, for the user.

    """
    shape, temperature = bundle.architecture, max(bundle.sampling_temperature(), MIN_TEMPERATURE)
    usage = Template(found.usage).substitute(layers=shape.layers, units=shape.units, temperature=f"{temperature:g}")
    card = model_card(bundle, title=title, program=found.program, usage=usage, names=files)
    return {
        **bundle_files(bundle),
        "README.md": card.encode(),
        LICENSE: read_shipped(LICENSE).encode(),
        **files,
    }
