"""What a section of a page consists of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from charlm.inspection.report import Report

Rows = Sequence[Sequence[object]]


@dataclass(frozen=True)
class Chart:
    """A figure that is drawn for each run."""

    name: str
    """Unique among all charts; the beginning of the names of its files."""
    label: str
    """What it shows, for a screen reader."""
    draw: Callable[[Report], Figure | None]
    """Returns None if the report lacks what the chart shows."""
    shares_limits: bool = True
    """Whether the axes of all runs get the same limits."""


@dataclass(frozen=True)
class Numbers:
    """A table that is made for each run."""

    caption: str
    head: tuple[str, ...]
    rows: Callable[[Report], Rows]
    """Empty if the report lacks what the table shows."""
    is_folded: bool = True
    """Whether the reader has to open it."""


@dataclass(frozen=True)
class Section:
    """A part of the page: what it is, what to see in it, and what is shown for each run."""

    name: str
    """The key of the JSON, and the anchor."""
    title: str
    equation: str
    """In the names of the code; `markup.equation` sets the indices."""
    see: str
    """One sentence that says what to see."""
    charts: tuple[Chart, ...] = ()
    numbers: tuple[Numbers, ...] = ()
    view: Callable[[Report, int], str] | None = None
    """Returns HTML, given a report and its number on the page; "" if the report lacks it."""
    is_optional: bool = False
    """Whether it is left out, not reported as missing, if no run has it."""
