"""A network without its weights: its sizes, and the shape of each tensor.

This module imports no NumPy. Axes: V vocabulary, E embedding, H units.
"""

import math
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # sampling does not need the config and must not wait for pydantic
    from charlm.config.schema import Config

KEYS = {
    **{name: f"model.{name}" for name in ("layers", "units", "embedding", "skip_connections")},
    **{name: f"model.rnn.{name}" for name in ("use_bias", "activation")},
}
"""The setting that each field of an architecture has in a config, but for the size of the vocabulary."""


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

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each tensor by its name in a model file."""
        width = self.embedding or self.vocabulary_size
        shapes: dict[str, tuple[int, ...]] = {}
        if self.embedding:
            shapes["embedding"] = (self.vocabulary_size, self.embedding)
        for index in range(self.layers):
            inputs = width if index == 0 else self.units + (width if self.skip_connections else 0)
            shapes[f"rnn.{index}.kernel"] = (inputs, self.units)
            shapes[f"rnn.{index}.recurrent_kernel"] = (self.units, self.units)
            if self.use_bias:
                shapes[f"rnn.{index}.bias"] = (self.units,)
        outputs = self.units * (self.layers if self.skip_connections else 1)
        return shapes | {"logits.kernel": (outputs, self.vocabulary_size), "logits.bias": (self.vocabulary_size,)}

    @property
    def size(self) -> int:
        """The number of weights."""
        return sum(map(math.prod, self.shapes().values()))

    def settings(self) -> dict[str, Any]:
        """Return the settings of a config that describe this architecture, by dotted keys."""
        return {key: getattr(self, name) for name, key in KEYS.items()}


def architecture(config: "Config", vocabulary_size: int) -> Architecture:
    """Return the architecture that a config describes for a vocabulary of V ids."""
    return Architecture(vocabulary_size, **{name: attrgetter(key)(config) for name, key in KEYS.items()})
