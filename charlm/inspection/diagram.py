"""The parts of a network, with shapes and parameter counts, as data for a diagram."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from charlm.network.rnn import Floats, Parameters

PartKind = Literal["one-hot", "embedding", "rnn", "logits"]


@dataclass(frozen=True)
class Weight:
    """A tensor of a part."""

    name: str
    """Its name in weights.safetensors."""
    symbol: str
    """Its name in the equations: E, U, V, b, W or c."""
    shape: tuple[int, ...]
    parameters: int


@dataclass(frozen=True)
class Part:
    """A box of the diagram."""

    name: str
    """one-hot, embedding, rnn.0, rnn.1, ..., logits."""
    kind: PartKind
    outputs: int
    """The width of its output."""
    inputs: int
    """The width of its input, the state not counted; V for one-hot and embedding."""
    reads: tuple[str, ...]
    """The names of the parts whose outputs it reads, in the order in which they are joined; empty for the first one."""
    weights: tuple[Weight, ...]
    equation: str
    parameters: int


@dataclass(frozen=True)
class Diagram:
    """A network as its parts, from the input to the logits."""

    parts: tuple[Part, ...]
    activation: str
    """The name of f."""
    skip_connections: bool
    parameters: int
    """Of all parts together."""


def draw_up(parameters: Parameters) -> Diagram:
    """List the parts of a network, from the input to the logits."""
    parts = [_input_part(parameters)]
    source = parts[0]
    for index in range(len(parameters.layers)):
        parts.append(_layer_part(parameters, index, source=source, below=parts[-1]))
    parts.append(_logits_part(parameters, parts[1:]))
    return Diagram(
        parts=tuple(parts),
        activation=parameters.activation,
        skip_connections=parameters.skip_connections,
        parameters=sum(part.parameters for part in parts),
    )


def _input_part(parameters: Parameters) -> Part:
    size = parameters.vocabulary_size
    if parameters.embedding is None:
        return _part("one-hot", "one-hot", (size, size), equation="x_t = one-hot(id_t)")
    width = parameters.embedding.shape[1]
    weights = (_weight("embedding", "E", parameters.embedding),)
    return _part("embedding", "embedding", (size, width), equation="x_t = E[id_t]", weights=weights)


def _layer_part(parameters: Parameters, index: int, *, source: Part, below: Part) -> Part:
    layer = parameters.layers[index]
    is_joined = index > 0 and parameters.skip_connections
    reads = (below.name, source.name) if is_joined else (below.name,)
    x = "x_t" if index == 0 else "[h_t below, x_t]" if is_joined else "h_t below"
    bias = "" if layer.bias is None else " + b"
    name = f"rnn.{index}"
    weights = [
        _weight(f"{name}.kernel", "U", layer.kernel),
        _weight(f"{name}.recurrent_kernel", "V", layer.recurrent_kernel),
    ]
    if layer.bias is not None:
        weights.append(_weight(f"{name}.bias", "b", layer.bias))
    equation = f"h_t = {parameters.activation}({x} U + h_{{t-1}} V{bias})"
    widths = (len(layer.kernel), layer.units)
    return _part(name, "rnn", widths, equation=equation, reads=reads, weights=weights)


def _logits_part(parameters: Parameters, layers: Sequence[Part]) -> Part:
    is_joined = parameters.skip_connections and len(layers) > 1
    reads = tuple(part.name for part in layers) if is_joined else (layers[-1].name,)
    weights = (
        _weight("logits.kernel", "W", parameters.logits_kernel),
        _weight("logits.bias", "c", parameters.logits_bias),
    )
    h = "[h_t of all layers]" if is_joined else "h_t"
    widths = (len(parameters.logits_kernel), parameters.vocabulary_size)
    return _part("logits", "logits", widths, equation=f"logits_t = {h} W + c", reads=reads, weights=weights)


def _part(
    name: str,
    kind: PartKind,
    widths: tuple[int, int],
    *,
    equation: str,
    reads: tuple[str, ...] = (),
    weights: Sequence[Weight] = (),
) -> Part:
    """Return a part; `widths` are those of its input and its output."""
    return Part(
        name=name,
        kind=kind,
        outputs=widths[1],
        inputs=widths[0],
        reads=reads,
        weights=tuple(weights),
        equation=equation,
        parameters=sum(weight.parameters for weight in weights),
    )


def _weight(name: str, symbol: str, tensor: Floats) -> Weight:
    return Weight(name, symbol, tuple(int(size) for size in tensor.shape), int(tensor.size))
