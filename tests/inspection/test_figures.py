"""Every figure shows the numbers of the report, and can be drawn from what little a report may hold."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from inspection.reports import report
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from charlm.inspection.fixed_points import FixedPoint, HeldCharacter
from charlm.inspection.prediction import draw_loss
from charlm.inspection.reach import point_rows
from charlm.inspection.report import SECTIONS
from charlm.inspection.section import Report

DRAWN = {chart.name: (section, chart) for section in SECTIONS for chart in section.charts}


def draw(name: str, found: Report) -> Figure:
    """Return the figure of a chart."""
    section, chart = DRAWN[name]
    figure = section.draw(chart, found)
    assert figure is not None
    return figure


def line(figure: Figure, label: str, *, axes: int = 0) -> tuple[list[float], list[float]]:
    """Return the points of the line with a label."""
    found = next(each for each in figure.axes[axes].lines if each.get_label() == label)
    return np.asarray(found.get_xdata()).tolist(), np.asarray(found.get_ydata()).tolist()


def bars(figure: Figure, *, axes: int = 0) -> list[tuple[float, float]]:
    """Return the width and the height of each bar of some axes."""
    found = [patch for patch in figure.axes[axes].patches if isinstance(patch, Rectangle)]
    return [(bar.get_width(), bar.get_height()) for bar in found]


def texts(figure: Figure) -> list[str]:
    """Return the texts inside the axes of a figure."""
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.fixture(scope="module")
def whole() -> Report:
    """Return a report that has every part."""
    return report()


@pytest.mark.parametrize("name", DRAWN)
def test_every_chart_has_a_title_and_names_its_axes(whole: Report, name: str) -> None:
    for axes in draw(name, whole).axes:
        assert axes.get_title(loc="left")
        assert not axes.axison or (axes.get_xlabel() and axes.get_ylabel())


@pytest.mark.parametrize(
    ("name", "label", "shown"),
    [
        ("gradient-by-lag", "rnn.1", lambda found: (found.layers[1].lag, found.layers[1].median)),
        ("usable-context", "network", lambda found: (found.characters, found.nats)),
        ("usable-context", "n-gram, n = k + 1", lambda found: (found.ngram_order - 1, found.ngram_nats)),
        ("curves", "validation", lambda found: (found.validation.steps, found.validation.nats_per_char)),
        ("units", "chance", lambda _: (np.array([0.31, 0.4]), np.arange(2))),
    ],
)
def test_a_line_is_that_of_the_numbers(
    whole: Report, name: str, label: str, shown: Callable[[Any], tuple[Any, Any]]
) -> None:
    expected = shown(whole.get(DRAWN[name][0].quantities[0].name))
    assert line(draw(name, whole), label) == (expected[0].tolist(), expected[1].tolist())


def test_every_eigenvalue_has_its_point_and_the_unit_circle_fits(whole: Report) -> None:
    figure = draw("eigenvalues", whole)
    assert len(figure.axes) == 2
    points = figure.axes[0].lines[0]
    assert np.asarray(points.get_xdata()).tolist() == whole.get("spectrum")[0].eigenvalues.real.tolist()
    assert figure.axes[0].get_xlim()[1] > 1


def test_an_exponent_of_minus_infinity_is_left_out(whole: Report) -> None:
    exponents = np.array([-0.05, -0.4, -np.inf])
    found = draw("lyapunov", replace(whole, found={"lyapunov": replace(whole.get("lyapunov"), exponents=exponents)}))
    assert np.asarray(found.axes[0].lines[0].get_xydata()).tolist() == [[1, -0.05], [2, -0.4]]


def test_fixed_and_slow_points_are_told_apart(whole: Report) -> None:
    stable = FixedPoint(True, 1e-12, 3.0, 0.83, 0, True, 5.4, 5, ((2, 0.8),))
    slow = FixedPoint(False, 1e-3, 2.0, 1.04, 1, False, None, 1, ((3, 0.4),))
    held = (HeldCharacter(0, "settles", 1, (stable, slow)), HeldCharacter(8, "wanders", None, ()))
    rows = point_rows(held, whole.characters)
    assert [row[:4] for row in rows] == [
        *(("␣", "settles", 1, "stable"), ("␣", "settles", 1, "slow")),
        ("\\u202e", "wanders", None, None),
    ]


def test_learning_curves_have_the_simple_models_named_without_overlap(whole: Report) -> None:
    figure = draw("curves", whole)
    names = {text.get_text(): text.get_position()[1] for text in figure.axes[0].texts}
    assert list(names) == ["uniform", "unigram", "5-gram", "lzma"]
    low, high = figure.axes[0].get_ylim()
    assert names["5-gram"] - names["lzma"] >= 0.05 * (high - low)


def test_the_loss_of_each_class_is_a_bar_and_the_n_gram_a_mark(whole: Report) -> None:
    classes = whole.get("loss_by_class").by_class
    figure = draw("loss-by-class", whole)
    assert [width for width, _ in bars(figure)] == [each.nats_per_char for each in classes]
    assert line(figure, "5-gram")[0] == [each.ngram_nats_per_char for each in classes]
    alone = replace(whole.get("loss_by_class"), ngram_order=None)
    assert len(draw_loss(alone, classes, title="Loss").axes[0].lines) == 1  # the mean


def test_the_diagram_has_a_box_for_each_part_with_its_shapes(whole: Report) -> None:
    found = texts(draw("network", whole))
    assert "rnn.0 → 5\nU 14\N{MULTIPLICATION SIGN}5  b 5" in found
    assert "V\n5\N{MULTIPLICATION SIGN}5" in found
    assert found.count("h") == 6  # two layers at three steps
