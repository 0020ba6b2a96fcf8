"""The parts of a network, with shapes and parameter counts, and their diagram.

It is drawn rolled, with its loop, and unrolled over three characters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from charlm.inspection.figures import BLUE, GREEN, MUTED, ORANGE, RIGHT, canvas
from charlm.inspection.markup import equation
from charlm.inspection.reading import Reading
from charlm.inspection.section import Found, Section, Table
from charlm.network.rnn import Parameters

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PartKind = Literal["one-hot", "embedding", "rnn", "logits"]
SYMBOLS = {
    **{"embedding": "E", "kernel": "U", "recurrent_kernel": "V", "bias": "b"},
    **{"logits.kernel": "W", "logits.bias": "c"},
}
"""The names of tensors in the equations, by the whole name or its last part."""
EDGE = {"one-hot": MUTED, "embedding": GREEN, "rnn": BLUE, "logits": ORANGE}
TIMES = "\N{MULTIPLICATION SIGN}"
TIME_STEPS = ("t\N{MINUS SIGN}1", "t", "t+1")
_HALF_HEIGHT = 0.3


@dataclass(frozen=True)
class Weight:
    """A tensor of a part."""

    name: str
    """Its name in a model file."""
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
    weights: tuple[Weight, ...]


@dataclass(frozen=True)
class Diagram:
    """A network as its parts, from the input to the logits."""

    parts: tuple[Part, ...]
    skip_connections: bool
    parameters: int
    """Of all parts together."""
    equations: tuple[str, ...]
    """What a step computes; [a; b] is a beside b. The last one says what a small change of the state becomes; in a
    stack, the one before it is the state of all layers."""


def list_parts(parameters: Parameters) -> Diagram:
    """List the parts of a network, from the input to the logits."""
    source: PartKind = "one-hot" if parameters.embedding is None else "embedding"
    width = parameters.vocabulary_size if parameters.embedding is None else parameters.embedding.shape[1]
    layers = [_part(parameters, f"rnn.{index}", "rnn", layer.units) for index, layer in enumerate(parameters.layers)]
    top = _part(parameters, "logits", "logits", parameters.vocabulary_size)
    parts = (_part(parameters, source, source, width), *layers, top)
    equations = _equations(parts, parameters.activation, skips=parameters.skip_connections)
    return Diagram(parts, parameters.skip_connections, parameters.size, equations)


def _equations(parts: Sequence[Part], activation: str, *, skips: bool) -> tuple[str, ...]:
    """Return the equations of a step, from the input to the logits; in a stack, the layer is an index from 0."""
    indices = [f"_{layer}" for layer in range(len(parts) - 2)] if len(parts) > 3 else [""]
    states = [f"h^{{{index[1:]}}}_t" if index else "h_t" for index in indices]
    found = [f"x_t = {'E[id_t]' if parts[0].kind == 'embedding' else 'onehot(id_t)'}"]
    for index, state, below, part in zip(indices, states, ["", *states], parts[1:], strict=False):
        read = f"[{below}; x_t]" if below and skips else below or "x_t"
        bias = f" + b{index}" if any(weight.symbol == "b" for weight in part.weights) else ""
        found.append(f"{state} = {activation}({read} U{index} + {state[:-1]}{{t-1}} V{index}{bias})")
    side_by_side = f"[{'; '.join(states)}]" if len(states) > 1 else "h_t"
    found.append(f"logits_t = {side_by_side if skips else states[-1]} W + c")
    if len(states) == 1:
        return (*found, "dh_t = dh_{t-1} V D_t,  D_t = diag f'(a_t)")
    below = "[dh^{l-1}_t; 0]" if skips else "dh^{l-1}_t"
    change = f"dh^l_t = (dh^l_{{t-1}} V_l + {below} U_l) D^l_t,  D^l_t = diag f'(a^l_t)"
    return (*found, f"h_t = {side_by_side}", change)


def _part(parameters: Parameters, name: str, kind: PartKind, outputs: int) -> Part:
    """Return a part with the tensors of its name."""
    weights = tuple(
        Weight(each, SYMBOLS.get(each) or SYMBOLS[each.rpartition(".")[2]], tensor.shape, tensor.size)
        for each, tensor in parameters.tensors().items()
        if each == name or each.startswith(f"{name}.")
    )
    return Part(name, kind, outputs, weights)


def make_network(reading: Reading) -> Found:
    """List the parts of a network."""
    diagram = list_parts(reading.parameters)
    rows: list[tuple[object, ...]] = [
        (weight.name, weight.symbol, f" {TIMES} ".join(map(str, weight.shape)), weight.parameters)
        for part in diagram.parts
        for weight in part.weights
    ]
    table = Table(
        "Parameters", ("tensor", "symbol", "shape", "parameters"), [*rows, ("all", "", "", diagram.parameters)]
    )
    return Found(diagram, partial(draw_network, diagram), table, html="".join(map(equation, diagram.equations)))


def draw_network(diagram: Diagram) -> "Figure":
    """Draw the parts from the bottom up: on the left rolled, on the right unrolled."""
    parts = diagram.parts
    figure, (left, right) = canvas("Rolled", "Unrolled", columns=2, height=0.72 * len(parts), left=RIGHT)
    for axes in (left, right):
        axes.set_axis_off()
    _draw_rolled(left, parts)
    _draw_unrolled(right, parts)
    if diagram.skip_connections:
        _draw_skips(left, parts, -1.0, bend=-0.3)
        for column in range(len(TIME_STEPS)):
            _draw_skips(right, parts, column - 0.3, bend=-0.15)
    return figure


def _box(axes: "Axes", x: float, y: float, *, part: Part, width: float, text: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - _HALF_HEIGHT),
            width,
            2 * _HALF_HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor="none",
            edgecolor=EDGE[part.kind],
            linewidth=1.4,
        )
    )
    axes.text(x, y, text, ha="center", va="center", fontsize=7.5, linespacing=1.35)


def _arrow(
    axes: "Axes", start: tuple[float, float], end: tuple[float, float], *, bend: float = 0.0, colour: str = MUTED
) -> None:
    style = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.0, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 8}
    axes.annotate("", end, start, arrowprops={**style, "connectionstyle": f"arc3,rad={bend}"})


def _draw_rolled(axes: "Axes", parts: Sequence[Part]) -> None:
    axes.set(xlim=(-1.55, 1.75), ylim=(-0.75, len(parts) - 0.2))
    for level, part in enumerate(parts):
        _box(axes, 0, level, part=part, width=2.0, text=_label(part))
        if part.kind == "rnn":
            _arrow(axes, (1.0, level + 0.15), (1.0, level - 0.15), bend=-2.2, colour=BLUE)
            axes.text(1.42, level, f"V\n{part.outputs}{TIMES}{part.outputs}", fontsize=6.5, va="center")
    for level in range(len(parts) - 1):
        _arrow(axes, (0, level + _HALF_HEIGHT), (0, level + 1 - _HALF_HEIGHT))


def _draw_skips(axes: "Axes", parts: Sequence[Part], x: float, *, bend: float) -> None:
    """Draw arrows at the left edge of the boxes, x: from the input to each layer, and from each layer to the logits."""
    layers = [level for level, part in enumerate(parts) if part.kind == "rnn"]
    source, top = layers[0] - 1, len(parts) - 1
    for level in layers[1:]:
        _arrow(axes, (x, source), (x, level - 0.1), bend=bend)
    for level in layers[:-1]:
        _arrow(axes, (x, level + 0.1), (x, top), bend=bend, colour=ORANGE)


def _label(part: Part) -> str:
    weights = [weight for weight in part.weights if weight.symbol != "V"]
    shapes = "  ".join(f"{weight.symbol} {TIMES.join(map(str, weight.shape))}" for weight in weights)
    head = f"{part.name} \N{RIGHTWARDS ARROW} {part.outputs}"
    return f"{head}\n{shapes}" if shapes else head


def _draw_unrolled(axes: "Axes", parts: Sequence[Part]) -> None:
    axes.set(xlim=(-0.75, 2.75), ylim=(-0.75, len(parts) - 0.2))
    for column, time in enumerate(TIME_STEPS):
        for level, part in enumerate(parts):
            _box(axes, column, level, part=part, width=0.6, text=_symbol(part))
            if part.kind == "rnn":
                for start in ((-0.7,) if column == 0 else ()) + (column + 0.3,):
                    _arrow(axes, (start, level), (start + 0.4, level), colour=BLUE)
        for level in range(len(parts) - 1):
            _arrow(axes, (column, level + _HALF_HEIGHT), (column, level + 1 - _HALF_HEIGHT))
        axes.text(column, -0.55, time, ha="center", va="center", fontsize=8, color=MUTED)


def _symbol(part: Part) -> str:
    return {"one-hot": "x", "embedding": "E", "rnn": "h", "logits": "logits"}[part.kind]


NETWORK = Section(
    "network",
    "The network",
    "h_t = f(x_t U + h_{t-1} V + b), h_0 = 0",
    "The loop on the left is the same weights at every step on the right: that is all a recurrent network is. "
    "The last equation says what a small change of the state becomes, a_t being what f is applied to: the other parts "
    "of this page write it as dh_t = dh_{t\N{MINUS SIGN}1} V D_t, in a stack for the state of all layers together. "
    "[a; b] is a beside b.",
    make_network,
    "the network rolled and unrolled, with the shapes of its weights",
    shares_limits=False,
)
