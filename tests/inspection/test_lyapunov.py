"""Lyapunov exponents of networks whose exponents are known."""

from typing import Any

import numpy as np
import pytest
from conftest import RandomParameters
from inspection.networks import one_layer, random_ids, shift_register

from charlm.inspection.lyapunov import lyapunov, push_forward
from charlm.inspection.trace import cut_weights, read_text


def test_those_of_a_linear_network_are_the_logarithms_of_its_eigenvalues() -> None:
    kernel = np.random.default_rng(3).standard_normal((6, 6)).astype(np.float32)
    found = lyapunov(read_text(cut_weights(one_layer(kernel)), random_ids(3000)), most_steps=2500, warm_up=400)
    expected = np.sort(np.log(np.abs(np.linalg.eigvals(kernel.astype(np.float64)))))[::-1]
    np.testing.assert_allclose(found.exponents, expected, atol=2e-3)  # pairs of eigenvalues turn on


@pytest.mark.parametrize("kind", [{}, {"layers": 2, "skip_connections": True, "activation": "softsign"}])
def test_their_sum_is_the_mean_logarithm_of_the_determinant(
    random_parameters: RandomParameters, kind: dict[str, Any]
) -> None:
    """The Jacobian of all layers is block triangular: its determinant is the product of |V| and of the slopes."""
    trace = read_text(cut_weights(random_parameters(scale=0.7, **kind)), random_ids(300, ids=5))
    found = lyapunov(trace, warm_up=1)
    steps = range(1, 300)
    volumes = [np.linalg.slogdet(kernel)[1] for kernel in trace.weights.recurrent]
    shrinking = sum(np.log(gain[steps, 0]).sum(1).mean() for gain in trace.slopes)
    assert found.exponents.sum() == pytest.approx(sum(volumes) + shrinking)
    assert found.steps == 299


def test_a_rotation_neither_grows_nor_shrinks_and_has_no_time_constant_below_zero() -> None:
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 5)))[0]
    found = lyapunov(read_text(cut_weights(one_layer(rotation)), random_ids(200)))
    np.testing.assert_allclose(found.exponents, 0, atol=1e-6)


def test_the_time_constant_is_that_of_the_slowest_direction() -> None:
    found = lyapunov(read_text(cut_weights(one_layer(np.diag([0.9, 0.5, 0.1]))), random_ids(300)))
    assert found.time_constant == pytest.approx(-1 / np.log(0.9), rel=1e-4)
    grown = lyapunov(read_text(cut_weights(one_layer(np.diag([1.1, 0.5]))), random_ids(300)))
    assert grown.time_constant is None


def test_a_shift_register_forgets_at_once() -> None:
    found = lyapunov(read_text(cut_weights(shift_register(3)), random_ids(300)))
    assert found.exponents.max() < -10


def test_the_first_exponents_of_a_large_state_are_those_of_all(random_parameters: RandomParameters) -> None:
    trace = read_text(cut_weights(random_parameters(units=12, scale=0.4)), random_ids(900, ids=5))
    first, everything = lyapunov(trace, most=3, full_up_to=5), lyapunov(trace)
    np.testing.assert_allclose(first.exponents, everything.exponents[:3], atol=0.02)
    assert (first.dimensions, len(everything.exponents)) == (12, 12)


def test_a_difference_moves_as_two_readings_do(random_parameters: RandomParameters) -> None:
    parameters = random_parameters(layers=3, scale=0.7)
    weights = cut_weights(parameters)
    before = read_text(weights, np.array([1, 2])).outputs
    nudge = 1e-6 * np.random.default_rng(0).standard_normal((1, 12))
    states = [tuple(output[-1] + sign * part for output, part in zip(before, np.split(nudge, 3, axis=1), strict=True))
              for sign in (1, -1)]  # fmt: skip
    ends = [np.concatenate(read_text(weights, np.array([3]), state=state).outputs, axis=-1)[0] for state in states]
    at = read_text(weights, np.array([1, 2, 3]))
    pushed = push_forward(weights, nudge, tuple(gain[2] for gain in at.slopes))
    np.testing.assert_allclose(pushed, (ends[0] - ends[1]) / 2, rtol=1e-6, atol=1e-13)
