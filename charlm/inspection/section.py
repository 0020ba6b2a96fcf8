"""The parts of a section of a report.

Each section has a module of its own, which computes the numbers, draws and explains them, and names the characters that
they are based on. `charlm.inspection.sections` lists the sections, `charlm.inspection.report` makes pages of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from charlm.inspection.figures import Figure, Panel, draw_panels
from charlm.inspection.reading import Reading


@dataclass(frozen=True)
class Sample:
    """The characters of a text that a number is based on. The first character of the text is character 1."""

    first: int
    last: int
    count: int
    """The number of characters, which are evenly spaced from first to last."""

    @classmethod
    def of(cls, indices: range | NDArray[Any]) -> "Sample":
        """Return the sample with these indices of ids: rising, at least one, counted from 0."""
        return cls(int(indices[0]) + 1, int(indices[-1]) + 1, len(indices))

    def __str__(self) -> str:
        """Return for instance "1,999 characters (2 to 2,000)"."""
        if self.count == 1:
            return f"1 character ({self.first:,})"
        is_whole = self.count == self.last - self.first + 1
        spacing = "" if is_whole else "evenly spaced "
        return f"{self.count:,} {spacing}characters ({self.first:,} to {self.last:,})"


@dataclass(frozen=True)
class Chart:
    """A figure that can show several runs in the same axes."""

    panels: Sequence[Panel]
    caption: str
    """A description of the figure in full sentences."""
    details: str = ""
    """A description of the bands and extra curves, which only the figure of a single run has, in full sentences."""

    def draw(self) -> Figure:
        """Draw the panels of a single run."""
        return draw_panels(self.panels)


@dataclass(frozen=True)
class Drawing:
    """A figure that each run has for itself."""

    draw: Callable[[], Figure]
    caption: str
    """A description of the figure in full sentences."""


@dataclass(frozen=True)
class Table:
    """A table of numbers."""

    caption: str
    """A description of the columns and their errors in full sentences."""
    columns: Mapping[str, Sequence[object]]
    """The cells of each column by its heading: numbers, None for a missing one, pairs of a number and its standard
    error, or texts."""
    is_open: bool = False
    """Whether the reader sees it without opening it."""

    @property
    def rows(self) -> list[tuple[object, ...]]:
        """The cells of each row."""
        return list(zip(*self.columns.values(), strict=True))


@dataclass(frozen=True, eq=False)
class Content:
    """A section of the report on one network."""

    data: Any
    """The value in the JSON: dataclasses, arrays, lists and numbers."""
    basis: str = ""
    """A sentence about the characters that the numbers are based on."""
    figure: Chart | Drawing | None = None
    table: Table | None = None
    html: str = ""
    """HTML that the page shows in addition."""
    summary: str = ""
    """A predicate for the first sentence of the page: "uses 9 characters of context"; empty = none."""


@dataclass(frozen=True)
class Section:
    """A section of every report."""

    name: str
    """Its key in the JSON, the name of its figure, and its anchor on the page."""
    title: str
    equation: str
    """Its equation in the names of the code; _t and _{t-k} are subscripts, ^T and ^{-1} superscripts."""
    text: str
    """An explanation of the figure, with definitions."""
    make: Callable[[Reading], Content]
    """Makes the section for one network; raises CharlmError or LinAlgError if it cannot."""
