"""Eigenvalues and Lyapunov exponents, on networks whose stability is known."""

from typing import Any

import numpy as np
import pytest
import reference
from inspection.networks import one_layer, random_ids, traced
from models import random_parameters

from charlm.inspection.lyapunov import growth_note, growth_summary, lyapunov, lyapunov_chart
from charlm.inspection.section import Sample
from charlm.inspection.spectrum import recurrent_spectra
from charlm.network.gradients import Trace


def test_the_eigenvalues_of_a_triangular_matrix_are_its_diagonal() -> None:
    (spectrum,) = recurrent_spectra(one_layer(np.array([[2.0, 4.0], [0.0, 3.0]])))
    assert spectrum.eigenvalues.tolist() == pytest.approx([3, 2])
    assert spectrum.spectral_radius == pytest.approx(3)


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


def test_a_nilpotent_kernel_forgets_every_direction() -> None:
    kernel = np.triu(np.random.default_rng(0).standard_normal((6, 6)), 1)  # kernel^6 = 0
    result = lyapunov(traced(one_layer(kernel), random_ids(900)))
    assert result.exponents.tolist() == [-np.inf] * 6


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
    relu_kernel: Any, relu_exponents: Any
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


def growth_of_layer(trace: Trace, layer: int, *, warm_up: int) -> float:
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
    weight: float, has_warning: bool
) -> None:
    result = lyapunov(traced(one_layer(np.array([[weight]])), random_ids(900)))
    assert ("depend on rounding" in growth_summary(result)) == has_warning
    assert ("can differ between processors" in growth_note(result)) == has_warning


def test_the_caption_has_the_number_of_drawn_exponents() -> None:
    trace = traced(random_parameters(units=12, scale=0.4), random_ids(300, ids=5))
    assert "the first 3 of 12" in lyapunov_chart(lyapunov(trace, most=3, full_up_to=5)).caption
    assert "the first" not in lyapunov_chart(lyapunov(trace)).caption
