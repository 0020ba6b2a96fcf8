"""The parts of a section of a report.

Each section has a module that computes the numbers, draws and explains them, and names the
characters that they are based on. `charlm.inspection.sections` lists the sections, and
`charlm.inspection.report` makes pages of sections.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from charlm.inspection.figures import Figure, Panel, draw_panels
from charlm.inspection.reading import Reading


@dataclass(frozen=True)
class Sample:
    """The characters of a text that a number is based on, counted from 1."""

    first: int
    last: int
    count: int
    """Number of characters, evenly spaced from first to last."""

    @classmethod
    def of(cls, indices: range | NDArray[Any]) -> "Sample":
        """Return the sample with these indices of ids: at least one, rising, counted from 0."""
        return cls(int(indices[0]) + 1, int(indices[-1]) + 1, len(indices))

    def __str__(self) -> str:
        """Return the sample in words: "1,999 characters (2 to 2,000)"."""
        if self.count == 1:
            return f"1 character ({self.first:,})"
        is_every = self.count == self.last - self.first + 1
        spacing = "" if is_every else "evenly spaced "
        return f"{self.count:,} {spacing}characters ({self.first:,} to {self.last:,})"


@dataclass(frozen=True)
class Chart:
    """A figure that can show several runs on the same axes."""

    panels: Sequence[Panel]
    caption: str
    """A description of the figure in full sentences."""
    details: str = ""
    """A description of the bands and extra curves of a single run, in full sentences."""

    def draw(self) -> Figure:
        """Draw the panels of a single run."""
        return draw_panels(self.panels)


@dataclass(frozen=True)
class Drawing:
    """A figure of a single run."""

    draw: Callable[[], Figure]
    caption: str
    """A description of the figure in full sentences."""


@dataclass(frozen=True)
class Table:
    """A table of numbers."""

    caption: str
    """Sentences that describe the columns and their standard errors."""
    columns: Mapping[str, Sequence[object]]
    """Cells of each column by its heading: numbers, None for a missing number, pairs of a number
    and its standard error, or strings."""
    is_open: bool = False
    """Whether the table is visible from the start."""

    @property
    def rows(self) -> list[tuple[object, ...]]:
        """The cells of each row."""
        return list(zip(*self.columns.values(), strict=True))


@dataclass(frozen=True, eq=False)
class Content:
    """A section of the report on one network."""

    data: Any
    """Value in the JSON: dataclasses, arrays, lists and numbers."""
    basis: str = ""
    """A sentence about the characters that the numbers are based on."""
    figure: Chart | Drawing | None = None
    table: Table | None = None
    html: str = ""
    """Additional HTML on the page."""
    summary: str = ""
    """A predicate for the summary of the page: "uses 9 characters of context"; empty = none."""


@dataclass(frozen=True)
class Section:
    """A section of every report."""

    name: str
    """Key in the JSON, name of the figure, and anchor on the page."""
    title: str
    equation: str
    """Equation, with the names used in the code, see `charlm.inspection.html.equation`."""
    text: str
    """An explanation of the figure, with definitions."""
    make: Callable[[Reading], Content]
    """A function that makes the section for one network; raises CharlmError or LinAlgError."""
