"""What a report shows, as plain lines: the artists of its figures, then the elements and texts of its page.

    PYTHONPATH=tests python -m inspection.drawing

writes tests/golden/report.txt. Look at the page before that, and at the difference after it.
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
"""Of so many numbers, those of an artist, the first are shown."""


def show(values: Any) -> str:
    """Return numbers in a line, with 4 digits."""
    return " ".join(f"{value:.4g}" for value in np.ravel(values)[:MOST])


def describe_figure(figure: Figure) -> Iterator[str]:
    """Yield the size of a figure, its legend, and the titles, limits, labels and artists of its axes."""
    yield f"{show(figure.get_size_inches())} inches, {figure.get_layout_engine()!r:.40}"
    yield from (
        f"legend {[text.get_text() for text in legend.get_texts()]}" for legend in figure.legends
    )
    for axes in figure.axes:
        place = axes.get_subplotspec()
        geometry = place and tuple(map(int, place.get_geometry()))
        yield f"axes {geometry} {axes.get_title(loc='left')!r}, on: {axes.axison}"
        yield f"x {axes.get_xlabel()!r}, y {axes.get_ylabel()!r}, {axes.get_aspect()}"
        yield f"x {axes.get_xscale()} {show(axes.get_xlim())}, y {axes.get_yscale()} {show(axes.get_ylim())}"
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
            edges = np.unique(
                np.concatenate([[[0, 0]], *(path.vertices for path in artist.get_paths())]), axis=0
            )
            colour, offsets = show(artist.get_facecolor()), show(artist.get_offsets())
            yield f"points {artist.get_label()} {colour}: {show(edges)}, {offsets}"
        case Annotation(arrow_patch=arrow) if arrow is not None:
            style, places = arrow.get_connectionstyle(), (artist.xy, artist.get_position())
            yield f"arrow {show(arrow.get_edgecolor())} {vars(style)}: {show(places)}"
        case Text() if artist.get_text():
            sides = (artist.get_horizontalalignment(), artist.get_verticalalignment())
            font = f"{artist.get_fontsize()} {artist.get_color()} {sides}"
            yield f"text {artist.get_text()!r} {font}: {show(artist.get_position())}"
        case FancyBboxPatch() | Circle():
            shape = artist.get_path().get_extents().extents
            yield f"{type(artist).__name__} {show(artist.get_edgecolor())} {artist.get_fill()}: {show(shape)}"


class Outline(HTMLParser):
    """The elements and texts of a page, a line each, but for images, styles, scripts and their hashes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.lines.append(
            " ".join(
                [
                    tag,
                    *(f"{name}={value}" for name, value in attrs if name not in ("src", "content")),
                ]
            )
        )

    def handle_data(self, data: str) -> None:
        if data.strip() and self.lines[-1].split()[0] not in {"style", "script"}:
            self.lines.append(" ".join(data.split()))


def describe() -> list[str]:
    """Return the lines of a report on a small random network, and of the diagram of one with everything."""
    shown, large = report(), random_parameters(layers=3, embedding=3, skip_connections=True)
    figures = draw_figures([shown])
    page = Outline(render_page([shown], figures)).lines
    figures["network with everything"] = draw_network(list_parts(large))
    return [
        *(line for name in figures for line in (f"# {name}", *describe_figure(figures[name]))),
        "# page",
        *page,
    ]


if __name__ == "__main__":
    GOLDEN.write_text("\n".join(describe()) + "\n", encoding="utf-8")
