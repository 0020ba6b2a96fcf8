"""PyTorch: the weights under the names of `torch.nn.RNN`, written beside a loader of about 40 lines, and read.

Without skip connections the network is one `torch.nn.RNN` of all layers; with them it is one for each layer. PyTorch is
not imported: safetensors writes and reads the tensors with NumPy.

In a state dict that is read, the recurrent layers are found by their names (`weight_ih_l0`, ...), one module of all
layers or one for each; the output layer and the embedding have the names that `to_state_dict` gives them.

Axes: V vocabulary, E embedding, H units. All arrays are float32; the weights of PyTorch are [outputs, inputs].
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from charlm.errors import CharlmError, shorten
from charlm.formats.programs import read_shipped, run_python
from charlm.network.bundle import MAX_LAYERS, Bundle
from charlm.network.rnn import Floats, Layer, Parameters
from charlm.storage.files import read_file

WEIGHTS, LOADER = "model.safetensors", "torch_network.py"
ACTIVATIONS = ("tanh", "relu")
"""Those of `torch.nn.RNN`."""


def export_torch(bundle: Bundle) -> dict[str, bytes]:
    """Return the files of a network for PyTorch; the loader also reads model.json and vocabulary.json of the bundle.

    Raises:
        CharlmError: the activation is not one of `torch.nn.RNN`.

    """
    activation = bundle.parameters.activation
    if activation not in ACTIVATIONS:
        raise CharlmError(
            f"--format torch: torch.nn.RNN has no activation {activation}, only {' and '.join(ACTIVATIONS)}; "
            f"the formats html, onnx, keras and c have all"
        )
    return {
        WEIGHTS: safetensors.numpy.save(to_state_dict(bundle.parameters)),
        LOADER: read_shipped(LOADER).encode(),
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


def read_logits(folder: Path, ids: NDArray[Any]) -> Floats:
    """Return the logits that PyTorch computes after each of the ids, integers [T]: float32 [T, V]."""
    return run_python(_PROGRAM, folder, ids, needs=["torch", "safetensors"])


_PROGRAM = """
sys.path.insert(0, folder)
import torch
from torch_network import load
with torch.inference_mode():
    logits = load(folder)[0](torch.from_numpy(ids)[:, None])[0][:, 0]
