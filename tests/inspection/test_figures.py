"""The figures of a report: their numbers, axes, colours, legends and files."""

import base64
import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from inspection.reports import data_of
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
    lines = {str(line.get_label()).partition(" (")[0]: line for line in figure.axes[0].lines}
    return points(lines[label])


@pytest.fixture(scope="module")
def context_figure() -> Figure:
    """Return the figure of a context with round numbers."""
    context = replace(
        data_of("usable_context"),
        characters=np.array([0, 1, 2]),
        nats=np.array([4.0, 3, 2]),
        standard_errors=np.full(3, 0.25),
        gains=np.array([2.5, 1.5, 0.005]),
        gain_errors=np.full(3, 0.002),
        ngram_order=np.array([2, 3]),
        ngram_nats=np.array([2.5, 1]),
        ngram_standard_errors=np.full(2, 0.125),
        whole_nats=1.5,
        used=2,
    )
    return context_chart(context).draw()


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("network", [[0, 4], [1, 3], [2, 2]]),
        ("n-gram, n = k + 1", [[1, 2.5], [2, 1]]),
        ("all earlier characters read", [[0, 1.5], [1, 1.5], [2, 1.5]]),
        ("context used", [[2, 2]]),
    ],
)
def test_the_losses_by_context_are_drawn(
    label: str,
    expected: list[list[float]],
    context_figure: Figure,
) -> None:
    assert line(context_figure, label) == expected


def test_the_gains_by_context_are_drawn(context_figure: Figure) -> None:
    _, axes = context_figure.axes
    assert axes.get_yscale() == "log"
    assert points(axes.lines[0]) == [[0, 2.5], [1, 1.5], [2, 0.005]]
    assert np.unique(axes.lines[1].get_ydata()).tolist() == [0.01]


def test_the_losses_by_context_have_bands_of_a_standard_error(context_figure: Figure) -> None:
    network, ngrams = [
        {tuple(vertex) for vertex in np.asarray(band.get_paths()[0].vertices).tolist()}
        for band in context_figure.axes[0].collections
    ]
    assert network == {(0, 3.75), (0, 4.25), (1, 2.75), (1, 3.25), (2, 1.75), (2, 2.25)}
    assert ngrams == {(1, 2.375), (1, 2.625), (2, 0.875), (2, 1.125)}


def test_an_exponent_of_minus_infinity_is_not_drawn() -> None:
    exponents = np.array([-0.05, -0.4, -np.inf])
    result = replace(data_of("lyapunov"), exponents=exponents, standard_errors=np.zeros(3))
    drawn = points(lyapunov_chart(result).draw().axes[0].lines[0])
    np.testing.assert_array_equal(drawn, [[1, -0.05], [2, -0.4], [3, np.nan]])


# Axes


def log_panel(*values: float, band: tuple[list[float], ...] = ()) -> Panel:
    """Return a panel with a logarithmic axis and one curve."""
    curve = Curve([0, 1], [*values], [*map(np.array, band)])
    return Panel("a", ("x", "y"), {"a": curve}, y_scale="log")


def test_a_logarithmic_axis_ends_where_rounding_begins() -> None:
    figure = draw_panels([log_panel(1, 0.1, band=([1e-67, 1e-50], [2, 1]))])
    assert figure.axes[0].get_ylim() == (1e-10, 6)


def test_a_logarithmic_axis_has_a_power_of_ten() -> None:
    low, high = draw_panels([log_panel(0.3, 0.5)]).axes[0].get_ylim()
    assert low < 0.1 < high  # other values have no tick label


def test_a_logarithmic_axis_of_lags_begins_at_zero() -> None:
    assert draw_panels([log_panel(1, 0.1)]).axes[0].get_xlim() == (0, 1)


@pytest.mark.parametrize(
    ("last", "end"), [(0, 1.05), (8, 8.4)], ids=["a single value", "several values"]
)
def test_an_axis_of_doublings_ends_after_the_last_value(last: int, end: float) -> None:
    curve = Curve([0, last], [1, 2])
    panel = Panel("a", ("x", "y"), {"": curve, "b": Curve([0], [1])}, x_scale="doublings")
    axes = draw_panels([panel]).axes[0]
    assert axes.get_xlim() == pytest.approx((-0.2, end))
    assert axes.xaxis.get_major_formatter()(4.0) == "4"
    scaled = axes.xaxis.get_transform().transform(np.array([0, 0.5, 1, 2, 4, 8]))
    to_half, to_1, *doublings = np.diff(scaled)
    assert to_half == pytest.approx(to_1)
    assert doublings == pytest.approx(doublings[:1] * 3)


