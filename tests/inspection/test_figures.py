"""What all figures have in common, and that every figure shows the numbers of the report."""

import base64
import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from inspection.reports import found
from matplotlib.figure import Figure
from numpy.typing import NDArray

from charlm.inspection import figures
from charlm.inspection.figures import (
    Curve,
    Panel,
    clipping_note,
    compare_panels,
    draw_panels,
    figure_style,
    image,
    mean_curve,
)
from charlm.inspection.gradient_by_lag import gradient_chart
from charlm.inspection.lyapunov import lyapunov_chart
from charlm.inspection.usable_context import context_chart


def points(line: Any) -> list[list[float]]:
    """Return the points of a line."""
    return np.asarray(line.get_xydata()).tolist()  # type: ignore[no-any-return]


def line(figure: Figure, label: str) -> list[list[float]]:
    """Return the points of the line with a label."""
    return points(
        next(each for each in figure.axes[0].lines if str(each.get_label()).startswith(label))
    )


def test_the_context_is_drawn_with_its_errors_beside_the_n_grams() -> None:
    numbers: dict[str, Any] = {
        **{
            "characters": np.array([0, 1, 2]),
            "nats": np.array([4.0, 3, 2]),
            "standard_errors": np.full(3, 0.25),
        },
        **{"gains": np.array([2.5, 1.5, 0.005]), "gain_errors": np.full(3, 0.002)},
        **{"ngram_order": np.array([2, 3]), "ngram_nats": np.array([2.5, 1])},
        **{"ngram_standard_errors": np.full(2, 0.125), "whole_nats": 1.5, "used": 2},
    }
    figure = context_chart(replace(found("usable_context").data, **numbers)).draw()
    loss, gain = figure.axes
    assert line(figure, "network") == [[0, 4], [1, 3], [2, 2]]
    assert line(figure, "n-gram, n = k + 1") == [[1, 2.5], [2, 1]]
    assert line(figure, "all earlier characters read") == [[k, 1.5] for k in range(3)]
    assert line(figure, "context used") == [[2, 2]]
    assert points(gain.lines[0]) == [[0, 2.5], [1, 1.5], [2, 0.005]]
    assert gain.get_yscale() == "log"
    assert np.unique(gain.lines[1].get_ydata()).tolist() == [0.01]
    bands = [np.asarray(band.get_paths()[0].vertices) for band in loss.collections]
    network, ngrams = ({tuple(point) for point in band.tolist()} for band in bands)
    assert network == {(k, 4 - k + error) for k in range(3) for error in (-0.25, 0.25)}
    assert ngrams == {(1, 2.375), (1, 2.625), (2, 0.875), (2, 1.125)}


def test_an_exponent_of_minus_infinity_is_not_drawn() -> None:
    exponents = np.array([-0.05, -0.4, -np.inf])
    chart = lyapunov_chart(
        replace(found("lyapunov").data, exponents=exponents, standard_errors=np.zeros(3))
    )
    drawn = points(chart.draw().axes[0].lines[0])
    np.testing.assert_array_equal(drawn, [[1, -0.05], [2, -0.4], [3, np.nan]])


def log_panel(*values: float, band: tuple[list[float], ...] = ()) -> Panel:
    """Return a panel with a logarithmic axis and one curve."""
    curve = Curve([0, 1], [*values], [*map(np.array, band)])
    return Panel("a", ("x", "y"), {"a": curve}, y_scale="log")


def test_a_logarithmic_axis_ends_where_rounding_begins_and_without_a_positive_value_is_linear() -> (
    None
):
    figure = draw_panels([log_panel(1, 0.1, band=([1e-67, 1e-50], [1, 1]))])
    assert figure.axes[0].get_ylim() == (1e-10, 3)
    low, high = draw_panels([log_panel(0.3, 0.5)]).axes[0].get_ylim()
    assert low < 0.1 < high  # only a power of ten has a number
    for last, scale in ((0, "linear"), (1, "log")):
        assert draw_panels([log_panel(0, last)]).axes[0].get_yscale() == scale


