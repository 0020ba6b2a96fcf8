"""The formats of `charlm export`: what each writes, and what lies beside it.

HTML and ONNX have modules of their own. `charlm.formats.programs` reads an export back.

Axes: V vocabulary, E embedding, H units. All arrays are float32.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from string import Template

import numpy as np
import safetensors.numpy

from charlm.errors import CharlmError
from charlm.formats import FormatName, onnx, programs, web_page
from charlm.formats.card import LICENSE, model_card
from charlm.formats.programs import ReadLogits, read_shipped
from charlm.network.bundle import Bundle, bundle_files
from charlm.network.rnn import Floats, Parameters

TORCH_ACTIVATIONS = ("tanh", "relu")
"""Those of `torch.nn.RNN`."""


def export_torch(bundle: Bundle) -> dict[str, bytes]:
    """Return the weights under the names of `torch.nn.RNN`, and a loader, which also reads two files of the bundle.

    Without skip connections the network is one `torch.nn.RNN` of all layers; with them it is one for each layer.
    PyTorch is not imported: safetensors writes the tensors with NumPy.

    Raises:
        CharlmError: the activation is not one of `torch.nn.RNN`.

    """
    activation = bundle.parameters.activation
    if activation not in TORCH_ACTIVATIONS:
        raise CharlmError(
            f"--format torch: torch.nn.RNN has no activation {activation}, only {' and '.join(TORCH_ACTIVATIONS)}; "
            f"the formats html, onnx, keras and c have all"
        )
    return {
        "model.safetensors": safetensors.numpy.save(to_state_dict(bundle.parameters)),
        "torch_network.py": read_shipped("torch_network.py").encode(),
    }


def to_state_dict(parameters: Parameters) -> dict[str, Floats]:
    """Return the weights as PyTorch names and lays them out.

    `rnn.weight_ih_l0` [H, inputs], `rnn.weight_hh_l0` [H, H], `rnn.bias_ih_l0` and `rnn.bias_hh_l0` [H] are those of
    layer 0, l1 those of layer 1; with skip connections `rnn.1.weight_ih_l0` are those of layer 1. The second bias,
    which PyTorch adds to the first, is zero. `embedding.weight` is [V, E], `logits.weight` [V, features],
    `logits.bias` [V].
    """
    named = {} if parameters.embedding is None else {"embedding.weight": parameters.embedding}
    for index, layer in enumerate(parameters.layers):
        name = f"rnn.{index}.{{}}_l0" if parameters.skip_connections else f"rnn.{{}}_l{index}"
        named[name.format("weight_ih")] = layer.kernel.T
        named[name.format("weight_hh")] = layer.recurrent_kernel.T
        if layer.bias is not None:
            named[name.format("bias_ih")] = layer.bias
            named[name.format("bias_hh")] = np.zeros_like(layer.bias)
    named |= {"logits.weight": parameters.logits_kernel.T, "logits.bias": parameters.logits_bias}
    return {name: np.ascontiguousarray(tensor) for name, tensor in named.items()}


C_ACTIVATIONS = {"tanh": 0, "relu": 1, "sigmoid": 2, "linear": 3}
"""The numbers of `activate` in run.c."""
C_RESERVED = 0xFFFFFFFF


def export_c(bundle: Bundle) -> dict[str, bytes]:
    """Return run.c, which writes text, and model.bin, which it reads; nothing of the bundle becomes C code.

    model.bin is little-endian. It begins with the bytes CHARLM-1 and nine int32: V, layers, H, the width of the input
    (E, or V without an embedding), whether there is an embedding, whether there are skip connections, the number of the
    activation, and the unknown id and the end-of-text id (-1 = none). Then follow the code
    point of each id, uint32 [V] (2^32 - 1 = reserved), and float32 matrices, row after row: the embedding [V, E] if
    there is one; for each layer the kernel of the layer below [H, H] (none for layer 0), the kernel of the input
    [V or E, H] if the layer reads it, the bias [H] (zeros if there is none) and the recurrent kernel [H, H]; the kernel
    [features, V] and the bias [V] of the logits.
    """
    shape, vocabulary = bundle.architecture, bundle.vocabulary
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
    code_points = [C_RESERVED if character is None else ord(character) for character in vocabulary.characters]
    matrices = (matrix.astype("<f4").tobytes() for matrix in _matrices(bundle.parameters))
    head = b"CHARLM-1" + np.array(numbers, "<i4").tobytes() + np.array(code_points, "<u4").tobytes()
    return {"run.c": read_shipped("run.c").encode(), "model.bin": head + b"".join(matrices)}


def _matrices(parameters: Parameters) -> Iterator[Floats]:
    if parameters.embedding is not None:
        yield parameters.embedding
    for layer in parameters.layers:
        yield layer.kernel  # the rows of the layer below come first
        yield np.zeros(layer.units, np.float32) if layer.bias is None else layer.bias
        yield layer.recurrent_kernel
    yield parameters.logits_kernel
    yield parameters.logits_bias


def export_keras(bundle: Bundle) -> dict[str, bytes]:
    """Return model.keras, a network of stock layers; every activation of charlm is one of Keras."""
    from charlm.engine import runtime

    runtime.start()
    from charlm.engine.keras_file import write_keras_file

    return {"model.keras": write_keras_file(bundle)}


@dataclass(frozen=True)
class Format:
    """A format."""

    reader: str
    """What reads it, for the user."""
    export: Callable[[Bundle, str], dict[str, bytes]]
    """From a bundle and the name of the model to the files by name; raises CharlmError if they cannot be made."""
    read_logits: ReadLogits
    usage: str
    """How to use it, in Markdown; a `string.Template` with `layers`, `units` and `temperature`."""
    suffix: str | None = None
    """The suffix of its file, if it has a single one."""


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
    "torch": Format("PyTorch", lambda bundle, _: export_torch(bundle), programs.run_torch, read_shipped("torch.md")),
    "keras": Format(
        "Keras", lambda bundle, _: export_keras(bundle), programs.run_keras, read_shipped("keras.md"), ".keras"
    ),
    "c": Format("C", lambda bundle, _: export_c(bundle), programs.run_c, read_shipped("c.md")),
}

MIN_TEMPERATURE = 0.01
"""Of the programs in the cards, which divide by it; it chooses as 0 would."""


def hub_files(bundle: Bundle, found: Format, files: Mapping[str, bytes], *, title: str) -> dict[str, bytes]:
    """Return the files of an export and those beside it: the bundle, so that charlm can read the folder, card, license.

    Args:
        bundle: The model.
        found: The format.
        files: The files of the export.
        title: The name of the model, for the user.

    """
    shape, temperature = bundle.architecture, max(bundle.sampling_temperature(), MIN_TEMPERATURE)
    usage = Template(found.usage).substitute(
        layers=shape.layers,
        units=shape.units,
        temperature=f"{temperature:g}",
    )
    card = model_card(bundle, title=title, program=found.reader, usage=usage, names=files)
    return {
        **bundle_files(bundle),
        "README.md": card.encode(),
        LICENSE: read_shipped(LICENSE).encode(),
        **files,
    }
