"""The pictures of an evaluation: what can be read from their pixels."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from charlm.network.gradients import LagCurve
from charlm.training.pictures import (
    CELL_HEIGHT,
    CELL_WIDTH,
    COLUMNS,
    MARGIN,
    Picture,
    draw_lags,
    draw_surprise,
    encode_png,
)


def background(picture: Picture, row: int, column: int) -> NDArray[np.uint8]:
    """Return the colour at the corner of a cell of the text, which no glyph reaches."""
    return np.asarray(picture[MARGIN + row * CELL_HEIGHT, MARGIN + column * CELL_WIDTH])


def curve(values: NDArray[np.float64]) -> LagCurve:
    return LagCurve(0, np.arange(len(values)), values, values / 2, values * 2)


def test_a_png_is_read_back_as_the_same_pixels() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encode_png(picture)))), picture)


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
    assert len(changed) > 20


@pytest.mark.parametrize("text", ["", "ab", "\x1b\u202e", "\N{CJK UNIFIED IDEOGRAPH-4E00}", "\ud800\0"])
def test_any_text_is_drawn_with_nats_of_any_kind(text: str) -> None:
    nats = np.array([np.nan, np.inf], np.float32)[: len(text)]
    assert draw_surprise(text, nats).dtype == np.uint8


@pytest.mark.parametrize(
    "values",
    [
        *(np.exp(-np.arange(64.0)), np.ones(64), np.full(64, np.nan), np.zeros(64), np.ones(1)),
        *(np.full(9, np.inf), 1e30 ** np.arange(4.0), -np.ones(3)),
    ],
    ids=["falling", "constant", "nan", "zero", "single", "infinite", "huge", "negative"],
)
def test_any_curves_give_a_picture_of_the_same_size(values: NDArray[np.float64]) -> None:
    assert draw_lags([curve(values)] * 8).shape == (280, 420, 3)


def test_a_curve_that_falls_by_the_same_factor_falls_in_a_straight_line() -> None:
    falling = 10.0 ** (-4 * np.linspace(0, 1, 65))
    blue = (draw_lags([LagCurve(0, np.arange(65), falling, falling, falling)]) == (0, 114, 178)).all(
        -1
    )  # of the line of layer 0
    rows, columns = np.nonzero(blue[60:-60, 100:-60])
    assert np.corrcoef(rows, columns)[0, 1] > 0.99
