"""The graph in the config.json of a `.keras` file -> which layers are the network of charlm.

The graph is followed from the output layer down. It must be: ids or one-hot characters, an embedding if there is one,
SimpleRNN layers one above the other, a Dense layer; with skip connections each SimpleRNN above the first reads
[below, x], and the Dense layer reads all of them. Dropout layers are passed over: they do nothing after training.
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
_ONE_HOT = {"OneHot", "CategoryEncoding"}


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
    """Return the layers that a config.json describes.

    Raises:
        UnsupportedLayerError: the model has other layers, or they are connected in another way.
        KeyError, TypeError, ValueError, IndexError, AttributeError: the config is not as Keras writes it.

    """
    if config["class_name"] not in {"Sequential", "Functional", "Model"}:
        raise UnsupportedLayerError(
            f"a model of class {shorten(config['class_name'])}; must be Sequential or Functional"
        )
    return _Graph(config["class_name"] == "Sequential", config["config"]).stack()


Value = tuple[str, ...]
"""What flows from a layer: the names of the layers whose outputs are joined in it."""


class _Graph:
    """The layers by name, and what has been found of the network on the way down from the output."""

    def __init__(self, is_sequential: bool, config: Mapping[str, Any]) -> None:
        layers = config["layers"]
        if len(layers) > MAX_KERAS_LAYERS:
            raise UnsupportedLayerError(f"{len(layers)} layers; must be {MAX_KERAS_LAYERS} at most")
        self._layers = {layer["config"]["name"]: layer for layer in layers}
        self._folders = dict(zip(self._layers, _folders(layers), strict=True))
        names = list(self._layers)
        self._sources = (
            {name: names[max(index - 1, 0) : index] for index, name in enumerate(names)}
            if is_sequential
            else {name: _sources(layer) for name, layer in self._layers.items()}
        )
        self._output = names[-1] if is_sequential else _output(config["output_layers"])
        self._input: str | None = None
        self._embedding: str | None = None
        self._rnn: dict[str, Value] = {}  # what each SimpleRNN reads, lowest first

    def stack(self) -> Stack:
        """Follow the graph down from its output."""
        name = self._output
        while self._kind(name) in _PASSED or self._is_softmax(name):
            name = self._source(name)
        if self._kind(name) != "Dense":
            raise _unsupported(name, f"found {self._kind(name)}; the output must be a Dense layer")
        self._check(name, "activation", _activation(self._settings(name)), ("linear", "softmax"))
        features = self._value(self._source(name))
        activations = {_activation(self._settings(rnn)) for rnn in self._rnn}
        if not (len(activations) == 1 and activations <= ACTIVATIONS.keys()):
            raise _unsupported(
                name, f"activations {', '.join(map(shorten, activations))} below it; must be one of charlm"
            )
        return Stack(
            embedding=self._embedding,
            rnn=tuple(self._record(rnn) for rnn in self._rnn),
            logits=self._record(name),
            activation=activations.pop(),
            skip_connections=self._has_skips(name, features),
        )

    def _has_skips(self, logits: str, features: Value) -> bool:
        """Return whether every layer reads the input and the logits read every layer; refuse what is in between."""
        layers = list(self._rnn)
        are_reading = [len(read) > 1 for read in list(self._rnn.values())[1:]]
        if features == (layers[-1],) and not any(are_reading):
            return False
        if features == tuple(layers) and all(are_reading):
            return True
        raise _unsupported(logits, f"reads {shorten(features)}; with skip connections all layers must have them")

    def _value(self, name: str) -> Value:
        """Return what a layer gives on, and note the SimpleRNN layers below it."""
        kind = self._kind(name)
        if kind in _PASSED:
            return self._value(self._source(name))
        if kind == "SimpleRNN":
            return self._recurrent(name)
        if kind == "Concatenate":
            self._check(name, "axis", self._settings(name)["axis"], (-1, 2))
            return tuple(part for source in self._sources[name] for part in self._value(source))
        if kind in {"InputLayer", "Embedding", *_ONE_HOT}:
            return self._read_input(name, kind)
        raise _unsupported(name, f"found {kind}; charlm has SimpleRNN, Embedding and Dense layers")

    def _read_input(self, name: str, kind: str) -> Value:
        if kind != "InputLayer" and self._sources[name] and self._kind(self._source(name)) != "InputLayer":
            raise _unsupported(name, "must read the input of the model")
        if kind == "CategoryEncoding":
            self._check(name, "output_mode", self._settings(name)["output_mode"], ("one_hot",))
        if kind == "Embedding":
            self._check(name, "mask_zero", self._settings(name).get("mask_zero", False), (False,))  # it skips id 0
            self._embedding = self._folders[name]
        if self._input not in {None, name}:
            raise _unsupported(name, f"a second input beside {shorten(self._input)}; must be one")
        self._input = name
        return (name,)

    def _recurrent(self, name: str) -> Value:
        if name not in self._rnn:
            self._check(name, "go_backwards", self._settings(name)["go_backwards"], (False,))
            read = self._value(self._source(name))
            below = list(self._rnn)[-1:]
            if read not in ([tuple(below), (*below, self._input)] if below else [(self._input,)]):
                raise _unsupported(name, f"reads {shorten(read)}; must be the layer below, or that and the input")
            self._rnn[name] = read
        return (name,)

    def _record(self, name: str) -> LayerRecord:
        use_bias = self._settings(name)["use_bias"]
        self._check(name, "use_bias", use_bias, (True, False))
        return LayerRecord(self._folders[name], use_bias)

    def _kind(self, name: str) -> str:
        return str(self._layers[name]["class_name"])

    def _settings(self, name: str) -> Mapping[str, Any]:
        settings: Mapping[str, Any] = self._layers[name]["config"]
        return settings

    def _is_softmax(self, name: str) -> bool:
        kind = self._kind(name)
        return kind == "Softmax" or (kind == "Activation" and _activation(self._settings(name)) == "softmax")

    def _source(self, name: str) -> str:
        """Return the one layer that a layer reads."""
        sources = self._sources[name]
        if len(sources) != 1:
            raise _unsupported(name, f"reads {len(sources)} layers; must be one")
        return sources[0]

    @staticmethod
    def _check(name: str, key: str, found: Any, allowed: Sequence[Any]) -> None:
        if found not in allowed:
            raise _unsupported(name, f"{key} is {shorten(found)}; must be {' or '.join(map(shorten, allowed))}")


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


def _sources(layer: Mapping[str, Any]) -> list[str]:
    """Return the names of the layers that a layer of a functional model reads; initial states are left out."""
    nodes = layer["inbound_nodes"]
    if not nodes:
        return []
    if len(nodes) > 1:
        raise _unsupported(layer["config"]["name"], "is used more than once")
    read = nodes[0]["args"][0]
    histories = [tensor["config"]["keras_history"] for tensor in (read if isinstance(read, list) else [read])]
    if any(history[2] != 0 for history in histories):
        raise _unsupported(layer["config"]["name"], "reads a state; must be the outputs of a layer")
    return [str(history[0]) for history in histories]


def _output(layers: Any) -> str:
    """Return the name of the layer of the first output; in a config it stands alone or in a list."""
    first = layers[0]
    return str(first if isinstance(first, str) else first[0])
