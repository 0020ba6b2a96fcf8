"""The parts of a network, with shapes and parameter counts, as data for a diagram."""

from dataclasses import dataclass
from typing import Literal


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
    kind: Literal["one-hot", "embedding", "rnn", "logits"]
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