TURN = np.array([[-0.574, 1.43, 0.144], [0.426, 0.43, 0.144], [0.426, 1.43, -0.856]])
"""hue-rotate(180deg) of https://www.w3.org/TR/filter-effects-1/ for linear channels of red, green and blue."""


def test_every_colour_of_letters_and_lines_stands_out_from_the_paper() -> None:
    """By the contrast of WCAG 2.2, in the light and in the dark theme, and as the page turns the light one dark."""

    def channels(colour: str) -> NDArray[np.float64]:
        return np.array([int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)])

    def luminance(of: NDArray[np.float64]) -> float:
        linear = np.where(of <= 0.04045, of / 12.92, ((of + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    paper, dark_paper = map(channels, figures.COLOURS["paper"])
    names = figures.COLOURS.keys() - {"paper", "grid"}
    for light, dark in (map(channels, figures.COLOURS[name]) for name in names):
        turned = np.clip(TURN @ (1 - light), 0, 1)
        for colour, ground in ((light, paper), (dark, dark_paper), (turned, dark_paper)):
            low, high = sorted((luminance(colour), luminance(ground)))
            assert (high + 0.05) / (low + 0.05) >= 4.5


def test_the_users_own_settings_do_not_count_and_come_back() -> None:
    with matplotlib.rc_context({"font.size": 40, "axes.grid": False}):
        with figure_style():
            figure, (axes,) = figures.canvas("a", heights=[2])
            assert axes.title.get_fontsize() == 9
        assert matplotlib.rcParams["font.size"] == 40
    assert isinstance(figure, Figure)


def test_runs_that_differ_in_their_seed_are_their_mean_with_its_standard_error() -> None:
    one, two, other = (
        [Panel("a", ("x", "y"), {"b": Curve(range(3), values)})]
        for values in ([1, 4, 0], [3, 4, 9], [5] * 3)
    )
    (panel,) = compare_panels({"seeds": [one, two], "other": [other]})
    mean, alone = panel.curves["seeds"], panel.curves["other"]
    assert panel.title == "a: b"
    assert np.asarray(mean.y).tolist() == [2, 4, 4.5]
    assert [edge.tolist() for edge in mean.band] == [[1, 4, 0], [3, 4, 9]]
    assert (np.asarray(alone.y).tolist(), alone.band) == ([5, 5, 5], ())


def test_on_logarithmic_axes_the_mean_is_geometric() -> None:
    """Otherwise one curve that falls slowly would hide all others."""
    mean = mean_curve(
        [Curve(range(3), [1.0, 1e-2, 0.0]), Curve(range(3), [1.0, 1e-8, 1.0])], is_geometric=True
    )
    np.testing.assert_allclose(np.asarray(mean.y), np.array([1, 1e-5, 0]), rtol=1e-9)
    np.testing.assert_allclose(
        np.array(mean.band)[:, :2], np.array([[1, 1e-8], [1, 1e-2]]), rtol=1e-9
    )


@pytest.mark.filterwarnings("error")
def test_means_of_curves_without_values_are_gaps() -> None:
    mean = mean_curve([Curve(range(2), [-np.inf, np.nan]), Curve(range(2), [-np.inf, 1.0])])
    assert not np.isfinite(np.asarray(mean.y, np.float64)).any()


@pytest.mark.parametrize(
    ("values", "note"),
    [
        pytest.param([1, 1e-9], "", id="all drawn"),
        pytest.param([1, 1e-11], "Values below 1e-10 are not drawn.", id="below the axis"),
        pytest.param(
            [1, 0], "Values below 1e-10, and values of 0 or less, are not drawn.", id="zero"
        ),
        pytest.param(
            [1, -1], "Values below 1e-10, and values of 0 or less, are not drawn.", id="negative"
        ),
        pytest.param([1, np.nan], "", id="a gap"),
    ],
)
def test_values_that_are_not_drawn_are_named(values: list[float], note: str) -> None:
    assert clipping_note([log_panel(*values)]) == note


def test_the_mean_of_a_linear_axis_draws_everything() -> None:
    assert clipping_note([Panel("a", ("x", "y"), {"": Curve([0], [-1.0])})]) == ""


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "panel",
    [
        pytest.param(log_panel(1e-18, 0), id="one point below the axis"),
        pytest.param(
            Panel("a" * 200, ("x", "y"), {"a$\\x$ _{b}": Curve([0, 1], [1, 2])}),
            id="signs of formulas",
        ),
        pytest.param(
            Panel("\u4e2d", ("x", "y"), {"\U0001f600": Curve([0, 1], [1, 2])}),
            id="letters without a font",
        ),
    ],
)
def test_a_strange_panel_is_drawn_without_a_warning(panel: Panel) -> None:
    with figure_style():
        assert image(draw_panels([panel]), label="a").startswith("<img")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        pytest.param("runs/a", "runs/a", id="short"),
        pytest.param("_a", "./_a", id="an underscore"),
        pytest.param("a" * 50 + "b" * 50, "a" * 28 + "..." + "b" * 28, id="long"),
    ],
)
def test_the_legend_has_every_run(name: str, shown: str) -> None:
    panel = Panel("a", ("x", "y"), {name: Curve([0, 1], [1, 2]), "other": Curve([0, 1], [1, 2])})
    legend = draw_panels([panel]).legends[0]
    assert [text.get_text() for text in legend.get_texts()] == [shown, "other"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-10, "10⁻¹⁰"),
        (1e-3, "10⁻³"),
        (0.01, "0.01"),
        (1, "1"),
        (1000, "1000"),
        (1e4, "10⁴"),
        (1e12, "10¹²"),
    ],
)
def test_powers_of_ten_are_written_in_the_same_way(value: float, text: str) -> None:
    axes = draw_panels([log_panel(value, value)]).axes[0]
    assert axes.yaxis.get_major_formatter()(value) == text


