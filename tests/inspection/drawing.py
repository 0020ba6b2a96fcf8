"""A report as plain lines: what its figures show, then the elements and texts of its page.

    PYTHONPATH=tests python -m inspection.drawing

writes tests/golden/report.txt. Look at the page first, and at the
difference afterwards.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from inspection.reports import report
from javascript import Tree
from matplotlib.artist import Artist
from matplotlib.collections import Collection
from matplotlib.lines import Line2D
from matplotlib.text import Text

from charlm.inspection.report import render_page
from charlm.inspection.style import Figure

GOLDEN = Path(__file__).parents[1] / "golden/report.txt"
MOST = 24
"""Largest number of values that are shown for an artist."""


def show(values: Any) -> str:
    """Return the first numbers of an array in a line, with 4 digits."""
    return " ".join(f"{value:.4g}" for value in np.ravel(values)[:MOST])


def describe_figure(figure: Figure) -> Iterator[str]:
    """Yield the legends of a figure, and the titles, scales and contents of its axes."""
    for legend in figure.legends:
        yield f"legend {[text.get_text() for text in legend.get_texts()]}"
    for axes in figure.axes:
        yield f"axes {axes.get_title(loc='left')!r}"
        yield f"x {axes.get_xlabel()!r} {axes.get_xscale()}"
        yield f"y {axes.get_ylabel()!r} {axes.get_yscale()}"
        names = [label.get_text() for label in axes.get_yticklabels()]
        if any(name.isalpha() for name in names):
            yield f"names {names}"
        for artist in axes.get_children():
            yield from describe_artist(artist)


def describe_artist(artist: Artist) -> Iterator[str]:
    """Yield the colour of an artist, its text, and the numbers that it shows."""
    match artist:
        case Line2D():
            look = f"{artist.get_color()} {artist.get_linestyle()} {artist.get_marker()}"
            yield f"line {artist.get_label()} {look}: {show(artist.get_xydata())}"
        case Collection():
            paths = [path.vertices for path in artist.get_paths()]
            edges = np.unique(np.concatenate([[[0, 0]], *paths]), axis=0)
            colour = show(artist.get_facecolor())
            offsets = show(artist.get_offsets())
            yield f"points {artist.get_label()} {colour}: {show(edges)}, {offsets}"
        case Text() if artist.get_text():
            yield f"text {artist.get_text()!r} {artist.get_color()}"


def outline(nodes: list[Any], parent: str = "") -> Iterator[str]:
    """Yield the elements and texts of a page, without images, styles, scripts and their hashes."""
    for node in nodes:
        if not isinstance(node, str):
            name, attributes, children = node
            shown = [
                f"{key}={value}"
                for key, value in attributes.items()
                if key not in {"src", "content"}
            ]
            yield " ".join([name, *shown])
            yield from outline(children, name)
        elif node.strip() and parent not in {"style", "script"}:
            yield " ".join(node.split())


def describe() -> list[str]:
    """Return the lines of a report on a small network."""
    lines = []
    for name, figure in report().figures.items():
        lines += [f"# {name}", *describe_figure(figure)]
    return [*lines, "# page", *outline(Tree(render_page([report()])).nodes)]


if __name__ == "__main__":
    GOLDEN.write_text("\n".join(describe()) + "\n", encoding="utf-8")
