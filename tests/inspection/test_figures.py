"""What all figures have in common, and that every figure shows the numbers of the report."""

import base64
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from inspection.reports import found
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from charlm.inspection import figures
from charlm.inspection.context import draw_usable_context
from charlm.inspection.figures import COLOURS, canvas, draw_curves, figure_style, image, share_limits
from charlm.inspection.fixed_points import FixedPoint, FixedPoints, HeldCharacter, draw_path
from charlm.inspection.inspecting import SECTIONS
from charlm.inspection.memory import draw_gradient
from charlm.inspection.stability import draw_lyapunov
from charlm.inspection.surprise import draw_loss

STABLE = FixedPoint((1.0, 2.0), 0.83, 0, True, 5, ((2, 0.8),))
DRAWN = [name for name in SECTIONS if name != "surprise"]


def draw(name: str) -> Figure:
    """Return the figure of a section."""
    figure = found(name).figure
    assert figure is not None
    return figure()


def line(figure: Figure, label: str, *, axes: int = 0) -> tuple[list[float], list[float]]:
    """Return the points of the line with a label."""
    found = next(each for each in figure.axes[axes].lines if str(each.get_label()).startswith(label))
    return np.asarray(found.get_xdata()).tolist(), np.asarray(found.get_ydata()).tolist()


def bars(figure: Figure, *, axes: int = 0) -> list[tuple[float, float]]:
    """Return the width and the height of each bar of some axes."""
    found = [patch for patch in figure.axes[axes].patches if isinstance(patch, Rectangle)]
    return [(bar.get_width(), bar.get_height()) for bar in found]


def texts(figure: Figure) -> list[str]:
    """Return the texts inside the axes of a figure."""
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.mark.parametrize("name", DRAWN)
def test_a_legend_names_what_has_a_label(name: str) -> None:
    figure = draw(name)
    labels = {label for axes in figure.axes for label in axes.get_legend_handles_labels()[1]}
    named = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
    assert named == labels


def test_the_legend_of_many_layers_is_as_wide_as_the_figure() -> None:
    curve = replace(found("gradient_by_lag").data[0], half_life=12.3)
    figure = draw_gradient([replace(curve, layer=layer) for layer in range(5)])
    image(figure, label="a")  # which places it
    assert figure.legends[0].get_window_extent().x1 <= figure.bbox.x1


@pytest.mark.parametrize(
    ("name", "label", "shown"),
    [
        ("gradient_by_lag", "rnn.1, half-life", lambda found: (found[1].lag, found[1].median)),
        ("fixed_points", "state on the text", lambda found: found.path.T),
        (
            "units",
            "chance",
            lambda found: (np.array([each.chance for each in found.features]), np.arange(len(found.features))),
        ),
    ],
)
def test_a_line_is_that_of_the_numbers(name: str, label: str, shown: Callable[[Any], tuple[Any, Any]]) -> None:
    expected = shown(found(name).data)
    assert line(draw(name), label) == (expected[0].tolist(), expected[1].tolist())


def test_the_context_is_drawn_with_its_errors_beside_the_n_grams() -> None:
    context = replace(
        found("usable_context").data,
        characters=np.array([1, 2]),
        nats=np.array([3.0, 2]),
        standard_errors=np.full(2, 0.25),
        ngram_order=np.array([2, 3]),
        ngram_nats=np.array([2.5, 1]),
        ngram_standard_errors=np.full(2, 0.125),
        gains=np.array([1.5, 0.5]),
        gain_errors=np.zeros(2),
        whole_nats=1.5,
        used=2,
    )
    figure = draw_usable_context(context)
    containers: list[Any] = figure.axes[0].containers
    drawn = {bars.get_label(): bars.lines for bars in containers}
    for name, nats, error in (("network", [3, 2], 0.25), ("n-gram, n = k + 1", [2.5, 1], 0.125)):
        points, _, (ends,) = drawn[name]
        assert points.get_xydata().tolist() == [[1, nats[0]], [2, nats[1]]]
        assert [end[:, 1].tolist() for end in ends.get_segments()] == [[mean - error, mean + error] for mean in nats]
    assert line(figure, "all characters given")[1] == [1.5, 1.5]
    assert [2, 2] in [np.asarray(each.get_xdata()).tolist() for each in figure.axes[0].lines]


def test_every_eigenvalue_has_its_point_and_the_unit_circle_fits() -> None:
    figure = draw("spectrum")
    assert len(figure.axes) == 2
    points = figure.axes[0].lines[0]
    assert np.asarray(points.get_xdata()).tolist() == found("spectrum").data[0].eigenvalues.real.tolist()
    assert figure.axes[0].get_xlim()[1] > 1


def test_an_exponent_of_minus_infinity_is_counted_not_drawn() -> None:
    exponents = np.array([-0.05, -0.4, -np.inf])
    figure = draw_lyapunov(replace(found("lyapunov").data, exponents=exponents))
    assert np.asarray(figure.axes[0].lines[0].get_xydata()).tolist() == [[1, -0.05], [2, -0.4]]
    assert [text.strip() for text in texts(figure)] == ["1 of 3 are \N{MINUS SIGN}\N{INFINITY}"]