def test_a_quantity_that_a_run_lacks_is_drawn_for_the_others() -> None:
    curves = found("gradient_by_lag").data
    named = {"small": [gradient_chart(curves[:1]).panels], "large": [gradient_chart(curves).panels]}
    panels = compare_panels(named)
    assert [[*panel.curves] for panel in panels] == [["small", "large"], ["large"]]
    small, large = draw_panels(panels).axes
    assert [line.get_color() for line in small.lines[:2]] == [*figures.SERIES[:2]]
    assert large.lines[0].get_color() == figures.SERIES[1]


def test_the_legend_of_many_layers_is_as_wide_as_the_figure() -> None:
    curve = found("gradient_by_lag").data[0]
    figure = gradient_chart([replace(curve, layer=layer) for layer in range(5)]).draw()
    image(figure, label="a")  # which places it
    assert figure.legends[0].get_window_extent().x1 <= figure.bbox.x1


def test_an_image_is_a_whole_file_without_the_time_that_runs_nothing_and_loads_nothing() -> None:
    with figure_style():
        html, again = (
            image(lyapunov_chart(found("lyapunov").data).draw(), label='a < "b\u202e\x1b')
            for _ in range(2)
        )
    assert html == again
    start = r'<img class="chart" alt="a &lt; &quot;b\\u202e\\x1b" src='
    data = re.fullmatch(start + r'"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)">', html)
    assert data
    file = base64.b64decode(data[1])
    assert not re.search(rb"20\d\d-\d\d", file)
    for element in ElementTree.fromstring(file).iter():
        assert element.tag.rpartition("}")[2] not in {"script", "image", "foreignObject"}
        for name, value in element.attrib.items():
            assert not name.rpartition("}")[2].startswith("on")
            assert not name.endswith("href") or value.startswith("#")
