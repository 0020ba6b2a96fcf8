"""The pictures that TensorBoard shows of an evaluation, and pictures as PNG files."""

import functools
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.network.gradients import LagCurve
from charlm.network.rnn import Floats

Picture = NDArray[np.uint8]
"""Red, green and blue, uint8 [height, width, 3]."""
CELL_WIDTH, CELL_HEIGHT, FONT_SIZE = 9, 18, 14
"""Pixels of a character."""
COLUMNS, MARGIN = 40, 9
"""Characters in a line of the text: as many as can be read at the size at which TensorBoard shows pictures."""
MOST_NATS = 6.0
"""The surprise that has the darkest colour; larger ones have it too."""
DARK = (8, 60, 130)
SCALE_STEPS = 13
LINE_BREAK, BLANK = "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}", "\N{WHITE SQUARE}"
LAYER_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
LOWEST = 1e-8
"""The lowest end of the axis of gradients."""


def encode_png(picture: Picture) -> bytes:
    """Return a picture as a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def draw_surprise(glyphs: Sequence[str], nats: Floats) -> Picture:
    """Draw a text, each character on a colour that is darker the more surprising it is, with a scale below.

    Args:
        glyphs: Characters; a line break is drawn as an arrow and begins a new line.
        nats: The surprise of each, float32 [number of glyphs].

    """
    from PIL import Image, ImageDraw

    cells = []  # (row, column, glyph, nats)
    row = column = 0
    for glyph, surprise in zip(glyphs, nats.tolist(), strict=True):
        if column == COLUMNS:
            row, column = row + 1, 0
        cells.append((row, column, glyph, surprise))
        row, column = (row + 1, 0) if glyph == "\n" else (row, column + 1)
    last = row + 2
    cells += [(last, 7 + step, " ", MOST_NATS * step / (SCALE_STEPS - 1)) for step in range(SCALE_STEPS)]
    size = (2 * MARGIN + COLUMNS * CELL_WIDTH, 2 * MARGIN + (last + 1) * CELL_HEIGHT)
    image = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(image), _font()

    def write(row: int, column: int, text: str, ink: str) -> None:
        draw.text((MARGIN + column * CELL_WIDTH, MARGIN + row * CELL_HEIGHT), text, ink, font)

    for row, column, glyph, surprise in cells:
        left, top = MARGIN + column * CELL_WIDTH, MARGIN + row * CELL_HEIGHT
        share = 1.0 if math.isnan(surprise) else min(max(surprise / MOST_NATS, 0.0), 1.0)
        colour = tuple(round(255 + share * (dark - 255)) for dark in DARK)
        draw.rectangle((left, top, left + CELL_WIDTH - 1, top + CELL_HEIGHT - 1), colour)
        write(row, column, _visible(glyph), "black" if sum(colour) > 3 * 140 else "white")
    write(last, 0, "0 nats", "black")
    write(last, 8 + SCALE_STEPS, f"{MOST_NATS:g} nats or more", "black")
    return np.asarray(image, np.uint8)


def draw_lags(curves: Sequence[LagCurve]) -> Picture:
    """Draw the gradient by lag: a line for the median of each layer, a band from the 10th to the 90th percentile.

    Args:
        curves: The curve of each layer, lowest first; all of the same length K, at least 1.

    """
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style.context(["default", {"font.family": ["DejaVu Sans"], "font.size": 9}]):
        figure = Figure(figsize=(4.2, 2.8), dpi=100)
        axes = figure.add_axes((0.2, 0.18, 0.77, 0.78))  # fixed: a layout that is computed takes most of the time
        for layer, curve in enumerate(curves):
            colour, lags = LAYER_COLOURS[layer % len(LAYER_COLOURS)], np.arange(len(curve.median))
            axes.fill_between(lags, _drawable(curve.low), _drawable(curve.high), color=colour, alpha=0.2, linewidth=0)
            axes.plot(lags, _drawable(curve.median), color=colour, label=f"rnn.{layer}")
        axes.set(yscale="log", xlabel="lag k, characters", ylabel="|dL_t/dh_(t-k)| / |dL_t/dh_t|")
        axes.legend(frameon=False)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.array(canvas.buffer_rgba())[:, :, :3]


def _drawable(ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ratios as a logarithmic axis takes them: 0, and what is not known, is drawn at its lower end."""
    return np.clip(np.nan_to_num(ratios, nan=0.0), LOWEST, 1 / LOWEST)


def _visible(glyph: str) -> str:
    if glyph == "\n":
        return LINE_BREAK
    return glyph if glyph == " " or (len(glyph) == 1 and glyph.isprintable()) else BLANK


@functools.cache
def _font() -> Any:
    from matplotlib import get_data_path
    from PIL import ImageFont

    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSansMono.ttf", FONT_SIZE)
