"""Export a model for other programs.

ONNX is in `charlm.exports.onnx`.

Axes: T time, V vocabulary, E embedding, H units. All arrays are float32.
"""

import base64
import html
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template
from typing import Any, get_args
from zlib import adler32

import numpy as np

from charlm.api.model import Model, load
from charlm.api.viewer import VIEWER_SCRIPT, VIEWER_STYLE, content_policy, script_json
from charlm.checks import check_name, check_path
from charlm.config.file import dump_yaml
from charlm.core.model_file import TrainedModel, model_bytes
from charlm.core.rnn import Floats, Parameters
from charlm.core.scoring import Score, bits
from charlm.errors import CharlmError
from charlm.events import OnEvent, ignore
from charlm.exports import FormatName, onnx
from charlm.runs.folder import model_name
from charlm.storage import check_free, new_folder, write_file
from charlm.version import __version__
from charlm.wording import counted, escape_controls

FILES = Path(__file__).parent / "files"
LICENSE = "LICENSE"
MODEL_FILE = "model.safetensors"
"""Name of the model file in an export, so that charlm can read the folder too."""


def read_shipped(name: str) -> str:
    """Return the text of a file in files/."""
    return (FILES / name).read_text(encoding="utf-8")


def export_html(model: TrainedModel, *, title: str) -> dict[str, bytes]:
    """Return index.html, a self-contained page with a title.

    The content policy allows only the page's own scripts and style. The weights are float32 in
    base64, in the declared order; model.js computes, page.js is the interface.
    """
    style = VIEWER_STYLE + read_shipped("page.css")
    own = [read_shipped(f"{name}.js") for name in ("model", "state", "page", "start")]
    scripts = [VIEWER_SCRIPT, *own]
    tensors = model.parameters.tensors
    weights = b"".join(tensor.astype("<f4").tobytes() for tensor in tensors.values())
    spec = script_json(_spec(model, title))
    page = Template(read_shipped("page.html")).substitute(
        policy=content_policy(style, *scripts),
        title=html.escape(title),
        style=style,
        data=f"{_data('network', spec)}\n{_data('weights', base64.b64encode(weights).decode())}",
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
    )
    return {"index.html": page.encode()}


def _data(name: str, text: str) -> str:
    return f'<script type="text/plain" id="{name}">{text}</script>'


def _spec(model: TrainedModel, title: str) -> dict[str, Any]:
    shape = model.architecture
    about = {
        "summary": describe_model(model),
        "temperature": model.sampling_temperature,
        "layers": shape.layers,
        "units": shape.units,
    }
    return {
        "title": title,
        "about": about,
        "architecture": asdict(shape),
        "tensors": [[name, tensor.size] for name, tensor in model.parameters.tensors.items()],
        "vocabulary": model.vocabulary.to_fields(),
        "start": model.start.tolist(),
    }


TORCH_ACTIVATIONS = ("tanh", "relu")
"""Activations of `torch.nn.RNN`."""


def export_torch(model: TrainedModel) -> dict[str, bytes]:
    """Return a PyTorch module that builds the network from the model file in the same folder.

    The network is a `torch.nn.RNN`; with skip connections, it is one `torch.nn.RNN` per layer.
    PyTorch is not imported.

    Raises:
        CharlmError: `torch.nn.RNN` does not have the activation.

    """
    activation = model.parameters.activation
    if activation not in TORCH_ACTIVATIONS:
        raise CharlmError(
            f"format torch: torch.nn.RNN has no activation {activation}, only "
            f"{' and '.join(TORCH_ACTIVATIONS)}; html, onnx, keras and c have all activations"
        )
    return {"torch_network.py": read_shipped("torch_network.py").encode()}


C_RESERVED = 0xFFFFFFFF
"""Code point of reserved ids in model.bin."""
C_FILES = ("charlm.h", "charlm.c", "main.c")
"""Files of the library and the example program."""


def export_c(model: TrainedModel) -> dict[str, bytes]:
    """Return the C library, an example program, and model.bin, which the library loads.

    model.bin is little-endian. It starts with the bytes CHARLM-3 and ten int32: V, layers, H, the
    width of the input (E, or V without an embedding), 1 or 0 for an embedding, 1 or 0 for skip
    connections, the first letter of the activation, the unknown id (-1 = none), the id that a text
    without a prompt begins with, and how often. Then follow the code points of the ids, uint32 [V],
    and float32 matrices by rows: the embedding [V, E], if present; for each layer the bias [H]
    (zeros without a bias), the kernel of the layer below [H, H] (except for layer 0), the kernel of
    the characters [V or E, H] if the layer reads them, and the recurrent kernel [H, H]; then bias
    [V] and kernel [features, V] of the logits. The last uint32 is the Adler-32 checksum of all
    bytes before it, as in zlib.
    """
    shape = model.architecture
    vocabulary = model.vocabulary
    numbers = [
        shape.vocabulary_size,
        shape.layers,
        shape.units,
        shape.embedding or shape.vocabulary_size,
        shape.embedding is not None,
        shape.skip_connections,
        ord(shape.activation[0]),
        -1 if vocabulary.unknown_id is None else vocabulary.unknown_id,
        model.start[0],
        len(model.start),
    ]
    code_points = [
        C_RESERVED if character is None else ord(character) for character in vocabulary.characters
    ]
    matrices = (matrix.astype("<f4").tobytes() for matrix in _matrices(model.parameters))
    head = b"CHARLM-3" + np.array(numbers, "<i4").tobytes() + np.array(code_points, "<u4").tobytes()
    sources = {name: read_shipped(name).encode() for name in C_FILES}
    data = head + b"".join(matrices)
    return {**sources, "model.bin": data + adler32(data).to_bytes(4, "little")}


