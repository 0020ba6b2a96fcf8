"""Spectra of matrices whose eigenvalues are known."""

import numpy as np
import pytest
from conftest import RandomParameters
from inspection.networks import one_layer, random_ids, shift_register

from charlm.inspection.spectrum import RecurrentSpectrum, recurrent_spectra
from charlm.inspection.trace import cut_weights, read_text
from charlm.network.rnn import Parameters


def spectrum_of(parameters: Parameters, **settings: int) -> RecurrentSpectrum:
    """Return the spectrum of a single layer on a random text."""
    (found,) = recurrent_spectra(read_text(cut_weights(parameters), random_ids(60)), **settings)
    return found


def test_an_orthogonal_kernel_lies_on_the_unit_circle() -> None:
    found = spectrum_of(one_layer(np.linalg.qr(np.random.default_rng(0).standard_normal((8, 8)))[0]))
    np.testing.assert_allclose(np.abs(found.eigenvalues), 1, atol=1e-6)
    assert found.spectral_radius == pytest.approx(1, abs=1e-6)
    assert found.largest_singular_value == pytest.approx(1, abs=1e-6)
    assert found.non_normality == pytest.approx(0, abs=1e-3)


def test_a_register_has_no_radius_and_is_as_far_from_normal_as_can_be() -> None:
    found = spectrum_of(shift_register(3))
    assert found.spectral_radius == 0
    assert found.largest_singular_value == pytest.approx(1)
    assert found.non_normality == 1


def test_henrici_of_a_triangle_is_its_part_above_the_diagonal() -> None:
    found = spectrum_of(one_layer(np.array([[3.0, 4.0], [0.0, 2.0]])))
    assert found.eigenvalues.tolist() == pytest.approx([3, 2])
    assert found.non_normality == pytest.approx(4 / np.sqrt(29))


def test_the_effective_radius_counts_the_slopes() -> None:
    """V = 2 I: the radius of V D is twice the largest slope at each step."""
    parameters = one_layer(2 * np.eye(3), activation="tanh")
    trace = read_text(cut_weights(parameters), random_ids(60))
    (found,) = recurrent_spectra(trace, positions=200)
    radii = 2 * trace.slopes[0][30:, 0].max(1)
    assert found.effective_radius_positions == 30
    assert found.effective_radius == pytest.approx(np.median(radii))
    assert (found.effective_radius_low, found.effective_radius_high) == pytest.approx((radii.min(), radii.max()))


def test_a_linear_layer_has_the_effective_radius_of_its_kernel() -> None:
    found = spectrum_of(one_layer(0.7 * np.eye(3)), positions=3)
    assert found.effective_radius == pytest.approx(found.spectral_radius)


def test_every_layer_has_its_spectrum(random_parameters: RandomParameters) -> None:
    found = recurrent_spectra(read_text(cut_weights(random_parameters(layers=3)), random_ids(20, ids=5)))
    assert [layer.layer for layer in found] == [0, 1, 2]
