"""Pictures as plain pixels: a text coloured by surprise, and curves by lag. They take a few milliseconds each.

matplotlib draws the glyphs; its figures would take a hundred times as long. The background is white and the colours are
told apart by the colour-blind (Okabe and Ito 2008).
"""

import functools
import math
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from charlm.network.gradients import LagCurve
from charlm.network.rnn import Floats
from charlm.training.views import Picture

CELL_WIDTH, CELL_HEIGHT, BASELINE = 9, 18, 13
"""Pixels of a character, and from its top to its baseline."""
FONT_SIZE = 14
COLUMNS = 40
"""Characters in a line of the text: as many as can be read at the size at which TensorBoard shows pictures."""
MARGIN = 9
MOST_NATS = 6.0
"""The surprise that has the darkest colour; larger ones have it too."""
DARK = np.array([8, 60, 130], np.float32)
LINE_BREAK, BLANK = "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}", "\N{WHITE SQUARE}"
LAYER_COLOURS = np.array([[0, 114, 178], [213, 94, 0], [0, 158, 115], [204, 121, 167], [86, 180, 233], [230, 159, 0]])
BLACK, GREY = np.zeros(3), np.full(3, 225.0)
PLOT_WIDTH, PLOT_HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 270, 189, 54, 36, 63, 45
LOWEST = 1e-8
"""The lowest end of the axis of gradients."""


def encode_png(picture: Picture) -> bytes:
    """Return a picture as a PNG file."""
    height, width, _ = picture.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), picture.reshape(height, -1)], axis=1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits each of red, green and blue
    body = zlib.compress(rows.tobytes(), 6)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def draw_surprise(glyphs: Sequence[str], nats: Floats) -> Picture:
    """Draw a text, each character on a colour that is darker the more surprising it is, with a scale below.

    Args:
        glyphs: Characters; a line break is drawn as an arrow and begins a new line.
        nats: The surprise of each, float32 [number of glyphs].

    """
    cells = []  # (row, column, glyph, nats)
    row = column = 0
    for glyph, surprise in zip(glyphs, nats.tolist(), strict=True):
        if column == COLUMNS:
            row, column = row + 1, 0
        cells.append((row, column, LINE_BREAK if glyph == "\n" else glyph, surprise))
        row, column = (row + 1, 0) if glyph == "\n" else (row, column + 1)
    rows = row + 1
    scale = [(rows + 1, 7 + step, " ", MOST_NATS * step / 12) for step in range(13)]
    shape = (2 * MARGIN + (rows + 2) * CELL_HEIGHT, 2 * MARGIN + COLUMNS * CELL_WIDTH, 3)
    pixels = np.full(shape, 255, np.float32)
    for at_row, at_column, glyph, surprise in [*cells, *scale]:
        top, left = MARGIN + at_row * CELL_HEIGHT, MARGIN + at_column * CELL_WIDTH
        colour = _surprise_colour(surprise)
        pixels[top : top + CELL_HEIGHT, left : left + CELL_WIDTH] = colour
        _draw_text(pixels, left, top, glyph, BLACK if colour.mean() > 140 else np.full(3, 255.0))
    top = MARGIN + (rows + 1) * CELL_HEIGHT
    _draw_text(pixels, MARGIN, top, "0 nats", BLACK)
    _draw_text(pixels, MARGIN + 21 * CELL_WIDTH, top, f"{MOST_NATS:g} nats or more", BLACK)
    return pixels.astype(np.uint8)


def draw_lags(names: Sequence[str], curves: Sequence[LagCurve]) -> Picture:
    """Draw the gradient by lag: a line for the median of each layer, a band from the 10th to the 90th percentile.

    Args:
        names: The name of each layer.
        curves: Its curve; all of the same length K, at least 1.

    """
    values = np.concatenate([[1.0], *(np.concatenate([curve.low, curve.high]) for curve in curves)])
    positive = values[np.isfinite(values) & (values > 0)]
    bottom = math.floor(math.log10(max(LOWEST, min(0.1, float(positive.min())))))
    top = min(12, math.ceil(math.log10(max(1.0, float(positive.max())))))
    pixels = np.full((TOP + PLOT_HEIGHT + BOTTOM, LEFT + PLOT_WIDTH + RIGHT, 3), 255, np.float32)
    pixels[TOP : TOP + PLOT_HEIGHT, LEFT : LEFT + PLOT_WIDTH] = _draw_curves(curves, bottom=bottom, top=top)
    _draw_frame(pixels, names, lags=len(curves[0].median), bottom=bottom, top=top)
    return pixels.astype(np.uint8)


