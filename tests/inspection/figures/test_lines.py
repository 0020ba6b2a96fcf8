"""Pieces that several figures draw."""

import numpy as np
import pytest

from charlm.inspection.figures.lines import FLOOR, legend, log_scale, positive, power
from charlm.inspection.figures.look import canvas, look


def test_what_a_logarithmic_axis_cannot_show_is_left_out() -> None:
    found = positive([0.0, 1.0, -2.0, np.inf])
    assert np.isnan(found).tolist() == [True, False, True, True]


def test_an_axis_without_a_positive_value_stays_linear() -> None:
    _, ((axes,),) = canvas()
    log_scale(axes, [0.0, 0.0])
    assert axes.get_yscale() == "linear"
    log_scale(axes, [0.0, 1.0])
    assert axes.get_yscale() == "log"


def test_what_is_below_the_floor_does_not_press_the_rest_together() -> None:
    _, ((axes,),) = canvas()
    axes.plot([0, 1], [1e-40, 1.0])
    log_scale(axes, [1e-40, 1.0])
    assert axes.get_ylim()[0] == FLOOR


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (1.0, "1"),
        (0.01, "0.01"),
        (100.0, "100"),
        (1e-5, "10⁻⁵"),
        (1e12, "10¹²"),
        (2e-7, "2\N{MULTIPLICATION SIGN}10⁻⁷"),
    ],
)
def test_powers_of_ten_are_written_without_mathematical_markup(value: float, label: str) -> None:
    assert power(value) == label


def test_a_label_is_in_the_legend_once() -> None:
    with look():
        figure, ((upper,), (lower,)) = canvas(2)
        for axes in (upper, lower):
            axes.plot([0, 1], [0, 1], label="the same")
        legend(figure)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["the same"]


def test_there_is_no_legend_without_a_label() -> None:
    figure, _ = canvas()
    legend(figure)
    assert not figure.legends
