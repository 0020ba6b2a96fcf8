"""Eigenvalues and Lyapunov exponents, on networks whose stability is known."""

from typing import Any

import numpy as np
import pytest
import reference
from inspection.networks import one_layer, random_ids, traced
from models import as_model, random_parameters

from charlm.inspection.lyapunov import (
    LayerExponent,
    Lyapunov,
    growth_note,
    growth_summary,
    lyapunov,
    lyapunov_chart,
    lyapunov_table,
    make_lyapunov,
)
from charlm.inspection.reading import Limits, Reading
from charlm.inspection.section import Sample
from charlm.inspection.spectrum import draw_eigenvalues, recurrent_spectra
from charlm.network.gradients import Trace
from charlm.text.vocabulary import Vocabulary


def test_the_eigenvalues_of_a_triangular_matrix_are_its_diagonal() -> None:
    (spectrum,) = recurrent_spectra(one_layer(np.array([[2.0, 4.0], [0.0, 3.0]])))
    assert spectrum.eigenvalues.tolist() == pytest.approx([3, 2])
    assert spectrum.spectral_radius == pytest.approx(3)


@pytest.mark.parametrize(("layers", "height"), [(1, 3.4 + 0.7), (3, 2 * (1.7 + 0.7))])
def test_the_eigenvalues_of_two_layers_are_side_by_side(layers: int, height: float) -> None:
    spectra = recurrent_spectra(random_parameters(layers=layers))
    assert draw_eigenvalues(spectra).get_figheight() == pytest.approx(height)


# Exponents of the whole state


@pytest.mark.parametrize(
    "network", [{}, {"layers": 2, "skip_connections": True, "activation": "sigmoid"}], ids=str
)
def test_the_sum_of_the_exponents_is_the_mean_logarithm_of_the_determinant(
    network: dict[str, Any],
) -> None:
    """The Jacobian is block triangular, so its determinant is the product of |V| and the slopes."""
    trace = traced(random_parameters(scale=0.7, **network), random_ids(300, ids=5))
    result = lyapunov(trace, warm_up=1)
    expected = 0.0
    for layer, slopes in zip(trace.parameters.layers, trace.slopes, strict=True):
        _, log_determinant = np.linalg.slogdet(layer.recurrent_kernel)
        expected += log_determinant + np.log(slopes[1:300, 0]).sum(1).mean()
    assert result.exponents.sum() == pytest.approx(expected)
    assert result.positions == Sample(2, 300, 299)


def test_only_the_first_exponents_of_a_large_state_are_computed() -> None:
    trace = traced(random_parameters(units=12, scale=0.4), random_ids(900, ids=5))
    first = lyapunov(trace, most=3, full_up_to=5)
    complete = lyapunov(trace)
    np.testing.assert_allclose(first.exponents, complete.exponents[:3], atol=0.02)
    assert first.dimensions == 12
    assert len(complete.exponents) == 12


@pytest.mark.parametrize(
    ("units", "layers", "count"), [(128, 1, 128), (129, 1, 32), (43, 3, 32)], ids=str
)
def test_a_state_of_more_than_128_units_has_32_exponents(
    units: int,
    layers: int,
    count: int,
) -> None:
    parameters = random_parameters(units=units, layers=layers, scale=0.1)
    assert len(lyapunov(traced(parameters, [1, 2, 3, 4])).exponents) == count


def test_the_mean_is_over_1000_characters_after_100() -> None:
    trace = traced(one_layer(np.array([[0.5]])), random_ids(1200))
    assert lyapunov(trace).positions == Sample(101, 1100, 1000)


@pytest.mark.parametrize(("length", "positions"), [(2, Sample(2, 2, 1)), (9, Sample(3, 9, 7))])
def test_a_quarter_of_a_short_text_warms_up(length: int, positions: Sample) -> None:
    trace = traced(one_layer(np.array([[0.5]])), random_ids(length))
    assert lyapunov(trace).positions == positions


@pytest.fixture(scope="module")
def nilpotent() -> Lyapunov:
    """Return the exponents of a kernel whose sixth power is zero."""
    kernel = np.triu(np.random.default_rng(0).standard_normal((6, 6)), 1)
    return lyapunov(traced(one_layer(kernel), random_ids(900)))


