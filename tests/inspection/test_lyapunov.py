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


def test_the_eigenvalues_of_a_triangle_are_its_diagonal() -> None:
    (spectrum,) = recurrent_spectra(one_layer(np.array([[2.0, 4.0], [0.0, 3.0]])))
    assert spectrum.eigenvalues.tolist() == pytest.approx([3, 2])
    assert spectrum.spectral_radius == pytest.approx(3)


@pytest.mark.parametrize(
    "kind", [{}, {"layers": 2, "skip_connections": True, "activation": "sigmoid"}]
)
def test_the_sum_of_the_exponents_is_the_mean_logarithm_of_the_determinant(
    kind: dict[str, Any],
) -> None:
    """The Jacobian of all layers is block triangular: its determinant is the product of |V| and of the slopes."""
    trace = traced(random_parameters(scale=0.7, **kind), random_ids(300, ids=5))
    found = lyapunov(trace, warm_up=1)
    steps = range(1, 300)
    volumes = [np.linalg.slogdet(layer.recurrent_kernel)[1] for layer in trace.parameters.layers]
    shrinking = sum(np.log(gain[steps, 0]).sum(1).mean() for gain in trace.slopes)
    assert found.exponents.sum() == pytest.approx(sum(volumes) + shrinking)
    assert found.positions == Sample(2, 300, 299)


def test_the_first_exponents_of_a_large_state_are_those_of_all() -> None:
    trace = traced(random_parameters(units=12, scale=0.4), random_ids(900, ids=5))
    first, everything = lyapunov(trace, most=3, full_up_to=5), lyapunov(trace)
    np.testing.assert_allclose(first.exponents, everything.exponents[:3], atol=0.02)
    assert (first.dimensions, len(everything.exponents)) == (12, 12)


def test_a_nilpotent_kernel_forgets_every_direction() -> None:
    """V^6 = 0: the product of six Jacobians is 0."""
    kernel = np.triu(np.random.default_rng(0).standard_normal((6, 6)), 1)
    found = lyapunov(traced(one_layer(kernel), random_ids(900)))
    assert found.exponents.tolist() == [-np.inf] * 6


def test_with_relu_the_directions_beyond_the_rank_have_an_exponent_of_minus_infinity() -> None:
    """The last two units are always off, the others always on: there the network is linear."""
    kernel = np.random.default_rng(3).standard_normal((6, 6)).astype(np.float32) * 0.05
    parameters = one_layer(kernel, activation="relu")
    parameters.layers[0].bias[:] = [9, 9, 9, 9, -99, -99]
    found = lyapunov(traced(parameters, random_ids(2000)), most_steps=1800)
    sizes = np.abs(np.linalg.eigvals(kernel[:4, :4].astype(np.float64)))
    np.testing.assert_allclose(found.exponents[:4], np.sort(np.log(sizes))[::-1], atol=2e-2)
    assert found.exponents[4:].tolist() == [-np.inf] * 2


def test_the_largest_exponent_has_the_standard_error_of_blocks_of_100_characters() -> None:
    trace = traced(one_layer(np.array([[0.9]]), activation="tanh"), random_ids(900))
    found = lyapunov(trace, warm_up=100)
    logs = np.log(0.9 * trace.slopes[0][100:, 0, 0])
    assert found.exponents[0] == pytest.approx(logs.mean())
    blocks = logs.reshape(8, 100).mean(1).tolist()
    assert found.standard_errors[0] == pytest.approx(reference.standard_error(blocks), rel=0.01)
    assert found.positions == Sample(101, 900, 800)


def test_a_layer_on_its_own_has_the_exponent_of_the_product_of_its_jacobians() -> None:
    """Computed from the product itself, rescaled at each step, in place of QR decompositions."""
    trace = traced(
        random_parameters(layers=2, units=4, skip_connections=True, scale=0.6),
        random_ids(900, ids=5),
    )
    found = lyapunov(trace, warm_up=100)
    for layer, weights in enumerate(trace.parameters.layers):
        product = np.eye(4)
        grown = 0.0
        for time in range(1, 900):
            product = product @ weights.recurrent_kernel @ np.diag(trace.slopes[layer][time, 0])
            size = np.linalg.norm(product, 2)
            product /= size
            grown += np.log(size) if time >= 100 else 0.0
        assert found.layers[layer].layer == layer
        assert found.layers[layer].exponent == pytest.approx(grown / 800, abs=0.01)


def test_the_layer_of_a_single_layer_has_the_largest_exponent_of_the_state() -> None:
    found = lyapunov(traced(random_parameters(units=4, scale=0.6), random_ids(900, ids=5)))
    (layer,) = found.layers
    assert layer.exponent == pytest.approx(found.exponents[0], abs=0.01)
    assert layer.standard_error == pytest.approx(found.standard_errors[0], rel=0.2)


@pytest.mark.parametrize(
    ("weight", "is_warned"),
    [pytest.param(0.99, False, id="shrinks"), pytest.param(1.01, True, id="grows")],
)
def test_a_network_that_amplifies_differences_is_warned_of(weight: float, is_warned: bool) -> None:
    found = lyapunov(traced(one_layer(np.array([[weight]])), random_ids(900)))
    assert ("depend on rounding" in growth_summary(found)) == is_warned
    assert ("can differ between processors" in growth_note(found)) == is_warned


def test_the_caption_says_how_many_exponents_are_drawn() -> None:
    trace = traced(random_parameters(units=12, scale=0.4), random_ids(300, ids=5))
    assert "the first 3 of 12" in lyapunov_chart(lyapunov(trace, most=3, full_up_to=5)).caption
    assert "the first" not in lyapunov_chart(lyapunov(trace)).caption