def _draw_curves(curves: Sequence[LagCurve], *, bottom: int, top: int) -> Floats:
    """Return the inside of the plot, whose axis goes from 10^bottom to 10^top: float32 [height, width, 3]."""
    fine = 2  # drawn at twice the size, so that edges are smooth
    plot = np.full((fine * PLOT_HEIGHT, fine * PLOT_WIDTH, 3), 255, np.float32)

    def to_y(ratios: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the height of a curve in each column of the plot, in pixels from its top."""
        with np.errstate(divide="ignore", invalid="ignore"):
            decades = np.clip(np.log10(ratios), bottom - 1, top)  # what is below the plot is not drawn
        at = np.linspace(0, len(ratios) - 1, fine * PLOT_WIDTH)
        return np.asarray(np.interp(at, np.arange(len(ratios)), (top - decades) / (top - bottom) * len(plot)))

    for decade in range(bottom + 1, top):
        height = round(len(plot) * (top - decade) / (top - bottom))
        plot[height : height + fine] = GREY
    for opacity in (0.2, 1.0):  # the lines above all bands
        for layer, curve in enumerate(curves):
            low, median, high = (to_y(part) for part in (curve.low, curve.median, curve.high))
            half = fine + np.abs(np.gradient(median)) / 2  # half the height of the line, more if it is steep
            above, below = (high, low) if opacity < 1 else (median - half, median + half)
            _fill(plot, above, below, LAYER_COLOURS[layer % len(LAYER_COLOURS)], opacity=opacity)
    smooth: Floats = plot.reshape(PLOT_HEIGHT, fine, PLOT_WIDTH, fine, 3).mean((1, 3))
    return smooth


def _draw_frame(pixels: Floats, names: Sequence[str], *, lags: int, bottom: int, top: int) -> None:
    pixels[TOP - 1 : TOP + PLOT_HEIGHT + 1, [LEFT - 1, LEFT + PLOT_WIDTH]] = 90
    pixels[[TOP - 1, TOP + PLOT_HEIGHT], LEFT - 1 : LEFT + PLOT_WIDTH + 1] = 90
    _draw_text(pixels, LEFT, 9, "|dL_t/dh_(t-k)| / |dL_t/dh_t|", BLACK)
    every = max(1, -(-(top - bottom) // 6))
    for decade in range(bottom, top + 1, every):
        y = TOP + round(PLOT_HEIGHT * (top - decade) / (top - bottom))
        label = {0: "1", -1: "0.1", 1: "10"}.get(decade, f"1e{decade}")
        _draw_text(pixels, LEFT - 5 - CELL_WIDTH * len(label), y - CELL_HEIGHT // 2, label, BLACK)
    for lag in range(0, lags, max(1, -(-lags // 5))):
        x = LEFT + round(PLOT_WIDTH * lag / max(1, lags - 1))
        pixels[TOP + PLOT_HEIGHT : TOP + PLOT_HEIGHT + 5, x : x + 1] = 90
        _draw_text(pixels, x - CELL_WIDTH * len(str(lag)) // 2, TOP + PLOT_HEIGHT + 6, str(lag), BLACK)
    title = "lag k, characters"
    _draw_text(pixels, LEFT + PLOT_WIDTH - CELL_WIDTH * len(title), TOP + PLOT_HEIGHT + 24, title, BLACK)
    for layer, name in enumerate(names[: PLOT_HEIGHT // CELL_HEIGHT]):
        colour = LAYER_COLOURS[layer % len(LAYER_COLOURS)]
        _draw_text(pixels, LEFT + PLOT_WIDTH + 9, TOP + layer * CELL_HEIGHT, name, colour)


def _fill(
    pixels: Floats,
    above: NDArray[np.float64],
    below: NDArray[np.float64],
    colour: NDArray[np.float64],
    *,
    opacity: float,
) -> None:
    """Blend a colour into each column between two heights [width]; a column where one is NaN is left as it is."""
    rows = np.arange(len(pixels))[:, None]
    inside = (rows >= np.floor(above)) & (rows <= np.ceil(below))
    pixels[inside] += np.float32(opacity) * (colour.astype(np.float32) - pixels[inside])


def _surprise_colour(nats: float) -> Floats:
    share = np.float32(1.0 if math.isnan(nats) else min(max(nats / MOST_NATS, 0.0), 1.0))
    return np.asarray(255 + share * (DARK - 255), np.float32)


def _draw_text(pixels: Floats, left: int, top: int, text: str, colour: NDArray[np.float64]) -> None:
    """Draw one line of text in place; what lies outside the picture is cut."""
    for index, character in enumerate(text):
        ink, x, y = _glyph(character)
        x, y = left + index * CELL_WIDTH + x, top + BASELINE - y
        place = pixels[max(0, y) : y + len(ink), max(0, x) : x + ink.shape[1]]
        part = ink[max(0, -y) :, max(0, -x) :][: place.shape[0], : place.shape[1], None]
        place += part * (colour.astype(np.float32) - place)


@functools.cache
def _glyph(character: str) -> tuple[Floats, int, int]:
    """Return the ink of a character, 0 to 1, float32 [height, width], and its place: right of the origin and above it.

    A character that the font lacks, or that has no shape, is an open square.
    """
    from matplotlib import get_data_path
    from matplotlib.ft2font import FT2Font

    font = FT2Font(f"{get_data_path()}/fonts/ttf/DejaVuSansMono.ttf")
    font.set_size(FONT_SIZE, 72)
    if len(character) != 1 or (character != " " and not character.isprintable()):
        character = BLANK
    if not font.get_char_index(ord(character)):
        character = BLANK
    glyph = font.load_char(ord(character))
    font.clear()
    font.set_text(character, 0.0)
    font.draw_glyphs_to_bitmap(antialiased=True)
    ink: Floats = np.asarray(font.get_image(), np.float32) / np.float32(255)
    return ink, round(glyph.horiBearingX / 64), round(glyph.horiBearingY / 64)
