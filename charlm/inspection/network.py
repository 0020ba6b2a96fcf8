"""The network as a table: the shapes of its weights, and the settings of its run."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from charlm.core.architecture import Shape
from charlm.inspection.reading import Reading
from charlm.inspection.style import Line, Section, table

SYMBOLS = {
    "embedding": "E",
    "kernel": "U",
    "recurrent_kernel": "V",
    "bias": "b",
    "logits.kernel": "W",
    "logits.bias": "c",
}
"""Symbols of tensors in the equations, by their whole name or its last part."""
TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True)
class Network:
    """The weights of a network, and how it was trained."""

    shapes: Mapping[str, Shape]
    """Shape of each tensor by its name in a model file, in the order of the forward pass."""
    parameters: int
    """Number of weights."""
    settings: Mapping[str, Any]
    """Every setting of the run by its dotted key."""


def measure(reading: Reading) -> Network:
    """List the weights of a network and the settings of its run."""
    architecture = reading.parameters.architecture
    return Network(architecture.shapes(), architecture.size, reading.settings)


def symbol(tensor: str) -> str:
    """Return the symbol of a tensor in the equations: E, U, V, b, W or c."""
    return SYMBOLS.get(tensor) or SYMBOLS[tensor.rpartition(".")[2]]


# The page

TEXT = (
    "A recurrent network applies the same weights at every step. x is the input of a layer: the "
    "character, one-hot or as a row of the embedding E, and in a stack also the output of the "
    "layer below. With skip connections, every layer reads the character, and the logits read "
    "every layer. Vectors are rows. The equations on this page are for a single layer; in a stack, "
    "a change of one layer also reaches the layers above it within the same step."
)


def details(results: Mapping[Line, Network]) -> str:
    """Return the tables of weights and settings of the first run."""
    line, network = next(iter(results.items()))
    rows = [
        (name, symbol(name), f" {TIMES} ".join(map(str, shape)), math.prod(shape))
        for name, shape in network.shapes.items()
    ]
    total = ("all", "", "", network.parameters)
    run = f" of {line.label}" if line.label else ""
    head = ("tensor", "symbol", "shape", "weights")
    weights = table(head, [*rows, total], caption=f"The weights{run}.", is_folded=True)
    settings = [(key, str(value)) for key, value in network.settings.items()]
    caption = f"The settings{run}."
    return weights + table(("setting", "value"), settings, caption=caption, is_folded=True)


SECTION = Section(
    name="network",
    title="The network",
    equation=(
        "h<sub>t</sub> = f(x<sub>t</sub> U + h<sub>t&minus;1</sub> V + b), "
        "h<sub>0</sub> = 0, logits<sub>t</sub> = h<sub>t</sub> W + c"
    ),
    text=TEXT,
    measure=measure,
    details=details,
    is_dynamics=True,
)