def test_each_point_has_its_place_and_a_mark_of_its_kind() -> None:
    points = (STABLE, replace(STABLE, place=(0.5, 70.0), is_stable=False))
    found = FixedPoints(
        (HeldCharacter(0, "settles", 1, points),), np.array([[-1.0, -1], [1, 1]]), (0.5, 0.25), 64, range(2)
    )
    axes = draw_path(found).axes[0]
    assert [np.asarray(drawn.get_offsets()).tolist()[0] for drawn in axes.collections] == [[1, 2], [0.5, 70]]
    assert [drawn.get_label() for drawn in axes.collections] == [
        f"{kind}, first character held" for kind in ("stable", "unstable")
    ]


def test_a_logarithmic_axis_ends_where_rounding_begins_even_for_a_band() -> None:
    _, (axes,) = canvas("a")
    draw_curves(axes, [0, 1], {"a": ([1.0, 0.1], [1e-67, 1e-50], [1, 1])})
    assert axes.get_ylim() == (1e-10, 3)


def test_the_loss_of_each_class_is_a_bar_and_the_n_gram_a_mark() -> None:
    loss = found("loss_by_class").data
    figure = draw("loss_by_class")
    for axes, classes in enumerate((loss.by_class, loss.by_word_place)):
        assert [width for width, _ in bars(figure, axes=axes)] == [each.nats_per_char for each in classes]
        assert line(figure, f"{loss.ngram_order}-gram", axes=axes)[0] == [each.ngram_nats_per_char for each in classes]
    assert len(draw_loss(replace(loss, ngram_order=None)).axes[0].lines) == 1  # the mean


def test_the_diagram_has_a_box_for_each_part_with_its_shapes() -> None:
    shown = texts(draw("network"))
    assert "rnn.0 → 5\nU 14\N{MULTIPLICATION SIGN}5  b 5" in shown
    assert "V\n5\N{MULTIPLICATION SIGN}5" in shown
    assert shown.count("h") == 6  # two layers at three steps


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour by WCAG 2.2, 0 to 1."""
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    """Return the contrast of two colours by WCAG 2.2, 1 to 21."""
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


TURN = np.array([[-0.574, 1.43, 0.144], [0.426, 0.43, 0.144], [0.426, 1.43, -0.856]])
"""hue-rotate(180deg) of https://www.w3.org/TR/filter-effects-1/ for linear channels of red, green and blue."""


def turned(colour: str) -> str:
    """Return a colour of a figure as the page shows it in the dark theme."""
    channels = 1 - np.array([int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)])
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in np.clip(TURN @ channels, 0, 1))


@pytest.mark.parametrize("name", [name for name in COLOURS if name not in {"paper", "grid"}])
def test_every_colour_of_letters_and_lines_stands_out_from_the_paper(name: str) -> None:
    (light, dark), (paper, dark_paper) = COLOURS[name], COLOURS["paper"]
    for colour, ground in ((light, paper), (dark, dark_paper), (turned(light), dark_paper)):
        assert contrast(colour, ground) >= 4.5


def test_the_users_own_settings_do_not_count_and_come_back() -> None:
    with matplotlib.rc_context({"font.size": 40, "axes.grid": False}):
        with figure_style():
            figure, (axes,) = canvas("a")
            assert axes.title.get_fontsize() == 9
        assert matplotlib.rcParams["font.size"] == 40
    assert isinstance(figure, Figure)


def test_figures_of_several_runs_share_their_limits() -> None:
    first, (one,) = canvas("a")
    second, (two,) = canvas("a")
    one.plot([0, 1], [0, 10])
    two.plot([0, 5], [-3, 1])
    share_limits([first, second])
    assert one.get_xlim() == two.get_xlim()
    assert one.get_ylim() == two.get_ylim()
    assert one.get_ylim()[0] < -3 < 10 < one.get_ylim()[1]


def test_an_axis_without_a_positive_value_stays_linear() -> None:
    _, (axes,) = canvas("a")
    draw_curves(axes, [0, 1], {"a": [[0.0, 0.0]]})
    assert axes.get_yscale() == "linear"
    draw_curves(axes, [0, 1], {"a": [[0.0, 1.0]]})
    assert axes.get_yscale() == "log"


def drawing() -> Figure:
    """Return a figure with a line, a shaded area, a marker and a text."""
    with figure_style():
        figure, (axes,) = canvas("a")
        axes.plot([0, 1, 2], [1, 3, 2], color=figures.BLUE, marker="o", label="line")
        axes.fill_between([0, 1], [0, 0], [1, 1], color=figures.ORANGE, alpha=0.2)
        axes.text(1, 1, "a", color=figures.INK, fontsize=7, fontweight="bold")
    return figure


def test_the_same_figure_gives_the_same_bytes_without_the_time() -> None:
    with figure_style():
        first, second = (image(drawing(), label="a") for _ in range(2))
    assert first == second
    assert not re.search(rb"20\d\d-\d\d", base64.b64decode(first.partition("base64,")[2].partition('"')[0]))


def test_an_image_is_a_whole_file_that_runs_nothing_and_loads_nothing() -> None:
    with figure_style():
        html = image(drawing(), label='a < "b\u202e\x1b')
    start = r'<img class="chart" alt="a &lt; &quot;b\\u202e\\x1b" src='
    data = re.fullmatch(start + r'"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)">', html)
    assert data
    root = ElementTree.fromstring(base64.b64decode(data[1]))
    for element in root.iter():
        assert element.tag.rpartition("}")[2] not in {"script", "image", "foreignObject"}
        for name, value in element.attrib.items():
            assert not name.rpartition("}")[2].startswith("on")
            assert not name.endswith("href") or value.startswith("#")
