"""The parts of a network with their shapes, drawn rolled, with its loop, and unrolled over time."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from charlm.inspection.figures import BLUE, GREEN, MUTED, ORANGE, Axes, Figure, canvas
from charlm.inspection.reading import Reading
from charlm.inspection.section import Content, Drawing, Section, Table
from charlm.network.architecture import Shape
from charlm.network.rnn import Parameters

SYMBOLS = {
    "embedding": "E",
    "kernel": "U",
    "recurrent_kernel": "V",
    "bias": "b",
    "logits.kernel": "W",
    "logits.bias": "c",
}
"""Symbols of tensors in the equations, by their whole name or its last part."""
STYLES = {
    "one-hot": ("x", MUTED),
    "embedding": ("E", GREEN),
    "rnn": ("h", BLUE),
    "logits": ("logits", ORANGE),
}
"""Label in the unrolled network, and colour, of a part; the key is its name up to the first dot."""
TIMES = "\N{MULTIPLICATION SIGN}"
TIME_STEPS = ("t\N{MINUS SIGN}1", "t", "t+1")
HALF_HEIGHT = 0.3
"""Half the height of a box, in units of the vertical axis."""


@dataclass(frozen=True)
class Part:
    """A box of the diagram."""

    name: str
    """Name: one-hot, embedding, rnn.0, rnn.1, ..., logits."""
    outputs: int
    """Number of outputs."""
    weights: Mapping[str, Shape]
    """Shape of each tensor by its name in a model file."""


@dataclass(frozen=True)
class Diagram:
    """A network as its parts, from the input to the logits."""

    parts: tuple[Part, ...]
    skip_connections: bool
    parameters: int
    """Number of weights of all parts."""


def symbol(tensor: str) -> str:
    """Return the symbol of a tensor in the equations: E, U, V, b, W or c."""
    return SYMBOLS.get(tensor) or SYMBOLS[tensor.rpartition(".")[2]]


def list_parts(parameters: Parameters) -> Diagram:
    """List the parts of a network, from the input to the logits."""
    shape = parameters.architecture
    outputs = {shape.input: shape.vocabulary_size}  # a one-hot vector has no tensor
    weights: dict[str, dict[str, Shape]] = {shape.input: {}}
    for name, spec in shape.tensors.items():
        outputs[spec.part] = spec.columns
        weights.setdefault(spec.part, {})[name] = spec.shape
    parts = tuple(Part(name, width, weights[name]) for name, width in outputs.items())
    return Diagram(parts, shape.skip_connections, shape.size)


def make_network(reading: Reading) -> Content:
    """List the parts of a network."""
    diagram = list_parts(reading.parameters)
    caption = "The network rolled and unrolled, with the shapes of its weights."
    return Content(
        diagram,
        figure=Drawing(partial(draw_network, diagram), caption),
        table=parameter_table(diagram),
    )


def parameter_table(diagram: Diagram) -> Table:
    """List the tensors of a network, and the number of weights in each."""
    shapes = {name: shape for part in diagram.parts for name, shape in part.weights.items()}
    return Table(
        "The weights of the network.",
        {
            "tensor": [*shapes, "all"],
            "symbol": [*map(symbol, shapes), ""],
            "shape": [*(f" {TIMES} ".join(map(str, shape)) for shape in shapes.values()), ""],
            "weights": [*map(math.prod, shapes.values()), diagram.parameters],
        },
    )


def draw_network(diagram: Diagram) -> Figure:
    """Draw the parts from the bottom up: on the left rolled, on the right unrolled."""
    parts = diagram.parts
    figure, (left, right) = canvas("Rolled", "Unrolled", heights=[0.72 * len(parts)])
    left.set_xlim(-2.05, 1.75)
    right.set_xlim(-0.75, 2.75)
    for axes in (left, right):
        axes.set_ylim(-0.75, len(parts) - 0.2)
        axes.set_axis_off()
    recurrent = [level for level, part in enumerate(parts) if part.name.startswith("rnn")]
    _draw_column(left, diagram, x=0, width=2.0, is_rolled=True)
    for level in recurrent:
        _draw_arrow(left, (1.0, level + 0.15), (1.0, level - 0.15), bend=-2.2, colour=BLUE)
        units = parts[level].outputs
        left.text(1.42, level, f"V\n{units}{TIMES}{units}", fontsize=6.5, va="center")
    for x, time in enumerate(TIME_STEPS):
        _draw_column(right, diagram, x=x, width=0.6, is_rolled=False)
        for start in (-0.7, 0.3) if x == 0 else (x + 0.3,):
            for level in recurrent:
                _draw_arrow(right, (start, level), (start + 0.4, level), colour=BLUE)
        right.text(x, -0.55, time, ha="center", va="center", fontsize=8, color=MUTED)
    return figure


def _draw_column(axes: Axes, diagram: Diagram, *, x: float, width: float, is_rolled: bool) -> None:
    """Draw the boxes of all parts one above the other, and the arrows between and past boxes."""
    from matplotlib.patches import FancyBboxPatch

    top = len(diagram.parts) - 1
    edge = x - width / 2
    for level, part in enumerate(diagram.parts):
        symbol_of_part, colour = STYLES[part.name.partition(".")[0]]
        box = FancyBboxPatch(
            (edge, level - HALF_HEIGHT),
            width,
            2 * HALF_HEIGHT,
            "round,pad=0,rounding_size=0.08",
            facecolor="none",
            edgecolor=colour,
            linewidth=1.4,
        )
        axes.add_patch(box)
        label = _shapes_label(part) if is_rolled else symbol_of_part
        axes.text(x, level, label, ha="center", va="center", fontsize=7.5, linespacing=1.35)
        if level < top:
            _draw_arrow(axes, (x, level + HALF_HEIGHT), (x, level + 1 - HALF_HEIGHT))
    if not diagram.skip_connections:
        return
    bend = -0.3 if is_rolled else -0.15
    for level in range(1, top):
        if level > 1:
            _draw_arrow(axes, (edge, 0), (edge, level - 0.1), bend=bend)
        if level < top - 1:
            _draw_arrow(axes, (edge, level + 0.1), (edge, top), bend=bend, colour=ORANGE)


def _shapes_label(part: Part) -> str:
    """Return the name, the number of outputs and the shapes of a part; V is drawn at its loop."""
    shapes = {symbol(name): TIMES.join(map(str, shape)) for name, shape in part.weights.items()}
    shapes.pop("V", None)
    listed = "  ".join(f"{name} {shape}" for name, shape in shapes.items())
    return f"{part.name} \N{RIGHTWARDS ARROW} {part.outputs}\n{listed}".rstrip()


def _draw_arrow(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    *,
    bend: float = 0.0,
    colour: str = MUTED,
) -> None:
    style = {
        "arrowstyle": "-|>",
        "color": colour,
        "linewidth": 1.0,
        "shrinkA": 0,
        "shrinkB": 0,
        "mutation_scale": 8,
        "connectionstyle": f"arc3,rad={bend}",
    }
    axes.annotate("", end, start, arrowprops=style)


SECTION = Section(
    name="network",
    title="The network",
    equation="h_t = f(x_t U + h_{t-1} V + b), h_0 = 0, logits_t = h_t W + c",
    text=(
        "A recurrent network applies the same weights at every step: the loop on the left stands "
        "for the chain on the right. x is the input of a layer: the character, one-hot or as a "
        "row of the embedding E, and in a stack also the output of the layer below. With skip "
        "connections, every layer reads the character, and the logits read every layer. Vectors "
        "are rows. The equations on this page are for a single layer; in a stack, a change of one "
        "layer also reaches the layers above it within the same step."
    ),
    make=make_network,
)