def panel_of_names(*curves: Curve) -> Panel:
    """Return a panel with a row for each name of some curves."""
    named = {f"curve {number}": curve for number, curve in enumerate(curves)}
    return Panel("a", ("x", ""), named, x_scale="names")


def test_a_point_has_bars_to_the_edges_of_its_band() -> None:
    first = Curve(["a", "b"], [2.0, 5.0], (np.array([1, 4.5]), np.array([4, 5.25])))
    second = Curve(["b"], [3.0])
    axes = draw_panels([panel_of_names(first, second)]).axes[0]
    bars = [np.asarray(path.vertices).tolist() for path in axes.collections[0].get_paths()]
    assert bars == [[[1, 0], [4, 0]], [[4.5, 1], [5.25, 1]]]
    assert [points(line) for line in axes.lines] == [[[2, 0], [5, 1]], [[3, 1]]]
    assert axes.get_xlim() == pytest.approx((0, 1.04 * 5.25))


def test_an_axis_of_names_without_values_is_drawn() -> None:
    axes = draw_panels([panel_of_names(Curve(["a"], [0.0]))]).axes[0]
    assert axes.get_xlim() == (0, 1)


def test_a_curve_of_a_single_value_is_a_point() -> None:
    curves = {
        "line": Curve([0, 1], [1, 2]),
        "second": Curve([0, 1], [np.nan, 2]),
        "third": Curve([1], [2]),
    }
    lines = draw_panels([Panel("a", ("x", "y"), curves)]).axes[0].lines
    assert [line.get_marker() for line in lines] == ["", "D", "o"]
    assert [line.get_fillstyle() for line in lines] == ["full", "none", "full"]
    assert [line.get_clip_on() for line in lines] == [True, False, False]


@pytest.mark.parametrize(("value", "is_cut_off"), [(1e-10, False), (0.9e-10, True)])
def test_a_point_below_the_axis_is_not_drawn(value: float, is_cut_off: bool) -> None:
    panel = replace(log_panel(1, 0.1), extras={"point": Curve([0], [value])})
    *_, point = draw_panels([panel]).axes[0].lines
    assert point.get_clip_on() == is_cut_off


@pytest.mark.parametrize(
    ("panels", "height"),
    [
        pytest.param([log_panel(1, 0.1)], 2.1 + 0.7 + 0.2, id="one panel"),
        pytest.param([log_panel(1, 0.1)] * 2, 2 * (1.5 + 0.7) + 0.2, id="two panels"),
        pytest.param(
            [panel_of_names(Curve(["a", "b"], [1, 2]))], 3 * 0.27 + 0.7 + 0.2, id="two names"
        ),
        pytest.param(
            [panel_of_names(Curve([*"abc"], [1, 2, 3]), Curve([*"cd"], [1, 2]))],
            4 * 0.27 + 0.7 + 0.2,
            id="four names",
        ),
    ],
)
def test_a_figure_has_the_height_of_its_panels(panels: list[Panel], height: float) -> None:
    assert draw_panels(panels).get_figheight() == pytest.approx(height)


@pytest.mark.parametrize(
    ("name", "lines"),
    [pytest.param("a" * 34, 1, id="short"), pytest.param("a" * 35, 2, id="long")],
)
def test_a_legend_of_short_names_has_two_columns(name: str, lines: int) -> None:
    curve = Curve([0, 1], [1, 2])
    figure = draw_panels([Panel("a", ("x", "y"), {name: curve, "b": curve})])
    assert figure.get_figheight() == pytest.approx(2.1 + 0.7 + 0.2 * lines)


@pytest.mark.parametrize(("last", "scale"), [(0, "linear"), (1, "log")])
def test_an_axis_without_a_positive_value_is_linear(last: float, scale: str) -> None:
    assert draw_panels([log_panel(0, last)]).axes[0].get_yscale() == scale


