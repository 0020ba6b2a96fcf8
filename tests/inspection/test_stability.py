"""Spectra and Lyapunov exponents of networks and matrices for which they are known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import reference
from inspection.networks import one_layer, random_ids, traced
from models import random_parameters

from charlm.inspection.stability import RecurrentSpectrum, lyapunov, recurrent_spectra
from charlm.network.rnn import Parameters


def spectrum_of(parameters: Parameters, **settings: int) -> RecurrentSpectrum:
    """Return the spectrum of a single layer on a random text."""
    (found,) = recurrent_spectra(traced(parameters, random_ids(60)), **settings)
    return found


def test_an_orthogonal_kernel_lies_on_the_unit_circle() -> None:
    rotation = one_layer(np.linalg.qr(np.random.default_rng(0).standard_normal((8, 8)))[0])
    exponents = lyapunov(traced(rotation, random_ids(300)))
    np.testing.assert_allclose(exponents.exponents, 0, atol=1e-6)
    found = spectrum_of(rotation)
    np.testing.assert_allclose(np.abs(found.eigenvalues), 1, atol=1e-6)
    assert found.spectral_radius == pytest.approx(1, abs=1e-6)


def test_the_eigenvalues_of_a_triangle_are_its_diagonal() -> None:
    found = spectrum_of(one_layer(np.array([[2.0, 4.0], [0.0, 3.0]])))
    assert found.eigenvalues.tolist() == pytest.approx([3, 2])


def test_the_effective_radius_counts_the_slopes() -> None:
    """V = 2 I: the radius of V D is twice the largest slope at each step."""
    parameters = one_layer(2 * np.eye(3), activation="tanh")
    trace = traced(parameters, random_ids(60))
    (found,) = recurrent_spectra(trace, positions=200)
    radii = 2 * trace.slopes[0][30:, 0].max(1)
    assert found.effective_radius == pytest.approx(np.median(radii))
    assert (found.effective_low, found.effective_high) == pytest.approx((radii.min(), radii.max()))


def test_those_of_a_linear_network_are_the_logarithms_of_its_eigenvalues() -> None:
    kernel = np.random.default_rng(3).standard_normal((6, 6)).astype(np.float32)
    found = lyapunov(traced(one_layer(kernel), random_ids(3000)), most_steps=2500, warm_up=400)
    expected = np.sort(np.log(np.abs(np.linalg.eigvals(kernel.astype(np.float64)))))[::-1]
    np.testing.assert_allclose(found.exponents, expected, atol=2e-3)  # pairs of eigenvalues turn on


def test_a_nilpotent_kernel_forgets_every_direction() -> None:
    """V^6 = 0: the product of six Jacobians is 0."""
    kernel = np.triu(np.random.default_rng(0).standard_normal((6, 6)), 1)
    found = lyapunov(traced(one_layer(kernel), random_ids(900)))
    assert found.exponents.tolist() == [-np.inf] * 6


@pytest.mark.parametrize("kind", [{}, {"layers": 2, "skip_connections": True, "activation": "sigmoid"}])
def test_their_sum_is_the_mean_logarithm_of_the_determinant(kind: dict[str, Any]) -> None:
    """The Jacobian of all layers is block triangular: its determinant is the product of |V| and of the slopes."""
    trace = traced(random_parameters(scale=0.7, **kind), random_ids(300, ids=5))
    found = lyapunov(trace, warm_up=1)
    steps = range(1, 300)
    volumes = [np.linalg.slogdet(layer.recurrent_kernel)[1] for layer in trace.parameters.layers]
    shrinking = sum(np.log(gain[steps, 0]).sum(1).mean() for gain in trace.slopes)
    assert found.exponents.sum() == pytest.approx(sum(volumes) + shrinking)
    assert found.positions == range(1, 300)


def test_the_first_exponents_of_a_large_state_are_those_of_all() -> None:
    trace = traced(random_parameters(units=12, scale=0.4), random_ids(900, ids=5))
    first, everything = lyapunov(trace, most=3, full_up_to=5), lyapunov(trace)
    np.testing.assert_allclose(first.exponents, everything.exponents[:3], atol=0.02)
    assert (first.dimensions, len(everything.exponents)) == (12, 12)


def test_with_relu_the_directions_beyond_the_rank_have_an_exponent_of_minus_infinity() -> None:
    """The last two units are always off, the others always on: there the network is linear."""
    kernel = np.random.default_rng(3).standard_normal((6, 6)).astype(np.float32) * 0.05
    parameters = one_layer(kernel, activation="relu")
    layer = replace(parameters.layers[0], bias=np.array([9, 9, 9, 9, -99, -99], np.float32))
    found = lyapunov(traced(replace(parameters, layers=(layer,)), random_ids(2000)), most_steps=1800)
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
    assert found.positions == range(100, 900)
