"""What a section of a report has found about a network: data, a figure, the rows of a table, and a sentence.

How a quantity is computed and its figure are in one module, which ends with a function from a `Reading` to
what it has found. Another quantity is such a module, a name in `charlm.inspection.report`, and its words in
assets/words.yaml.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Found:
    """What a section has found about a network."""

    data: Any
    """What the JSON holds: dataclasses, arrays, lists and numbers."""
    figure: "Callable[[], Figure] | None" = None
    """Draws it; None if there is nothing to draw."""
    items: Sequence[Any] = ()
    """The rows of its table: objects or dictionaries, whose fields the columns name."""
    sentence: str = ""
    """A part of the first sentence of the page, whose subject is the network; "" = nothing to say."""
    html: str = ""
    """What the page shows besides."""
    positions: range | NDArray[Any] = range(0)
    """Of the characters of the text that it rests on, rising."""


def items_of(arrays: Any, *names: str) -> list[dict[str, Any]]:
    """Return a dictionary for each place of some arrays of a dataclass, [n] each."""
    rows = zip(*(getattr(arrays, name).tolist() for name in names), strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows]
