"""The graph in the config.json of a `.keras` file -> which layers are the network of charlm.

It must be: ids or one-hot characters, an embedding if there is one, SimpleRNN layers one above the other, a Dense
layer; with skip connections each SimpleRNN above the first reads [below, x], and the Dense layer reads all of them.
Dropout layers are passed over: they do nothing after training.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from charlm.errors import shorten
from charlm.network.bundle import MAX_LAYERS
from charlm.network.rnn import ACTIVATIONS

MAX_KERAS_LAYERS = 10 * MAX_LAYERS
_PASSED = {"Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization"}
"""Layers that change nothing after training."""
_INPUTS: Mapping[str, Mapping[str, Sequence[Any]]] = {
    **{"InputLayer": {}, "OneHot": {}, "CategoryEncoding": {"output_mode": ("one_hot",)}},
    "Embedding": {"mask_zero": (False, None)},  # it would skip id 0
}
_ALLOWED: Mapping[str, Mapping[str, Sequence[Any]]] = {
    **_INPUTS,
    **{kind: {} for kind in _PASSED},
    "SimpleRNN": {"go_backwards": (False,), "use_bias": (True, False)},
    "Concatenate": {"axis": (-1, 2)},
    "Dense": {"activation": ("linear", "softmax"), "use_bias": (True, False)},
    **{"Softmax": {}, "Activation": {"activation": ("softmax",)}},  # above the Dense layer
}
"""The layers of a network of charlm, with the settings that some of them must have."""


class UnsupportedLayerError(Exception):
    """The graph is not one that charlm has; the message names the layer."""


@dataclass(frozen=True)
class LayerRecord:
    """A layer, as far as its weights need it."""

    folder: str
    """Its name inside `layers/` of model.weights.h5."""
    use_bias: bool


@dataclass(frozen=True)
class Stack:
    """The layers of a network of charlm."""

    embedding: str | None
    """The folder of its weights; None = one-hot characters."""
    rnn: tuple[LayerRecord, ...]
    """Lowest first."""
    logits: LayerRecord
    activation: str
    skip_connections: bool


def read_stack(config: Mapping[str, Any]) -> Stack:
    """Return the layers that a config.json describes; they must be listed from the input up, as Keras writes them.

    Raises:
        UnsupportedLayerError: the model has other layers, or they are connected in another way.
        KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError: the config is not as Keras writes
            it.

    """
    if config["class_name"] not in {"Sequential", "Functional", "Model"}:
        raise UnsupportedLayerError(
            f"a model of class {shorten(config['class_name'])}; must be Sequential or Functional"
        )
    listed = config["config"]["layers"]
    if len(listed) > MAX_KERAS_LAYERS:
        raise UnsupportedLayerError(f"{len(listed)} layers; must be {MAX_KERAS_LAYERS} at most")
    layers = {layer["config"]["name"]: layer for layer in listed}
    for name, layer in layers.items():
        _check_layer(name, layer["class_name"], layer["config"])
    order, skip_connections = _connections(layers, is_sequential=config["class_name"] == "Sequential")
    source, *network = order
    activations = {_activation(layers[name]["config"]) for name in network[:-1]}
    if not (len(activations) == 1 and activations <= ACTIVATIONS.keys()):
        raise _unsupported(network[0], f"activations {', '.join(map(shorten, activations))}; must be one of charlm")
    folders = dict(zip(layers, _folders(listed), strict=True))
    records = [LayerRecord(folders[name], layers[name]["config"]["use_bias"]) for name in network]
    return Stack(
        embedding=folders[source] if layers[source]["class_name"] == "Embedding" else None,
        rnn=tuple(records[:-1]),
        logits=records[-1],
        activation=activations.pop(),
        skip_connections=skip_connections,
    )


def _check_layer(name: str, kind: str, settings: Mapping[str, Any]) -> None:
    """Refuse a layer that charlm does not have, or with settings that it does not have."""
    if kind not in _ALLOWED:
        raise _unsupported(name, f"found {kind}; charlm has SimpleRNN, Embedding and Dense layers")
    for key, allowed in _ALLOWED[kind].items():
        found = _activation(settings) if key == "activation" else settings.get(key)
        if found not in allowed:
            raise _unsupported(name, f"{key} is {shorten(found)}; must be {' or '.join(map(shorten, allowed))}")


def _connections(layers: Mapping[str, Mapping[str, Any]], *, is_sequential: bool) -> tuple[list[str], bool]:
    """Return the names of what the first SimpleRNN reads, the SimpleRNN layers and the Dense layer; and has_skips."""
    kinds = {name: layer["class_name"] for name, layer in layers.items()}
    names = list(layers)
    sources = {
        name: names[max(index - 1, 0) : index] if is_sequential else _sources(name, layer)
        for index, (name, layer) in enumerate(layers.items())
    }

    def read(name: str) -> tuple[str, ...]:
        """Return what a layer reads; Dropout and Concatenate layers in between are passed over."""
        parts: list[str] = []
        for source in sources[name]:
            parts += read(source) if kinds[source] in {*_PASSED, "Concatenate"} else [source]
        return tuple(parts)

    rnn = [name for name in names if kinds[name] == "SimpleRNN"]
    dense = [name for name in names if kinds[name] == "Dense"]
    if not rnn or len(dense) != 1:
        raise UnsupportedLayerError(f"{len(rnn)} SimpleRNN and {len(dense)} Dense layers; must be 1 or more, and 1")
    first = read(rnn[0])
    if len(first) != 1 or kinds[first[0]] not in _INPUTS or any(kinds[x] != "InputLayer" for x in read(first[0])):
        raise _unsupported(rnn[0], f"reads {shorten(first)}; must be the input of the model, or its embedding")
    found = [read(name) for name in (*rnn[1:], *dense)]
    plain, skipping = [(name,) for name in rnn], [*((name, *first) for name in rnn[:-1]), tuple(rnn)]
    for name, parts, *expected in zip((*rnn[1:], *dense), found, plain, skipping, strict=True):
        if parts not in expected:
            raise _unsupported(
                name, f"reads {shorten(parts)}; must be {shorten(expected[0])} or {shorten(expected[1])}"
            )
    if found not in (plain, skipping):
        raise _unsupported(dense[0], "with skip connections, all layers must have them")
    return [*first, *rnn, *dense], found != plain


def _unsupported(name: str, problem: str) -> UnsupportedLayerError:
    return UnsupportedLayerError(f"layer {shorten(name)}: {problem}")


def _activation(settings: Mapping[str, Any]) -> str:
    """Return the name of an activation, which Keras writes as text or as an object."""
    found = settings["activation"]
    return str(found["config"] if isinstance(found, dict) else found)


def _folders(layers: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the layers inside model.weights.h5: by class, numbered in the order of the layers."""
    used: Counter[str] = Counter()
    folders = []
    for layer in layers:
        name = _snake_case(str(layer["class_name"]))
        folders.append(f"{name}_{used[name]}" if used[name] else name)
        used[name] += 1
    return folders


def _snake_case(name: str) -> str:
    """Return the name of a class as Keras writes it: SimpleRNN is simple_rnn."""
    name = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _sources(name: str, layer: Mapping[str, Any]) -> list[str]:
    """Return the names of the layers that a layer of a functional model reads; initial states are left out."""
    nodes = layer["inbound_nodes"]
    if not nodes:
        return []
    if len(nodes) > 1:
        raise _unsupported(name, "is used more than once")
    read = nodes[0]["args"][0]
    histories = [tensor["config"]["keras_history"] for tensor in (read if isinstance(read, list) else [read])]
    if any(history[2] != 0 for history in histories):
        raise _unsupported(name, "reads a state; must be the outputs of a layer")
    return [str(history[0]) for history in histories]
