"""Every figure shows the numbers of the report, and can be drawn from what little a report may hold."""

from dataclasses import replace

import numpy as np
import pytest
from inspection.reports import CHARACTERS, report
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from charlm.inspection.diagram import draw_network
from charlm.inspection.sections.dynamics import draw_eigenvalues, draw_fixed_points, draw_lyapunov
from charlm.inspection.sections.prediction import draw_curves, draw_loss, draw_reliability, draw_temperature
from charlm.inspection.sections.reach import (
    draw_edits,
    draw_gradient_by_lag,
    draw_impulse_response,
    draw_memory,
    draw_truncation,
    draw_usable_context,
)
from charlm.inspection.sections.representation import (
    draw_character_map,
    draw_features,
    draw_saturation,
    draw_trajectory,
)
from charlm.inspection.sections.section import Report


def line(figure: Figure, label: str, *, axes: int = 0) -> tuple[list[float], list[float]]:
    """Return the points of the line with a label."""
    found = next(each for each in figure.axes[axes].lines if each.get_label() == label)
    return np.asarray(found.get_xdata()).tolist(), np.asarray(found.get_ydata()).tolist()


def bars(figure: Figure, axes: int) -> list[Rectangle]:
    """Return the bars of some axes."""
    return [patch for patch in figure.axes[axes].patches if isinstance(patch, Rectangle)]


def heights(figure: Figure, *, axes: int = 0) -> list[float]:
    """Return the heights of upright bars."""
    return [bar.get_height() for bar in bars(figure, axes)]


def widths(figure: Figure, *, axes: int = 0) -> list[float]:
    """Return the lengths of lying bars."""
    return [bar.get_width() for bar in bars(figure, axes)]


def texts(figure: Figure) -> list[str]:
    """Return the texts inside the axes of a figure, and their titles."""
    inside = [text.get_text() for axes in figure.axes for text in axes.texts]
    return inside + [axes.get_title(loc="left") for axes in figure.axes]


@pytest.fixture(scope="module")
def whole() -> Report:
    """Return a report that has every part."""
    return report()


def test_the_gradient_by_lag_is_that_of_each_layer_trained_and_untrained(whole: Report) -> None:
    trained, initial = whole.get("gradient_by_lag"), whole.get("initial_gradient_by_lag")
    figure = draw_gradient_by_lag(trained, initial)
    assert figure.axes[0].get_yscale() == "log"
    for curve in trained.layers:
        assert line(figure, f"rnn.{curve.layer}") == (curve.lag.tolist(), curve.median.tolist())
    assert line(figure, "rnn.1, untrained")[1] == initial.layers[1].median.tolist()


def test_the_bias_of_truncation_is_drawn_for_all_weights_and_each_v(whole: Report) -> None:
    bias = whole.get("truncation")
    figure = draw_truncation(bias)
    assert line(figure, "all weights") == (bias.window.tolist(), bias.angle_degrees.tolist())
    assert line(figure, "V of rnn.1")[1] == bias.recurrent_angle_degrees[1].tolist()


def test_an_n_gram_stands_at_the_context_that_it_has(whole: Report) -> None:
    context = whole.get("usable_context")
    figure = draw_usable_context(context)
    assert line(figure, "n-gram, n = k + 1") == ([1, 2], [2.4, 2.1])
    assert line(figure, "zero state") == (context.characters.tolist(), context.nats.tolist())
    assert heights(figure, axes=1) == context.bits_saved.tolist()


def test_an_impulse_response_that_ends_leaves_the_rest_blank(whole: Report) -> None:
    response = whole.get("impulse_response")
    ended = np.where(response.lag < 3, response.state, 0.0)
    figure = draw_impulse_response(replace(response, state=ended, half_life=None))
    assert np.isnan(line(figure, "|dh|")[1]).tolist() == [False] * 3 + [True] * 6
    assert texts(figure) == ["", ""]


def test_a_finite_response_is_drawn_to_its_end_on_linear_axes(whole: Report) -> None:
    response = whole.get("impulse_response")
    ended = np.where(response.lag < 1, response.state, 0.0)
    figure = draw_impulse_response(
        replace(response, state=ended, linear=ended, kl=ended, verdict="finite", length=1, half_life=0.5)
    )
    assert line(figure, "|dh|") == (list(range(8)), [1.0] + [0.0] * 7)
    assert [axes.get_yscale() for axes in figure.axes] == ["linear", "linear"]


def test_the_half_life_is_written_at_its_lag(whole: Report) -> None:
    assert "half-life 1" in texts(draw_impulse_response(whole.get("impulse_response")))


def test_what_the_state_holds_is_shaded_only_where_the_read_out_is_better_than_guessing(whole: Report) -> None:
    memory = whole.get("memory")
    worse = replace(memory, accuracy=memory.commonest - 0.1)
    (shaded,) = draw_memory(worse).axes[0].collections[0].get_paths()
    assert np.ptp(np.asarray(shaded.vertices)[:, 1]) == pytest.approx(0)


