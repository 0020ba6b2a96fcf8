"""A report as plain lines: the artists of its figures, then the elements and texts of its page.

    PYTHONPATH=tests python -m inspection.drawing

writes tests/golden/report.txt. Look at the page first, and at the difference afterwards.
"""

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from inspection.reports import report
from matplotlib.artist import Artist
from matplotlib.collections import Collection
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyBboxPatch
from matplotlib.text import Annotation, Text
from models import random_parameters

from charlm.inspection.figures import Figure
from charlm.inspection.network import draw_network, list_parts
from charlm.inspection.report import draw_figures, render_page

GOLDEN = Path(__file__).parents[1] / "golden/report.txt"
MOST = 24
"""Largest number of values that are shown for an artist."""


def show(values: Any) -> str:
    """Return the first numbers of an array in a line, with 4 digits."""
    return " ".join(f"{value:.4g}" for value in np.ravel(values)[:MOST])


def describe_figure(figure: Figure) -> Iterator[str]:
    """Yield the size of a figure, its legends, and the titles, limits and artists of its axes."""
    yield f"{show(figure.get_size_inches())} inches, {figure.get_layout_engine()!r:.40}"
    for legend in figure.legends:
        yield f"legend {[text.get_text() for text in legend.get_texts()]}"
    for axes in figure.axes:
        place = axes.get_subplotspec()
        geometry = place and tuple(map(int, place.get_geometry()))
        yield f"axes {geometry} {axes.get_title(loc='left')!r}, on: {axes.axison}"
        yield f"x {axes.get_xlabel()!r}, y {axes.get_ylabel()!r}, {axes.get_aspect()}"
        x_scale = f"x {axes.get_xscale()} {show(axes.get_xlim())}"
        y_scale = f"y {axes.get_yscale()} {show(axes.get_ylim())}"
        yield f"{x_scale}, {y_scale}"
        yield f"y {[label.get_text() for label in axes.get_yticklabels()]}"
        for artist in axes.get_children():
            yield from describe_artist(artist)


def describe_artist(artist: Artist) -> Iterator[str]:
    """Yield how an artist looks and where it is."""
    match artist:
        case Line2D():
            look = (
                artist.get_color(),
                artist.get_linestyle(),
                artist.get_marker(),
                artist.get_linewidth(),
            )
            yield f"line {artist.get_label()} {look}: {show(artist.get_xydata())}"
        case Collection():
            paths = [path.vertices for path in artist.get_paths()]
            edges = np.unique(np.concatenate([[[0, 0]], *paths]), axis=0)
            colour = show(artist.get_facecolor())
            offsets = show(artist.get_offsets())
            yield f"points {artist.get_label()} {colour}: {show(edges)}, {offsets}"
        case Annotation(arrow_patch=arrow) if arrow is not None:
            style = vars(arrow.get_connectionstyle())
            places = show((artist.xy, artist.get_position()))
            yield f"arrow {show(arrow.get_edgecolor())} {style}: {places}"
        case Text() if artist.get_text():
            sides = (artist.get_horizontalalignment(), artist.get_verticalalignment())
            font = f"{artist.get_fontsize()} {artist.get_color()} {sides}"
            yield f"text {artist.get_text()!r} {font}: {show(artist.get_position())}"
        case FancyBboxPatch() | Circle():
            edge = f"{show(artist.get_edgecolor())} {artist.get_fill()}"
            shape = show(artist.get_path().get_extents().extents)
            yield f"{type(artist).__name__} {edge}: {shape}"


class Outline(HTMLParser):
    """The elements and texts of a page, without images, styles, scripts and their hashes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        shown = [f"{name}={value}" for name, value in attrs if name not in {"src", "content"}]
        self.lines.append(" ".join([tag, *shown]))

    def handle_data(self, data: str) -> None:
        if data.strip() and self.lines[-1].split()[0] not in {"style", "script"}:
            self.lines.append(" ".join(data.split()))


def describe() -> list[str]:
    """Return the lines of a small report, and of the diagram of a network with every part."""
    small = report()
    figures = draw_figures([small])
    page = Outline(render_page([small], figures)).lines
    with_every_part = random_parameters(layers=3, embedding=3, skip_connections=True)
    figures["network with everything"] = draw_network(list_parts(with_every_part))
    lines = []
    for name, figure in figures.items():
        lines += [f"# {name}", *describe_figure(figure)]
    return [*lines, "# page", *page]


if __name__ == "__main__":
    GOLDEN.write_text("\n".join(describe()) + "\n", encoding="utf-8")
