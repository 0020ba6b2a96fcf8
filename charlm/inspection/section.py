"""A section of a report: the function that makes it, and what the page says about it.

How a quantity is computed, its figure and its table are in one module: another quantity is a module that ends with its
`Section`, and a name in `charlm.inspection.report`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from charlm.inspection.reading import Reading

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Table:
    """A table of the page."""

    caption: str
    columns: tuple[str, ...]
    """Their heads."""
    rows: Sequence[Sequence[object]]
    """As `markup.table` takes them."""
    is_folded: bool = True
    """Whether the reader has to open it."""


@dataclass(frozen=True, eq=False)
class Found:
    """What a section has found about a network."""

    data: Any
    """What the JSON holds: dataclasses, arrays, lists and numbers."""
    figure: "Callable[[], Figure] | None" = None
    """Draws it; None if there is nothing to draw."""
    table: Table | None = None
    sentence: str = ""
    """A part of the first sentence of the page, whose subject is the network; "" = nothing to say."""
    html: str = ""
    """What the page shows besides."""
    positions: range | NDArray[Any] = range(0)
    """Of the characters of the text that it rests on, rising."""


@dataclass(frozen=True)
class Section:
    """A part of a report."""

    name: str
    """The key of the JSON, the name of its figure, and the anchor."""
    title: str
    equation: str
    """In the names of the code; `markup.equation` sets the indices."""
    text: str
    """What the page says: what to see, and the definitions of its figures."""
    make: Callable[[Reading], Found]
    """Raises CharlmError or LinAlgError if it cannot be made."""
    caption: str = ""
    """What the figure shows, also for a screen reader."""
    shares_limits: bool = True
    """Whether the axes of all runs get the same limits."""


def layer_name(layer: int) -> str:
    """Return the name of a layer as a model file has it."""
    return f"rnn.{layer}"