# Colours

TURN = np.array([[-0.574, 1.43, 0.144], [0.426, 0.43, 0.144], [0.426, 1.43, -0.856]])
"""The matrix of hue-rotate(180deg) in https://www.w3.org/TR/filter-effects-1/ for RGB channels."""


def channels(colour: str) -> NDArray[np.float64]:
    """Return red, green and blue, from 0 to 1."""
    return np.array([int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)])


def luminance(rgb: NDArray[np.float64]) -> float:
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(colour: NDArray[np.float64], paper: NDArray[np.float64]) -> float:
    """Return the contrast ratio of WCAG 2.2."""
    low, high = sorted([luminance(colour), luminance(paper)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", sorted(figures.COLOURS.keys() - {"paper", "grid"}))
def test_a_colour_has_enough_contrast(name: str) -> None:
    light_paper, dark_paper = map(channels, figures.COLOURS["paper"])
    light, dark = map(channels, figures.COLOURS[name])
    assert contrast(light, light_paper) >= 4.5
    assert contrast(dark, dark_paper) >= 4.5
    # The dark theme of a page inverts the light colours.
    assert contrast(np.clip(TURN @ (1 - light), 0, 1), dark_paper) >= 4.5


def test_curves_of_one_colour_have_different_markers() -> None:
    curves = [Curve(["a"], [number]) for number in range(25)]
    lines = draw_panels([panel_of_names(*curves)]).axes[0].lines
    colours = ["#0072b2", "#c45500", "#00805d", "#a8518a", "#8a6d00"]
    assert [line.get_color() for line in lines] == 5 * colours
    assert [line.get_marker() for line in lines[:7]] == ["o", "D", "x", "|", "s", "D", "x"]
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 25


# Several curves


def test_the_settings_of_the_user_have_no_effect() -> None:
    with matplotlib.rc_context({"font.size": 40, "axes.grid": False}), figure_style():
        figure, (axes,) = figures.canvas("a", heights=[2])
    assert isinstance(figure, Figure)
    assert axes.title.get_fontsize() == 9


def test_the_settings_of_the_user_are_restored() -> None:
    with matplotlib.rc_context({"font.size": 40}):
        with figure_style():
            pass
        assert matplotlib.rcParams["font.size"] == 40


def panels_of(values: list[float]) -> list[Panel]:
    return [Panel("a", ("x", "y"), {"b": Curve(range(3), values)})]


def test_runs_that_differ_in_their_seed_become_a_mean_with_its_standard_error() -> None:
    runs = [panels_of([1, 4, 0]), panels_of([3, 4, 9])]
    (panel,) = compare_panels({"seeds": runs, "other": [panels_of([5, 5, 5])]})
    mean = panel.curves["seeds"]
    assert panel.title == "a: b"
    assert np.asarray(mean.y).tolist() == [2, 4, 4.5]
    assert [edge.tolist() for edge in mean.band] == [[1, 4, 0], [3, 4, 9]]


def test_a_mean_ends_where_the_first_curve_ends() -> None:
    mean = mean_curve([Curve([0, 2, 5], [1, 1, 1]), Curve([0, 2], [4, 4]), Curve([0, 2], [7, 1])])
    assert list(mean.x) == [0, 2]
    assert np.asarray(mean.y).tolist() == [4, 2]
    low, high = mean.band
    assert high[0] - 4 == 4 - low[0] == pytest.approx(3 / 3**0.5)


def test_a_single_run_has_no_band() -> None:
    (panel,) = compare_panels({"run": [panels_of([5, 5, 5])], "other": [panels_of([1, 2, 3])]})
    curve = panel.curves["run"]
    assert np.asarray(curve.y).tolist() == [5, 5, 5]
    assert curve.band == ()


def test_the_mean_on_a_logarithmic_axis_is_geometric() -> None:
    """With an arithmetic mean, a curve that falls slowly would hide all others."""
    curves = [Curve(range(3), [1.0, 1e-2, 0.0]), Curve(range(3), [1.0, 1e-8, 1.0])]
    mean = mean_curve(curves, is_geometric=True)
    low, high = np.array(mean.band)
    np.testing.assert_allclose(np.asarray(mean.y), np.array([1, 1e-5, 0]), rtol=1e-9)
    np.testing.assert_allclose(low[:2], [1, 1e-8], rtol=1e-9)
    np.testing.assert_allclose(high[:2], [1, 1e-2], rtol=1e-9)


@pytest.mark.filterwarnings("error")
def test_means_of_curves_without_values_are_gaps() -> None:
    mean = mean_curve([Curve(range(2), [-np.inf, np.nan]), Curve(range(2), [-np.inf, 1.0])])
    assert not np.isfinite(np.asarray(mean.y, np.float64)).any()


@pytest.mark.parametrize(
    ("values", "note"),
    [
        pytest.param([1, 1e-10], "", id="all drawn"),
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
def test_values_that_are_not_drawn_are_noted(values: list[float], note: str) -> None:
    assert clipping_note([log_panel(*values)]) == note


def test_small_values_of_any_panel_or_curve_are_noted() -> None:
    below = {"below": Curve([0, 1], [1e-11, 1])}
    panels = [log_panel(1, 1), replace(log_panel(1, 1), extras=below), log_panel(1, 1)]
    assert clipping_note(panels) == "Values below 1e-10 are not drawn."


def test_a_linear_axis_draws_every_value() -> None:
    assert clipping_note([Panel("a", ("x", "y"), {"": Curve([0], [-1.0])})]) == ""


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "panel",
    [
        pytest.param(log_panel(1e-18, 0), id="a point below the axis"),
        pytest.param(
            Panel("a" * 200, ("x", "y"), {"a$\\x$ _{b}": Curve([0, 1], [1, 2])}),
            id="signs of a formula",
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
        pytest.param("a" * 56, "a" * 56, id="as long as possible"),
        pytest.param("a" * 28 + "b" * 29, "a" * 28 + "..." + "b" * 28, id="long"),
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
def test_a_tick_has_a_label(value: float, text: str) -> None:
    axes = draw_panels([log_panel(value, value)]).axes[0]
    assert axes.yaxis.get_major_formatter()(value) == text


def test_a_panel_that_a_run_lacks_is_drawn_for_the_other() -> None:
    curves = data_of("gradient_by_lag")
    named = {"small": [gradient_chart(curves[:1]).panels], "large": [gradient_chart(curves).panels]}
    panels = compare_panels(named)
    assert [[*panel.curves] for panel in panels] == [["small", "large"], ["large"]]
    small, large = draw_panels(panels).axes
    assert [line.get_color() for line in small.lines[:2]] == [*figures.SERIES[:2]]
    assert large.lines[0].get_color() == figures.SERIES[1]


def test_the_legend_of_many_layers_is_as_wide_as_the_figure() -> None:
    curve = data_of("gradient_by_lag")[0]
    figure = gradient_chart([replace(curve, layer=layer) for layer in range(5)]).draw()
    image(figure, label="a")  # places the legend
    assert figure.legends[0].get_window_extent().x1 <= figure.bbox.x1


def lyapunov_image() -> str:
    with figure_style():
        return image(lyapunov_chart(data_of("lyapunov")).draw(), label='a < "b\u202e\x1b')


@pytest.fixture(scope="module")
def svg() -> bytes:
    """Return the file of an image."""
    start = r'<img class="chart" alt="a &lt; &quot;b\\u202e\\x1b" src='
    source = r'"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)">'
    match = re.fullmatch(start + source, lyapunov_image())
    assert match
    return base64.b64decode(match[1])


def test_an_image_is_the_same_each_time() -> None:
    assert lyapunov_image() == lyapunov_image()


def test_an_image_has_no_date(svg: bytes) -> None:
    assert not re.search(rb"20\d\d-\d\d", svg)


def test_an_image_runs_no_program(svg: bytes) -> None:
    for element in ElementTree.fromstring(svg).iter():
        assert element.tag.rpartition("}")[2] not in {"script", "foreignObject"}
        for name in element.attrib:
            assert not name.rpartition("}")[2].startswith("on")


def test_an_image_loads_nothing(svg: bytes) -> None:
    for element in ElementTree.fromstring(svg).iter():
        assert element.tag.rpartition("}")[2] != "image"
        for name, value in element.attrib.items():
            assert not name.endswith("href") or value.startswith("#")
