"""What a section of a report consists of, and what was found out about one run.

A quantity, its figures and its tables stand in one place: one more is a function that computes it, and a few lines in
one of the modules beside this one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from charlm.inspection.reading import Reading
from charlm.text.vocabulary import Level

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Rows = Sequence[Sequence[object]]


@dataclass(frozen=True)
class Quantity:
    """Something that is found out about a run."""

    name: str
    """The key of the JSON."""
    make: Callable[[Reading], Any]
    """Returns plain data; raises CharlmError or LinAlgError if the quantity cannot be made."""
    is_essential: bool = False
    """Whether there is no report without it: it is made first, and its error is that of the report."""


@dataclass(frozen=True, eq=False)
class Report:
    """What was found out about one run."""

    name: str
    """The path of the run, for the user."""
    text_name: str
    """What was read: a name for the user."""
    characters: tuple[str | None, ...]
    """The character of each id; None for a reserved id. At level byte, U+0000 to U+00FF are the byte values."""
    activation: str
    notes: tuple[str, ...]
    """What was left out, each a sentence."""
    found: Mapping[str, Any]
    """The quantities by name; one that could not be made is missing, and `notes` says why."""
    level: Level = "char"
    """What an id stands for."""

    def get(self, name: str) -> Any:
        """Return a quantity, None if it is missing."""
        return self.found.get(name)


@dataclass(frozen=True)
class Chart:
    """A figure that is drawn for each run."""

    name: str
    """Unique among all charts; the beginning of the names of its files."""
    label: str
    """What it shows: the caption, and what a screen reader says."""
    draw: "Callable[[Any], Figure | None]"
    """Returns the figure of the section's first quantity; None if there is nothing to draw."""
    shares_limits: bool = True
    """Whether the axes of all runs get the same limits."""


@dataclass(frozen=True)
class Table:
    """A table that is made for each run."""

    caption: str
    columns: tuple[str, ...]
    """Their heads."""
    rows: Callable[..., Rows]
    """Returns them, given the section's first quantity."""
    needs_characters: bool = False
    """Whether `rows` also takes the character of each id."""
    is_folded: bool = True
    """Whether the reader has to open it."""


@dataclass(frozen=True)
class Section:
    """A part of the page: what it is, what to see in it, and what is shown for each run."""

    name: str
    """The anchor."""
    title: str
    equation: str
    """In the names of the code; `passages.equation` sets the indices."""
    see: str
    """One sentence that says what to see."""
    quantities: tuple[Quantity, ...]
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    view: Callable[[Report, int], str] | None = None
    """Returns HTML, given a report and its number on the page; "" if the report lacks it."""

    def draw(self, chart: Chart, report: Report) -> "Figure | None":
        """Return a figure; None if the report lacks what it shows."""
        found = report.get(self.quantities[0].name)
        return None if found is None else chart.draw(found)

    def rows(self, table: Table, report: Report) -> Rows:
        """Return the rows of a table; none if the report lacks what it shows."""
        found = report.get(self.quantities[0].name)
        if found is None:
            return ()
        return table.rows(found, report.characters) if table.needs_characters else table.rows(found)


def layer_name(layer: int) -> str:
    """Return the name of a layer as `weights.safetensors` has it."""
    return f"rnn.{layer}"
