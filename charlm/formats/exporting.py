"""Models for other programs: the formats, and the files that `charlm export` writes.

ONNX has a module of its own. `charlm.formats.programs` reads an export back.

Axes: T time, V vocabulary, E embedding, H units. All arrays are float32.
"""

import base64
import html
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from charlm.api.model import Model, load
from charlm.checks import check_flag, check_name, check_not_read, check_path
from charlm.errors import CharlmError
from charlm.events import OnEvent, ignore
from charlm.formats import FormatName, onnx, programs
from charlm.formats.card import LICENSE, MODEL_FILE, model_card, summarize
from charlm.formats.programs import Check, ReadLogits, check_export, read_shipped
from charlm.network.model_file import TrainedModel, model_bytes
from charlm.network.rnn import Floats, Parameters
from charlm.runs.folder import model_name
from charlm.runs.run import files_of, run_corpus
from charlm.sampling.generation import choose_ids, encode_prompt, read_prompt
from charlm.sampling.sampler import Sampler
from charlm.storage import write_file, writing
from charlm.text.corpus import Corpus
from charlm.text.markup import content_policy, script_json
from charlm.wording import escape_controls


def export_html(model: TrainedModel, *, title: str) -> dict[str, bytes]:
    """Return index.html, the page of a model with a title.

    It loads nothing; its content policy allows only its own scripts and style. The weights are float32 in base64, in
    the declared order; model.js computes, page.js is the interface.
    """
    style, *scripts = map(read_shipped, ("page.css", "model.js", "state.js", "page.js", "start.js"))
    weights = b"".join(
        tensor.astype("<f4").tobytes() for tensor in model.parameters.tensors.values()
    )
    data = {
        "network": script_json(_spec(model, title)),
        "weights": base64.b64encode(weights).decode(),
    }
    page = Template(read_shipped("page.html")).substitute(
        policy=content_policy(style, *scripts),
        title=html.escape(title),
        style=style,
        data="\n".join(
            f'<script type="text/plain" id="{name}">{text}</script>' for name, text in data.items()
        ),
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
    )
    return {"index.html": page.encode()}


def _spec(model: TrainedModel, title: str) -> dict[str, Any]:
    shape = model.architecture
    about = {"summary": summarize(model), "temperature": model.sampling_temperature}
    return {
        "title": title,
        "about": {**about, "layers": shape.layers, "units": shape.units},
        "architecture": asdict(shape),
        "tensors": [[name, tensor.size] for name, tensor in model.parameters.tensors.items()],
        "vocabulary": model.vocabulary.to_fields(),
    }


TORCH_ACTIVATIONS = ("tanh", "relu")
"""Those of `torch.nn.RNN`."""


def export_torch(model: TrainedModel) -> dict[str, bytes]:
    """Return a module for PyTorch that builds the network from the model file beside it.

    Without skip connections the network is one `torch.nn.RNN` of all layers; with them it is one for each layer.
    PyTorch is not imported.

    Raises:
        CharlmError: the activation is not one of `torch.nn.RNN`.

    """
    activation = model.parameters.activation
    if activation not in TORCH_ACTIVATIONS:
        raise CharlmError(
            f"format torch: torch.nn.RNN has no activation {activation}, only {' and '.join(TORCH_ACTIVATIONS)}; "
            f"the formats html, onnx, keras and c have all"
        )
    return {"torch_network.py": read_shipped("torch_network.py").encode()}


C_ACTIVATIONS = {"tanh": 0, "relu": 1, "sigmoid": 2, "linear": 3}
"""The numbers of `activate` in charlm.c."""
C_RESERVED = 0xFFFFFFFF
C_FILES = ("charlm.h", *programs.C_SOURCES)
"""The library and the example program."""