def _matrices(parameters: Parameters) -> Iterator[Floats]:
    if "embedding" in parameters.tensors:
        yield parameters.tensors["embedding"]
    for layer in parameters.layers:
        yield layer.bias
        yield layer.kernel  # the rows of the layer below come first
        yield layer.recurrent_kernel
    yield parameters.logits_bias
    yield parameters.logits_kernel


def export_keras(model: TrainedModel) -> dict[str, bytes]:
    """Return model.keras, a network of standard Keras layers."""
    from charlm.engines import factory

    factory.start()
    from charlm.engines.model import write_keras_file

    return {"model.keras": write_keras_file(model)}


SUFFIXES: Mapping[str, str] = {"html": ".html", "onnx": ".onnx", "keras": ".keras"}
"""Suffix of the file of each format that has a single file."""
HTML_USAGE = "Open `index.html` in a browser. It needs neither a server nor an internet connection."
"""Instructions for the page; those for the other formats are in files/."""


def export_files(model: TrainedModel, format: FormatName, *, title: str) -> dict[str, bytes]:
    """Return the contents of the files of a format by file name."""
    match format:
        case "html":
            return export_html(model, title=title)
        case "onnx":
            return onnx.export_onnx(model)
        case "torch":
            return export_torch(model)
        case "keras":
            return export_keras(model)
        case "c":
            return export_c(model)


MIN_TEMPERATURE = 0.01
"""Minimum temperature in example programs, which cannot divide by 0; it has the effect of 0."""


def folder_files(
    model: TrainedModel, format: FormatName, files: Mapping[str, bytes], *, title: str
) -> dict[str, bytes]:
    """Return the files of an export with the model file, a README.md and the license.

    Args:
        model: The model.
        format: Format of the export.
        files: Files of the export.
        title: Name of the model, for the user.

    """
    temperature = max(model.sampling_temperature, MIN_TEMPERATURE)
    facts = asdict(model.architecture)
    template = HTML_USAGE if format == "html" else read_shipped(f"{format}.md")
    usage = Template(template).substitute(
        facts, temperature=f"{temperature:g}", start=[model.start.tolist()]
    )
    return {
        **files,
        MODEL_FILE: model_bytes(model),
        "README.md": readme(model, title=title, usage=usage).encode(),
        LICENSE: read_shipped(LICENSE).encode(),
    }


@dataclass(frozen=True)
class Export:
    """Result of `export`."""

    path: Path
    """Path of the folder, or of the single file."""
    files: Mapping[str, int]
    """Size in bytes of each file."""


def export(
    model: Model | str | Path | None,
    out: str | Path,
    *,
    format: FormatName,
    on_event: OnEvent = ignore,
) -> Export:
    """Export a model for another program. Nothing is written if an error occurs.

    Args:
        model: A model, or an argument of `charlm.load`.
        out: A new or empty folder for the export, a README.md, a license and the model file; or a
            single file with the suffix of the format, which is replaced.
        format: html, onnx, torch, keras or c.
        on_event: See `charlm.load`.

    Raises:
        CharlmError: There is no such model, the format does not support the network, a package is
            missing, or `out` cannot be written.

    """
    check_name("format", format, get_args(FormatName))
    path = Path(check_path("out", out))
    model = load(model, on_event=on_event)
    is_file = _is_single_file(path, format)
    title = escape_controls(model_name(model.path.resolve())) or "charlm"
    files = export_files(model.trained, format, title=title)
    if is_file:
        (data,) = files.values()
        files = {path.name: data}
        write_file(path, data)
    else:
        files = folder_files(model.trained, format, files, title=title)
        with new_folder(path) as folder:
            for name, data in files.items():
                write_file(folder / name, data)
    return Export(path, {name: len(data) for name, data in files.items()})


def _is_single_file(path: Path, name: FormatName) -> bool:
    """Return whether a path is the single file of a format; raises CharlmError for a wrong path."""
    suffix = SUFFIXES.get(name)
    if suffix and path.suffix == suffix:
        return True
    if path.suffix in SUFFIXES.values():
        file = f", or a file whose name ends in {suffix}" if suffix else ""
        raise CharlmError(f"{path}: the format {name} needs a folder{file}")
    check_free(path)
    return False


def describe_model(model: TrainedModel) -> str:
    """Return a description of a model in one sentence."""
    shape = model.architecture
    parts = [
        f"A SimpleRNN of {counted(shape.layers, 'layer')} of {shape.units} units",
        f"{shape.size:,} weights",
        f"{len(model.vocabulary):,} characters",
    ]
    description = ", ".join(parts)
    score = Score.from_fields(model.facts.get("score"))
    if score is None or score.split != "validation":
        return f"{description}."
    nats = score.nats_per_char
    loss = f"{nats:.2f} nats ({bits(nats):.2f} bits) per character"
    return f"{description}; {loss} on {score.characters:,} validation characters."


def readme(model: TrainedModel, *, title: str, usage: str) -> str:
    """Return the README.md of an export.

    A model file is untrusted, so nothing in it may become Markdown or HTML: its texts and its name
    are in an indented code block.

    Args:
        model: The model.
        title: Name of the model, for the user.
        usage: Instructions in Markdown.

    """
    settings = escape_controls(f"# {title}\n{dump_yaml(model.config)}", keep="\n")
    return f"""# A character-level language model

{describe_model(model)} Exported by charlm {__version__}.

## Use

{usage}
`charlm sample {MODEL_FILE}` also generates text, and `charlm.load` loads the model in Python.

## Settings

{textwrap.indent(settings, "    ")}

## License

The code in this folder is under the MIT license, see `{LICENSE}`. The training text may have other
terms: if you publish the model, state its license here.
"""
