"""Pictures as pixels: what can be read off them, and that any text and any curve gives one."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray

from charlm.network.gradients import LagCurve
from charlm.training.pictures import (
    BLANK,
    CELL_HEIGHT,
    CELL_WIDTH,
    COLUMNS,
    LEFT,
    MARGIN,
    PLOT_HEIGHT,
    PLOT_WIDTH,
    TOP,
    _glyph,
    draw_lags,
    draw_surprise,
    encode_png,
)
from charlm.training.views import Picture


def background(picture: Picture, row: int, column: int) -> NDArray[np.uint8]:
    """Return the colour at the corner of a cell of the text, which no glyph reaches."""
    return np.asarray(picture[MARGIN + row * CELL_HEIGHT, MARGIN + column * CELL_WIDTH])


def curve(values: NDArray[np.float64]) -> LagCurve:
    return LagCurve(0, np.arange(len(values)), values, values / 2, values * 2)


def test_a_png_is_read_back_as_the_same_pixels() -> None:
    image = pytest.importorskip("PIL.Image", reason="missing: Pillow")
    picture = np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)
    np.testing.assert_array_equal(np.asarray(image.open(io.BytesIO(encode_png(picture)))), picture)


def test_a_more_surprising_character_is_darker() -> None:
    picture = draw_surprise("abc", np.array([0, 3, 9], np.float32))
    first, second, third = (background(picture, 0, column).astype(int) for column in range(3))
    assert first.tolist() == [255, 255, 255]
    assert first.sum() > second.sum() > third.sum()


def test_a_line_break_and_a_full_line_begin_a_new_one() -> None:
    nats = np.full(COLUMNS + 3, 6.0, np.float32)
    picture = draw_surprise("a\n" + "b" * (COLUMNS + 1), nats)
    dark = background(picture, 0, 0).tolist()
    assert [background(picture, row, 0).tolist() == dark for row in range(4)] == [True, True, True, False]
    assert background(picture, 0, 2).tolist() == [255, 255, 255]


def test_the_glyphs_are_drawn_on_their_cells() -> None:
    plain, drawn = (draw_surprise(text, np.zeros(1, np.float32))[:30] for text in (" ", "W"))
    changed = np.argwhere((plain != drawn).any(-1))
    assert changed.min(0).tolist() >= [MARGIN, MARGIN]
    assert changed.max(0).tolist() < [MARGIN + CELL_HEIGHT, MARGIN + CELL_WIDTH + 2]
    assert len(changed) > 30


@pytest.mark.parametrize("character", ["\x1b", "\u202e", "\N{CJK UNIFIED IDEOGRAPH-4E00}", "", "\ud800", "\0"])
def test_what_the_font_lacks_is_an_open_square(character: str) -> None:
    np.testing.assert_array_equal(_glyph(character)[0], _glyph(BLANK)[0])


def test_an_empty_text_and_nats_that_are_not_finite_are_drawn() -> None:
    assert draw_surprise("", np.zeros(0, np.float32)).dtype == np.uint8
    assert draw_surprise("ab", np.array([np.nan, np.inf], np.float32)).dtype == np.uint8


def darkest_row(picture: Picture, share: float) -> float:
    """Return the height of the curve in the plot at a share of its width, 0 at the top and 1 at the bottom."""
    column = picture[TOP : TOP + PLOT_HEIGHT, LEFT + round(share * (PLOT_WIDTH - 1))].astype(int).sum(-1)
    return float(column.argmin() / PLOT_HEIGHT)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_a_curve_that_falls_by_the_same_factor_is_a_straight_line(share: float) -> None:
    falling = 10.0 ** (-4 * np.linspace(0, 1, 65))
    picture = draw_lags(["rnn.0"], [LagCurve(0, np.arange(65), falling, falling, falling)])
    assert darkest_row(picture, share) == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize(
    "values",
    [
        *(np.ones(64), np.full(64, np.nan), np.zeros(64), np.ones(1)),
        *(np.full(9, np.inf), 1e30 ** np.arange(4.0), -np.ones(3)),
    ],
    ids=["constant", "nan", "zero", "single", "infinite", "huge", "negative"],
)
def test_any_curve_gives_a_picture_of_the_same_size(values: NDArray[np.float64]) -> None:
    usual = draw_lags(["rnn.0"], [curve(np.exp(-np.arange(64.0)))])
    assert draw_lags(["rnn.0"], [curve(values)]).shape == usual.shape


def test_many_layers_are_drawn() -> None:
    picture = draw_lags([f"rnn.{index}" for index in range(64)], [curve(np.exp(-np.arange(9.0)))] * 64)
    assert picture.dtype == np.uint8