def export_c(model: TrainedModel) -> dict[str, bytes]:
    """Return a library in C, an example program, and model.bin, which the library loads.

    The library is charlm.h and charlm.c, the program main.c. Nothing of the model becomes C code.

    model.bin is little-endian. It begins with the bytes CHARLM-1 and nine int32: V, layers, H, the width of the input
    (E, or V without an embedding), whether there is an embedding, whether there are skip connections, the number of the
    activation, and the unknown id and the end-of-text id (-1 = none). Then follow the code
    point of each id, uint32 [V] (2^32 - 1 = reserved), and float32 matrices, row after row: the embedding [V, E] if
    there is one; for each layer the kernel of the layer below [H, H] (none for layer 0), the kernel of the input
    [V or E, H] if the layer reads it, the bias [H] (zeros if there is none) and the recurrent kernel [H, H]; the kernel
    [features, V] and the bias [V] of the logits.
    """
    shape, vocabulary = model.architecture, model.vocabulary
    numbers = [
        shape.vocabulary_size,
        shape.layers,
        shape.units,
        shape.embedding or shape.vocabulary_size,
        shape.embedding is not None,
        shape.skip_connections,
        C_ACTIVATIONS[shape.activation],
        -1 if vocabulary.unknown_id is None else vocabulary.unknown_id,
        -1 if vocabulary.end_of_text_id is None else vocabulary.end_of_text_id,
    ]
    code_points = [
        C_RESERVED if character is None else ord(character) for character in vocabulary.characters
    ]
    matrices = (matrix.astype("<f4").tobytes() for matrix in _matrices(model.parameters))
    head = b"CHARLM-1" + np.array(numbers, "<i4").tobytes() + np.array(code_points, "<u4").tobytes()
    sources = {name: read_shipped(name).encode() for name in C_FILES}
    return {**sources, "model.bin": head + b"".join(matrices)}


def _matrices(parameters: Parameters) -> Iterator[Floats]:
    if "embedding" in parameters.tensors:
        yield parameters.tensors["embedding"]
    for layer in parameters.layers:
        yield layer.kernel  # the rows of the layer below come first
        yield layer.bias
        yield layer.recurrent_kernel
    yield parameters.logits_kernel
    yield parameters.logits_bias


def export_keras(model: TrainedModel) -> dict[str, bytes]:
    """Return model.keras, a network of stock layers; every activation of charlm is one of Keras."""
    from charlm.engine import runtime

    runtime.start()
    from charlm.engine.model import write_keras_file

    return {"model.keras": write_keras_file(model)}


@dataclass(frozen=True)
class Format:
    """A format."""

    reader: str
    """What reads it, for the user."""
    export: Callable[[TrainedModel, str], dict[str, bytes]]
    """From a model and the name of the model to the files by name; raises CharlmError if they cannot be made."""
    read_logits: ReadLogits
    usage: str
    """How to use it, in Markdown; a `string.Template` with `layers`, `units` and `temperature`."""
    suffix: str | None = None
    """The suffix of its file, if it has a single one."""


FORMATS: Mapping[FormatName, Format] = {
    "html": Format(
        "a browser",
        lambda model, title: export_html(model, title=title),
        programs.run_browser,
        "Open `index.html` in a browser. It needs no server and no network.",
        ".html",
    ),
    "onnx": Format(
        "onnxruntime",
        lambda model, _: onnx.export_onnx(model),
        programs.run_onnx,
        read_shipped("onnx.md"),
        ".onnx",
    ),
    "torch": Format(
        "PyTorch",
        lambda model, _: export_torch(model),
        programs.run_torch,
        read_shipped("torch.md"),
    ),
    "keras": Format(
        "Keras",
        lambda model, _: export_keras(model),
        programs.run_keras,
        read_shipped("keras.md"),
        ".keras",
    ),
    "c": Format("C", lambda model, _: export_c(model), programs.run_c, read_shipped("c.md")),
}

MIN_TEMPERATURE = 0.01
"""Of the programs in the cards, which divide by it; it chooses as 0 would."""


def hub_files(
    model: TrainedModel, found: Format, files: Mapping[str, bytes], *, title: str
) -> dict[str, bytes]:
    """Return the files of an export and those beside it: the model file, card, license.

    Args:
        model: The model.
        found: The format.
        files: The files of the export.
        title: The name of the model, for the user.

    """
    shape, temperature = model.architecture, max(model.sampling_temperature, MIN_TEMPERATURE)
    usage = Template(found.usage).substitute(asdict(shape), temperature=f"{temperature:g}")
    card = model_card(model, title=title, program=found.reader, usage=usage, names=files)
    beside = {
        MODEL_FILE: model_bytes(model),
        "README.md": card.encode(),
        LICENSE: read_shipped(LICENSE).encode(),
    }
    return beside | dict(files)