def test_a_nilpotent_kernel_forgets_every_direction(nilpotent: Lyapunov) -> None:
    assert nilpotent.exponents.tolist() == [-np.inf] * 6


@pytest.fixture(scope="module")
def relu_kernel() -> Any:
    """Return a small recurrent kernel of six units."""
    return np.random.default_rng(3).standard_normal((6, 6)).astype(np.float32) * 0.05


@pytest.fixture(scope="module")
def relu_exponents(relu_kernel: Any) -> Any:
    """Return the exponents of a relu layer with four units that are always on, and two off."""
    parameters = one_layer(relu_kernel, activation="relu")
    parameters.layers[0].bias[:] = [9, 9, 9, 9, -99, -99]
    return lyapunov(traced(parameters, random_ids(2000)), most_steps=1800).exponents


def test_relu_units_that_are_on_have_the_exponents_of_a_linear_network(
    relu_kernel: Any,
    relu_exponents: Any,
) -> None:
    sizes = np.abs(np.linalg.eigvals(relu_kernel[:4, :4].astype(np.float64)))
    expected = np.sort(np.log(sizes))[::-1]
    np.testing.assert_allclose(relu_exponents[:4], expected, atol=2e-2)


def test_relu_units_that_are_off_have_exponents_of_minus_infinity(relu_exponents: Any) -> None:
    assert relu_exponents[4:].tolist() == [-np.inf] * 2


def test_the_largest_exponent_has_the_standard_error_of_blocks_of_100_characters() -> None:
    trace = traced(one_layer(np.array([[0.9]]), activation="tanh"), random_ids(900))
    result = lyapunov(trace, warm_up=100)
    logarithms = np.log(0.9 * trace.slopes[0][100:, 0, 0])
    blocks = logarithms.reshape(8, 100).mean(1).tolist()
    assert result.exponents[0] == pytest.approx(logarithms.mean())
    assert result.standard_errors[0] == pytest.approx(reference.standard_error(blocks), rel=0.01)
    assert result.positions == Sample(101, 900, 800)


# Exponents of layers


def growth_of_layer(
    trace: Trace,
    layer: int,
    *,
    warm_up: int,
) -> float:
    """Return the mean growth per step of the product of a layer's Jacobians."""
    kernel = trace.parameters.layers[layer].recurrent_kernel
    product = np.eye(len(kernel))
    growth = []
    for slopes in trace.slopes[layer][1:, 0]:
        product = product @ kernel @ np.diag(slopes)
        size = np.linalg.norm(product, 2)
        product /= size
        growth.append(np.log(size))
    return float(np.mean(growth[warm_up - 1 :]))


def test_a_layer_has_the_exponent_of_the_product_of_its_jacobians() -> None:
    parameters = random_parameters(layers=2, units=4, skip_connections=True, scale=0.6)
    trace = traced(parameters, random_ids(900, ids=5))
    layers = lyapunov(trace, warm_up=100).layers
    assert [layer.layer for layer in layers] == [0, 1]
    for layer in layers:
        expected = growth_of_layer(trace, layer.layer, warm_up=100)
        assert layer.exponent == pytest.approx(expected, abs=0.01)


def test_the_only_layer_has_the_largest_exponent_of_the_state() -> None:
    result = lyapunov(traced(random_parameters(units=4, scale=0.6), random_ids(900, ids=5)))
    (layer,) = result.layers
    assert layer.exponent == pytest.approx(result.exponents[0], abs=0.01)
    assert layer.standard_error == pytest.approx(result.standard_errors[0], rel=0.2)


# Texts of a report


@pytest.mark.parametrize(
    ("weight", "has_warning"),
    [pytest.param(0.99, False, id="shrinks"), pytest.param(1.01, True, id="grows")],
)
def test_a_network_that_amplifies_differences_has_a_warning(
    weight: float,
    has_warning: bool,
) -> None:
    result = lyapunov(traced(one_layer(np.array([[weight]])), random_ids(900)))
    assert ("depend on rounding" in growth_summary(result)) == has_warning
    assert ("can differ between processors" in growth_note(result)) == has_warning


