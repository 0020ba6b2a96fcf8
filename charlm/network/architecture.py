"""The sizes of a network, and its tensors: the name and shape of each, and which parts of the network it reads.

This is the only place that declares them. Axes: V vocabulary, E embedding, H units.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # sampling does not need the config and must not wait for pydantic
    from charlm.config.schema import Config

Shape = tuple[int, ...]
KEYS = {
    **{name: f"model.{name}" for name in ("layers", "units", "embedding", "skip_connections")},
    **{name: f"model.rnn.{name}" for name in ("use_bias", "activation")},
}
"""The setting that each field of an architecture has in a config, but for the size of the vocabulary."""
ONE_HOT = "one-hot"
"""The part that a character enters as a one-hot vector."""


@dataclass(frozen=True)
class TensorSpec:
    """The name and shape of a tensor, and the parts whose outputs it multiplies."""

    name: str
    """Its name in a model file: that of its part and, if the part has several tensors, its kind."""
    reads: Mapping[str, int]
    """The parts whose outputs its rows multiply, in the order of the rows, and the width of each; empty for a bias."""
    columns: int

    @property
    def part(self) -> str:
        """The part of the network that it belongs to: embedding, rnn.0, rnn.1, ..., logits."""
        return self.name.rpartition(".")[0] or self.name

    @property
    def shape(self) -> Shape:
        """[rows, columns], or [columns] for a bias."""
        rows = [sum(self.reads.values())] if self.reads else []
        return (*rows, self.columns)

    def rows(self, part: str) -> slice:
        """Return the rows that multiply the output of a part: none if the tensor does not read it."""
        start = 0
        for name, width in self.reads.items():
            if name == part:
                return slice(start, start + width)
            start += width
        return slice(0, 0)


@dataclass(frozen=True)
class Architecture:
    """The settings that decide the shapes of the weights and how the weights are used."""

    vocabulary_size: int
    """V, the number of ids."""
    layers: int
    units: int
    """H, the width of each layer."""
    embedding: int | None
    """E, the width of the embedding; None = one-hot input."""
    use_bias: bool
    activation: str
    """A key of `charlm.network.rnn.ACTIVATIONS`."""
    skip_connections: bool
    """Whether every layer reads the character, and the logits read every layer."""

    @property
    def input(self) -> str:
        """The part whose output is x, the character as the layers read it: the embedding, or the one-hot vector."""
        return "embedding" if self.embedding else ONE_HOT

    @cached_property
    def tensors(self) -> Mapping[str, TensorSpec]:
        """Every tensor by its name, in the order of a computation."""
        specs: list[TensorSpec] = []
        if self.embedding:
            specs.append(TensorSpec("embedding", {ONE_HOT: self.vocabulary_size}, self.embedding))
        x = {self.input: self.embedding or self.vocabulary_size}
        outputs: dict[str, int] = {}
        below: dict[str, int] = {}
        for index in range(self.layers):
            layer = {f"rnn.{index}": self.units}
            reads = below | x if self.skip_connections else below or x
            specs.append(TensorSpec(f"rnn.{index}.kernel", reads, self.units))
            specs.append(TensorSpec(f"rnn.{index}.recurrent_kernel", layer, self.units))
            if self.use_bias:
                specs.append(TensorSpec(f"rnn.{index}.bias", {}, self.units))
            outputs |= layer
            below = layer
        features = outputs if self.skip_connections else below
        specs.append(TensorSpec("logits.kernel", features, self.vocabulary_size))
        specs.append(TensorSpec("logits.bias", {}, self.vocabulary_size))
        return {spec.name: spec for spec in specs}

    def readers(self, index: int) -> tuple[str, str, str]:
        """Return the tensors that may read the output of a layer: its own, that of the next layer and the logits'."""
        return f"rnn.{index}.recurrent_kernel", f"rnn.{index + 1}.kernel", "logits.kernel"

    def shapes(self) -> dict[str, Shape]:
        """Return the shape of each tensor by its name."""
        return {name: spec.shape for name, spec in self.tensors.items()}

    @property
    def size(self) -> int:
        """The number of weights."""
        return sum(map(math.prod, self.shapes().values()))

    def settings(self) -> dict[str, Any]:
        """Return the settings of a config that describe this architecture, by dotted keys."""
        return {key: getattr(self, name) for name, key in KEYS.items()}


def architecture(config: "Config", vocabulary_size: int) -> Architecture:
    """Return the architecture that a config describes for a vocabulary of V ids."""
    return Architecture(
        vocabulary_size, **{name: attrgetter(key)(config) for name, key in KEYS.items()}
    )