CHECKED_CHARACTERS, CHECKED_LOGITS = 10_000, 1 << 22
"""T, the length of the text that a check reads, and T V, the number of logits that it compares, at most: a browser
takes a hundred bytes for each."""


@dataclass(frozen=True)
class Export:
    """What `export` has written."""

    path: Path
    """The folder, or the single file."""
    files: Mapping[str, int]
    """The size in bytes of each file of the format, by name, without those that describe the model."""
    check: Check | None
    """None if it was not asked for."""


def export(
    model: Model | str | Path | None,
    out: str | Path,
    *,
    format: FormatName,
    check: bool = False,
    on_event: OnEvent = ignore,
) -> Export:
    """Write a model for another program.

    Args:
        model: A model, or what `charlm.load` takes.
        out: The folder to write, missing or empty: the export, a model card, a license, and the model file, so
            that charlm reads it too. Or a file with the suffix .html, .onnx or .keras of the format, which is
            replaced: then the export alone is written.
        format: html, onnx, torch, keras or c.
        check: Whether the other program must first compute the same logits as charlm over a text of 10,000
            characters, fewer if the vocabulary has more than 419: the validation text of the run, its training text if
            that is too short, or a text that the model writes if it is not in its run.
        on_event: As for `charlm.load`.

    Raises:
        CharlmError: there is no model, the format cannot hold the network, a package or a program that it needs is
            missing, the check fails, or `out` is a folder that is not empty or cannot be written. Nothing is written
            then.

    """
    check_name("format", format, get_args(FormatName))
    check_flag("check", check)
    path = Path(check_path("out", out))
    model, found = load(model, on_event=on_event), FORMATS[format]
    is_file = _is_single_file(path, format)
    check_not_read(path, read=files_of(model.path))
    title = escape_controls(model_name(model.path)) or "charlm"
    files, checked = found.export(model.trained, title), None
    if check:
        ids = text_to_check(model, run_corpus(model.path, model.trained))
        checked = check_export(
            files, ids, model=model.trained, program=found.reader, read_logits=found.read_logits
        )
    if is_file:
        ((_, data),) = files.items()
        files = {path.name: data}
        write_file(path, data)
    else:
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
        for name, data in hub_files(model.trained, found, files, title=title).items():
            write_file(path / name, data)
    return Export(path, {name: len(data) for name, data in files.items()}, checked)


def _is_single_file(path: Path, name: FormatName) -> bool:
    """Return whether a path names the file of a format; refuse that of another one, and a folder that is not free."""
    suffix = FORMATS[name].suffix
    if suffix and path.suffix == suffix:
        return True
    file = f", or a file whose name ends in {suffix}" if suffix else ""
    if path.suffix and path.suffix in {each.suffix for each in FORMATS.values()}:
        raise CharlmError(f"{path}: the format {name} must be a folder{file}")
    with writing(path):
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise CharlmError(f"{path}: exists already; name a new or an empty folder{file}")
    return False


def text_to_check(model: Model, corpus: Corpus | None) -> NDArray[Any]:
    """Return the text that a check reads, integers [T]: of the run if it has one, else written by the model."""
    length = max(1, min(CHECKED_CHARACTERS, CHECKED_LOGITS // len(model.vocabulary)))
    if corpus is not None:
        for split in ("validation", "train"):
            ids = corpus.split(split, at_most=length)
            if len(ids) >= length or (split == "train" and len(ids)):
                return np.asarray(ids, np.int64)
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # values that are not finite raise a CharlmError
        *_, state = read_prompt(model.trained.parameters, encode_prompt(model.vocabulary, ""))
        generated = choose_ids(model.trained, state, sampler=Sampler(), seed=1, length=length)
        return np.array([index for index, _ in generated])