def exponents(*values: float, error: float = 0.25) -> Lyapunov:
    """Return some exponents of the whole state, and those of two layers."""
    layers = (LayerExponent(0, -0.5, 0.0625), LayerExponent(1, -2.0, np.nan))
    errors = np.full(len(values), error)
    return Lyapunov(np.array(values), errors, len(values), layers, Sample(1, 9, 9))


@pytest.mark.parametrize(
    ("exponent", "error", "is_clear"),
    [
        pytest.param(0.5, 0.25, True, id="two standard errors"),
        pytest.param(0.5, 0.26, False, id="less than two standard errors"),
        pytest.param(0.5, np.nan, True, id="unknown error"),
    ],
)
def test_only_a_clear_growth_is_in_the_summary(
    exponent: float,
    error: float,
    is_clear: bool,
) -> None:
    found = exponents(exponent, -1, error=error)
    assert bool(growth_summary(found)) == is_clear
    assert bool(growth_note(found)) == (exponent > 0)


@pytest.mark.parametrize(
    ("weight", "exponent"),
    [(1 + 9e-7, 0.0), (1 - 9e-7, 0.0), (1 + 1.1e-6, 1.1e-6), (1 - 1.1e-6, -1.1e-6)],
)
def test_an_exponent_within_the_rounding_of_weights_is_0(weight: float, exponent: float) -> None:
    linear = one_layer(np.array([[weight]]), activation="linear")
    found = lyapunov(traced(linear, random_ids(900)))
    assert found.exponents[0] == pytest.approx(exponent, abs=2e-7)
    assert (found.exponents[0] == 0) == (exponent == 0)


def test_an_exponent_of_0_keeps_differences() -> None:
    found = exponents(0.0, -1, error=0.0)
    assert growth_summary(found) == (
        "keeps small differences (largest Lyapunov exponent 0 within rounding)"
    )
    assert growth_note(found) == ""


def test_the_table_has_the_first_four_exponents() -> None:
    table = lyapunov_table(exponents(-0.1, -0.2, -0.3, -0.4, -0.5))
    assert table.rows[:3] == [
        ("whole state, exponent 1", (-0.1, 0.25)),
        ("whole state, exponent 2", (-0.2, 0.25)),
        ("whole state, exponent 3", (-0.3, 0.25)),
    ]
    assert [name for name, _ in table.rows[3:]] == [
        "whole state, exponent 4",
        "rnn.0 on its own",
        "rnn.1 on its own",
    ]
    assert table.rows[4][1] == (-0.5, 0.0625)


def test_the_factors_have_bars_of_a_standard_error() -> None:
    _, factors = lyapunov_chart(exponents(-0.1, -0.2)).panels
    curve = factors.curves[""]
    assert list(curve.x) == ["whole state", "rnn.0 on its own", "rnn.1 on its own"]
    low, high = np.log(curve.band)
    np.testing.assert_allclose(np.log(np.asarray(curve.y)), [-0.1, -0.5, -2])
    np.testing.assert_allclose(low, [-0.35, -0.5625, np.nan])
    np.testing.assert_allclose(high, [0.15, -0.4375, np.nan])


def test_exponents_of_minus_infinity_are_counted_on_the_page() -> None:
    kernel = np.diag([0.5, 0, 0])
    trained = as_model(one_layer(kernel), Vocabulary(("a", "b", "c")))
    limits = Limits(100, 100, 20)
    content = make_lyapunov(Reading("run", trained, "text", random_ids(100), limits))
    assert content.html == "<p>2 of 3 exponents are \N{MINUS SIGN}\N{INFINITY}.</p>"


def test_the_caption_has_the_number_of_drawn_exponents() -> None:
    trace = traced(random_parameters(units=12, scale=0.4), random_ids(300, ids=5))
    assert "the first 3 of 12" in lyapunov_chart(lyapunov(trace, most=3, full_up_to=5)).caption
    assert "the first" not in lyapunov_chart(lyapunov(trace)).caption
