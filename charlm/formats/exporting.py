"""What an export is: the formats, the files beside them, and the check in the program that an export is made for.

The model card says what the bundle and its run say. They may come from strangers, so nothing in them may become
Markdown or HTML: texts are in code blocks with fences longer than any row of backticks in them, names are escaped.

Axes: T time, V vocabulary.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from charlm import __version__
from charlm.errors import CharlmError, harmless
from charlm.formats import c, html, keras, onnx, torch
from charlm.formats.programs import read_shipped
from charlm.network.architecture import CONFIG_FILE
from charlm.network.bundle import Bundle, bundle_files
from charlm.network.rnn import Floats, Parameters, bits

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
    """How to use it, in Markdown; a `string.Template` with `layers` and `units`."""
    suffix: str | None = None
    """The suffix of its file, if it has a single one."""


def find_format(name: FormatName, *, title: str) -> Format:
    """Return a format by its name; `title` is the name of the model, for people."""
    formats: Mapping[FormatName, Format] = {
        "html": Format("a browser", partial(html.export_html, title=title), html.read_logits, html.USAGE, ".html"),
        "onnx": Format("onnxruntime", onnx.export_onnx, onnx.read_logits, read_shipped("onnx.md"), ".onnx"),
        "torch": Format("PyTorch", torch.export_torch, torch.read_logits, read_shipped("torch.md")),
        "keras": Format("Keras", keras.export_keras, keras.read_logits, read_shipped("keras.md"), ".keras"),
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
    """Of a logit."""
    tolerance: float

    @property
    def has_passed(self) -> bool:
        """Whether the largest difference is within the tolerance."""
        return self.largest_difference <= self.tolerance


def check_export(files: Mapping[str, bytes], ids: NDArray[Any], *, parameters: Parameters, found: Format) -> Check:
    """Let the program that an export is made for read a text from the zero state, and compare its logits.

    Args:
        files: The files of the export and of the bundle.
        ids: The text, integers [T], T >= 1.
        parameters: The weights of the bundle.
        found: The format.

    Raises:
        CharlmError: the program is missing or fails, or its logits have another shape.

    """
    with TemporaryDirectory() as place:
        for name, data in files.items():
            (Path(place) / name).write_bytes(data)
        logits = found.read_logits(Path(place), ids)
    with np.errstate(over="ignore", invalid="ignore"):  # a difference that is not finite is too large
        expected = parameters.unroll(ids[:, None], parameters.zero_state(1))[0][:, 0]
        if logits.shape != expected.shape:
            raise CharlmError(
                f"--check: {found.program} computes logits of shape {logits.shape}; must be {expected.shape}"
            )
        largest = float(np.nan_to_num(np.abs(logits - expected), nan=np.inf).max())
    return Check(found.program, len(ids), largest, TOLERANCE)


CARD, LICENSE = "README.md", "LICENSE"


def hub_files(bundle: Bundle, found: Format, *, title: str, names: Iterable[str]) -> dict[str, bytes]:
    """Return the files beside an export: the bundle, so that charlm can read the folder too, the card, the license.

    Args:
        bundle: The model.
        found: The format.
        title: The name of the model, for people.
        names: The names of the files of the export.

    """
    card = model_card(bundle, found, title=title, names=names).encode()
    return {**bundle_files(bundle), CARD: card, LICENSE: read_shipped(LICENSE).encode()}


def model_card(bundle: Bundle, found: Format, *, title: str, names: Iterable[str]) -> str:
    """Return the README.md of a model, with the metadata that hubs read at its head; the arguments of `hub_files`."""
    shape, nats = bundle.architecture, html.known_score(bundle.facts)
    parts = [
        _HEAD,
        f"# {escape_markdown(title)}",
        f"A character-level language model, exported by charlm {__version__} for {found.program}. "
        + html.summarize(bundle),
        "## Use",
        Template(found.usage).substitute(layers=shape.layers, units=shape.units),
        f"The export is {' and '.join(f'`{name}`' for name in names)}. The other files are a bundle of charlm, the "
        "weights in `weights.safetensors`: `charlm sample .` writes text from this folder, `charlm.load` loads it in "
        "Python.",
        "## Score",
        "Not known: the bundle has none of a validation text."
        if nats is None
        else f"{nats:.4f} nats per character ({bits(nats):.4f} bits) on the validation text.",
        "## How it was trained",
        f"```sh\ncharlm train TEXT -c {CONFIG_FILE}\n```",
        f"The settings, {CONFIG_FILE}:",
        fenced(bundle.config, "yaml"),
        "## License",
        f"The code in this folder is under the MIT license in `{LICENSE}`. The text that the model was trained on may "
        "have terms of its own; if it has, change the license at the head of this page.",
    ]
    return "\n\n".join(parts) + "\n"


_HEAD = "---\nlicense: mit\nlibrary_name: charlm\npipeline_tag: text-generation\ntags:\n- rnn\n- character-level\n---"


def escape_markdown(text: str) -> str:
    """Return a text for one line of Markdown: control characters as escapes, its markup as plain characters."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|&~$-])", r"\\\1", harmless(text))


def fenced(text: str, language: str) -> str:
    """Return a code block whose fence is longer than every row of backticks in the text."""
    longest = max((len(row) for row in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{harmless(text, keep=chr(10)).rstrip(chr(10))}\n{fence}"
