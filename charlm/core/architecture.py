"""The sizes of a network, and the single declaration of its tensors: names, shapes and inputs.

Axes: V vocabulary, E embedding, H units.
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
"""The key of each field of an architecture in a config; the vocabulary size has no key."""
MAX_SIZE = 1 << 21
"""Size limit of a layer or embedding."""
MAX_LAYERS = 64
ONE_HOT = "one-hot"
"""Name of the part that turns a character into a one-hot vector."""


@dataclass(frozen=True)
class TensorSpec:
    """A tensor and the parts of the network whose outputs it multiplies."""

    name: str
    """Name in a model file: the part and, if the part has several tensors, the kind."""
    reads: Mapping[str, int]
    """Width of each part whose output the rows multiply, in row order; empty for a bias."""
    columns: int

    @property
    def shape(self) -> Shape:
        """[rows, columns], or [columns] for a bias."""
        if not self.reads:
            return (self.columns,)
        return sum(self.reads.values()), self.columns

    def rows(self, part: str) -> slice:
        """Return the rows that multiply the output of a part, an empty slice if there are none."""
        start = 0
        for name, width in self.reads.items():
            if name == part:
                return slice(start, start + width)
            start += width
        return slice(0, 0)


@dataclass(frozen=True)
class Architecture:
    """The settings that determine the shapes and the use of the weights."""

    vocabulary_size: int
    """V, the number of ids."""
    layers: int
    units: int
    """H, the width of each layer."""
    embedding: int | None
    """E, the width of the embedding; None = one-hot input."""
    use_bias: bool
    activation: str
    """A key of `charlm.core.rnn.ACTIVATIONS`."""
    skip_connections: bool
    """Whether every layer reads the character, and the logits read every layer."""

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "Architecture":
        """Return the architecture in the untrusted metadata of a model file.

        Raises:
            ValueError: The metadata does not describe a network, or a size is out of range.

        """
        match fields:
            case {
                "vocabulary": {"characters": [*characters]},
                "config": {
                    "model": {
                        "layers": layers,
                        "units": units,
                        "embedding": embedding,
                        "skip_connections": bool(skip_connections),
                        "rnn": {"use_bias": bool(use_bias), "activation": str(activation)},
                    }
                },
            }:
                sizes = [layers, units, 1 if embedding is None else embedding]
                are_sizes = all(type(size) is int and 1 <= size <= MAX_SIZE for size in sizes)
                if not are_sizes or layers > MAX_LAYERS:
                    raise ValueError(
                        f"each size of the network must be from 1 to {MAX_SIZE:,}, and the number "
                        f"of layers at most {MAX_LAYERS}"
                    )
                return cls(
                    vocabulary_size=len(characters),
                    layers=layers,
                    units=units,
                    embedding=embedding,
                    use_bias=use_bias,
                    activation=activation,
                    skip_connections=skip_connections,
                )
        raise ValueError("damaged: its metadata does not describe a network")

    @property
    def input(self) -> str:
        """The part that computes x, the layers' input: the embedding or the one-hot vector."""
        return "embedding" if self.embedding else ONE_HOT

    @cached_property
    def tensors(self) -> Mapping[str, TensorSpec]:
        """Every tensor by its name, in the order of the forward pass."""
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

    def shapes(self) -> dict[str, Shape]:
        """Return the shape of each tensor by its name."""
        return {name: spec.shape for name, spec in self.tensors.items()}

    @property
    def size(self) -> int:
        """The number of weights."""
        return sum(map(math.prod, self.shapes().values()))

    def settings(self) -> dict[str, Any]:
        """Return the settings of this architecture in a config by their dotted keys."""
        return {key: getattr(self, name) for name, key in KEYS.items()}


def architecture(config: "Config", vocabulary_size: int) -> Architecture:
    """Return the architecture of a config for a vocabulary of V ids."""
    settings = {name: attrgetter(key)(config) for name, key in KEYS.items()}
    return Architecture(vocabulary_size, **settings)
