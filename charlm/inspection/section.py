"""What a section of a report has found about a network: data, a figure, a table, and a sentence.

How a quantity is computed, its figure and its table are in one module, which ends with a function from a `Reading` to
what it has found. Another quantity is such a module, a name in `charlm.inspection.report`, and its words in
assets/words.yaml.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

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


def table_of(items: Iterable[Any], caption: str, columns: Mapping[str, str], *, is_folded: bool = True) -> Table:
    """Return a table with a row for each item; a column is the name of a field, or those of a mean and its error."""
    values = [attrgetter(*names.split()) for names in columns.values()]
    return Table(caption, tuple(columns), [[value(item) for value in values] for item in items], is_folded)


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