def test_an_edit_shows_the_nats_and_the_characters_from_it_on(whole: Report) -> None:
    figure = draw_edits([*whole.get("edits"), *whole.get("edits")], CHARACTERS)
    assert len(figure.axes) == 2
    assert line(figure, "changed", axes=1)[1] == whole.get("edits")[0].nats_after.tolist()
    assert texts(figure)[0] == "at 3: a becomes b"
    assert "\\u202e" in [label.get_text() for label in figure.axes[0].get_xticklabels()]


def test_every_eigenvalue_has_its_point_and_the_unit_circle_fits(whole: Report) -> None:
    figure = draw_eigenvalues(whole.get("spectrum"))
    assert len(figure.axes) == 2
    points = figure.axes[0].lines[0]
    assert np.asarray(points.get_xdata()).tolist() == whole.get("spectrum")[0].eigenvalues.real.tolist()
    assert figure.axes[0].get_xlim()[1] > 1


def test_an_exponent_of_minus_infinity_is_left_out(whole: Report) -> None:
    figure = draw_lyapunov(whole.get("lyapunov"), whole.get("initial_lyapunov"))
    assert line(figure, "trained") == ([1, 2], [-0.05, -0.4])
    assert len(line(figure, "untrained")[0]) == 3


def test_fixed_and_slow_points_are_told_apart(whole: Report) -> None:
    figure = draw_fixed_points(whole.get("fixed_points"), CHARACTERS)
    assert line(figure, "stable") == ([0.83], [0])
    assert line(figure, "slow") == ([1.04, 1.04], [0, 1])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["␣", "\\u202e"]


def test_the_path_of_the_state_carries_its_characters(whole: Report) -> None:
    figure = draw_trajectory(whole.get("trajectory"), CHARACTERS)
    assert len(figure.axes[0].texts) == len(whole.get("trajectory").ids)
    assert "31%" in figure.axes[0].get_xlabel()


def test_states_far_from_all_others_do_not_press_the_path_together(whole: Report) -> None:
    path = whole.get("trajectory")
    far = replace(path, background=np.concatenate([path.background, [[1e4, 0.0]]]))
    low, high = draw_trajectory(far, CHARACTERS).axes[0].get_xlim()
    assert high < 100
    assert low < path.points[0, 0] < high


def test_learning_curves_have_the_simple_models_named_without_overlap(whole: Report) -> None:
    figure = draw_curves(whole.get("curves"))
    names = {text.get_text(): text.get_position()[1] for text in figure.axes[0].texts}
    assert list(names) == ["uniform", "unigram", "5-gram", "bz2"]
    low, high = figure.axes[0].get_ylim()
    assert names["5-gram"] - names["bz2"] >= 0.05 * (high - low)
    assert line(figure, "validation") == ([15, 30], [2.6, 1.9])


def test_the_loss_of_each_class_is_a_bar_and_the_n_gram_a_mark(whole: Report) -> None:
    loss = whole.get("loss_by_class")
    figure = draw_loss(loss.by_class, mean=loss.nats_per_char, ngram_order=5)
    assert widths(figure) == [1.4, 2.4]
    assert line(figure, "5-gram")[0] == [1.7, 2.1]
    bare = tuple(replace(each, ngram_nats_per_char=None) for each in loss.by_class)
    assert len(draw_loss(bare, mean=1.6, ngram_order=None).axes[0].lines) == 1  # the mean


def test_calibration_shows_its_bins_and_the_best_temperature(whole: Report) -> None:
    calibration = whole.get("calibration")
    reliability = draw_reliability(calibration).axes[0].lines[1]
    assert np.asarray(reliability.get_ydata()).tolist() == [0.25, 0.9]
    assert "best: 1.07" in texts(draw_temperature(calibration))


def test_a_feature_has_its_best_unit_and_what_chance_gives(whole: Report) -> None:
    figure = draw_features(whole.get("units"))
    assert widths(figure) == [0.93, 0.93]
    assert line(figure, "chance: shifted")[0] == [0.31, 0.4]
    untrained = line(figure, "untrained network")[0]
    assert untrained[0] == 0.5
    assert np.isnan(untrained[1])


def test_the_histogram_of_a_layer_has_shares_that_add_up_to_one(whole: Report) -> None:
    figure = draw_saturation(whole.get("saturation"))
    assert len(figure.axes) == 2
    assert sum(heights(figure)) == pytest.approx(1)


def test_every_character_is_on_both_maps(whole: Report) -> None:
    figure = draw_character_map(whole.get("character_map"), CHARACTERS)
    for axes in figure.axes:
        assert len(axes.texts) == len(CHARACTERS)


def test_the_diagram_has_a_box_for_each_part_with_its_shapes(whole: Report) -> None:
    found = texts(draw_network(whole.get("network")))
    assert "rnn.0 → 5\nU 14\N{MULTIPLICATION SIGN}5  b 5" in found
    assert "V\n5\N{MULTIPLICATION SIGN}5" in found
    assert found.count("h") == 6  # two layers at three steps