"""


MAX_BYTES = 1 << 31
_RECURRENT = re.compile(r"(?P<module>.*?)(?P<kind>weight_ih|weight_hh|bias_ih|bias_hh)_l(?P<layer>\d{1,3})")
OUTER = {"embedding.weight": 2, "logits.weight": 2, "logits.bias": 1}
"""The tensors beside the recurrent layers, and how many axes each has."""

Tensors = dict[str, Floats]


def read_state_dict(path: Path, *, activation: str) -> Parameters:
    """Return the network in a safetensors file; that its sizes fit each other is left to `read_network`.

    Args:
        path: The file, at most 2 GiB.
        activation: tanh or relu.

    Raises:
        CharlmError: the file cannot be read or is damaged, or a tensor is not that of a stack of `torch.nn.RNN` with an
            output layer; the message names the tensor.

    """
    tensors = _read_tensors(path)
    recurrent, rest = _split(tensors, path)
    layers = tuple(_layer(weights, name, path) for name, weights in recurrent.items())
    width, units = layers[0].kernel.shape[0], layers[0].units
    is_skipping = len(layers) > 1 and len(layers[1].kernel) == units + width
    embedding, kernel, bias = _outer_layers(rest, path)
    return Parameters(embedding, layers, kernel, bias, activation, skip_connections=is_skipping)


def _read_tensors(path: Path) -> Tensors:
    try:
        found: Mapping[str, NDArray[Any]] = safetensors.numpy.load(read_file(path, limit=MAX_BYTES))
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
        raise CharlmError(f"{path}: not safetensors of float32: {shorten(str(error))[1:-1]}") from None
    for name, tensor in found.items():
        if not np.issubdtype(tensor.dtype, np.floating):
            raise CharlmError(f"{path}: tensor {name[:100]}: found {tensor.dtype}; must be floating-point numbers")
    return {name: tensor.astype(np.float32) for name, tensor in found.items()}


def _split(tensors: Tensors, path: Path) -> tuple[dict[str, Tensors], Tensors]:
    """Return the tensors of each recurrent layer by kind, lowest layer first, and all others."""
    layers: dict[tuple[str, int], Tensors] = {}
    rest: Tensors = {}
    for name, tensor in tensors.items():
        match = _RECURRENT.fullmatch(name)
        if match is not None:
            layers.setdefault((match["module"], int(match["layer"])), {})[match["kind"]] = tensor
        elif re.search(r"_l\d+(_reverse)?$", name):
            raise CharlmError(f"{path}: tensor {name[:100]}: not one of a torch.nn.RNN that reads forwards")
        else:
            rest[name] = tensor
    if not 1 <= len(layers) <= MAX_LAYERS:
        raise CharlmError(f"{path}: {len(layers)} layers of a torch.nn.RNN (weight_ih_l0); must be 1 to {MAX_LAYERS}")
    ordered = sorted(layers, key=lambda key: (_natural(key[0]), key[1]))
    return {f"{module}{{}}_l{layer}": layers[module, layer] for module, layer in ordered}, rest


def _natural(name: str) -> list[str | int]:
    """Return a key by which rnn.10 comes after rnn.9."""
    return [int(part) if index % 2 else part for index, part in enumerate(re.split(r"(\d{1,9})", name))]


def _layer(weights: Tensors, name: str, path: Path) -> Layer:
    """Return a layer from its tensors by kind; `name` is a pattern of their names."""
    for kind in ("weight_ih", "weight_hh"):
        if weights.get(kind, np.zeros(0)).ndim != 2:
            raise CharlmError(f"{path}: tensor {name.format(kind)[:100]}: must be there, with two axes")
    units, columns = weights["weight_hh"].shape
    if units != columns:
        raise CharlmError(
            f"{path}: tensor {name.format('weight_hh')[:100]}: found shape {(units, columns)}; must be square: "
            "an LSTM or a GRU cannot be imported"
        )
    for kind, expected in (("weight_ih", weights["weight_ih"].shape[1:]), ("bias_ih", ()), ("bias_hh", ())):
        if kind in weights and weights[kind].shape != (units, *expected):
            found = weights[kind].shape
            raise CharlmError(f"{path}: tensor {name.format(kind)[:100]}: found shape {found}; must begin with {units}")
    biases = [weights[kind] for kind in ("bias_ih", "bias_hh") if kind in weights]
    return Layer(
        kernel=np.ascontiguousarray(weights["weight_ih"].T),
        recurrent_kernel=np.ascontiguousarray(weights["weight_hh"].T),
        bias=sum(biases[1:], biases[0]) if biases else None,
    )


def _outer_layers(rest: Tensors, path: Path) -> tuple[Floats | None, Floats, Floats]:
    """Return the embedding [V, E] or None, the kernel [features, V] and the bias [V] of the logits."""
    for name, tensor in rest.items():
        if tensor.ndim != OUTER.get(name):
            raise CharlmError(
                f"{path}: tensor {name[:100]}: found shape {tensor.shape}; beside those of a torch.nn.RNN there may be "
                f"embedding.weight, with two axes, logits.weight, with two, and logits.bias, with one"
            )
    if "logits.weight" not in rest:
        raise CharlmError(f"{path}: tensor logits.weight: is missing; it is the weight of the output layer")
    logits = np.ascontiguousarray(rest["logits.weight"].T)
    bias = rest.get("logits.bias", np.zeros(logits.shape[1], np.float32))
    return rest.get("embedding.weight"), logits, bias
