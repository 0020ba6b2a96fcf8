"""Slopes, gradients and curves, compared with central differences, and the spectral radius."""

from typing import Any

import numpy as np
import pytest
import reference
from arrays import check_close
from inspection.networks import random_ids, shift_register, traced
from models import overflowing_parameters, random_parameters
from numpy.typing import NDArray

from charlm.core.rnn import ACTIVATIONS, Integers, Parameters
from charlm.measures import gradients
from charlm.measures.gradients import (
    LagCurve,
    Trace,
    follow_back,
    gradient_norms,
    lag_curve,
    push_forward,
    read_trace,
    spectral_radius,
)

READ = [0, 3, 1, 1, 4, 2, 0, 2]
SHORT = np.array(READ[:6])
WITHOUT_A_KINK = np.array([-7.3, -2.9, -1.1, -0.6, -0.05, 0.04, 0.3, 0.9, 1.4, 3.2, 5.7, 6.4])
"""Inputs of activations that are smooth near them."""
STEP = 1e-6


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_slope_equals_central_differences(activation: str) -> None:
    f = np.vectorize(reference.ACTIVATIONS[activation], otypes=[float])
    expected = (f(WITHOUT_A_KINK + STEP) - f(WITHOUT_A_KINK - STEP)) / (2 * STEP)
    slopes = gradients.slope(activation, f(WITHOUT_A_KINK))
    np.testing.assert_allclose(slopes, expected, rtol=1e-6, atol=1e-8)


TARGET = 5
"""The step whose prediction, of the next character, is followed back."""
NETWORKS: list[dict[str, Any]] = [
    {},
    {"layers": 2, "activation": "sigmoid", "embedding": 3},
    {"layers": 3, "skip_connections": True, "embedding": 3},
    {"layers": 2, "skip_connections": True, "use_bias": False, "activation": "sigmoid"},
]


def loss(
    parameters: Parameters,
    time: int,
    layer: int,
    nudge: NDArray[Any],
) -> float:
    """Return the loss at the target if the output of a layer at a time is nudged."""
    logits, _ = reference.read(parameters, READ[: TARGET + 1], nudges={(time, layer): nudge})
    return reference.log_sum_exp(logits[TARGET]) - float(logits[TARGET, READ[TARGET + 1]])


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_a_trace_has_the_outputs_of_the_definition(network: dict[str, Any]) -> None:
    parameters = random_parameters(scale=0.7, **network)
    logits, state = reference.read(parameters, READ)
    trace = traced(parameters, READ)
    last_outputs = [output[-1, 0] for output in trace.outputs]
    traced_logits = parameters.logits(trace.outputs)[:, 0]
    check_close([traced_logits, *last_outputs], [logits, *state], atol=1e-7)


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_the_gradient_of_the_whole_state_equals_central_differences(
    network: dict[str, Any],
) -> None:
    parameters = random_parameters(scale=0.7, **network)
    steps = follow_back(traced(parameters, READ), np.array([TARGET]), lags=TARGET + 1)
    for lag, (state_gradients, _) in enumerate(steps):
        for layer, (gradient,) in enumerate(state_gradients):
            expected = []
            for nudge in 1e-5 * np.eye(len(gradient)):
                higher = loss(
                    parameters,
                    TARGET - lag,
                    layer,
                    nudge,
                )
                lower = loss(
                    parameters,
                    TARGET - lag,
                    layer,
                    -nudge,
                )
                expected.append((higher - lower) / 2e-5)
            np.testing.assert_allclose(gradient, expected, atol=1e-9)


def test_a_small_difference_moves_like_the_difference_of_two_readings() -> None:
    parameters = random_parameters(layers=3, scale=0.7).cast(np.float64)
    outputs = read_trace(parameters, np.array([1, 2])).outputs
    nudge = 1e-6 * np.random.default_rng(0).standard_normal((1, 12))
    parts = np.split(nudge, 3, axis=1)

    def nudged(sign: int) -> NDArray[Any]:
        """Return the state after another character from a nudged state."""
        state = tuple(output[-1] + sign * part for output, part in zip(outputs, parts, strict=True))
        return np.concatenate(parameters.step(np.array([3]), state)[1], axis=-1)

    trace = read_trace(parameters, np.array([1, 2, 3]))
    pushed = push_forward(parameters, nudge, tuple(slope[2] for slope in trace.slopes))
    np.testing.assert_allclose(pushed, (nudged(1) - nudged(-1)) / 2, rtol=1e-6, atol=1e-13)


def test_a_network_that_overflows_is_read_without_a_warning() -> None:
    trace = read_trace(overflowing_parameters(), SHORT)
    assert not np.isfinite(trace.outputs[0][-1]).any()


# Curves


def lag_curves(trace: Trace, steps: Integers, *, lags: int, texts: Any = 0) -> list[LagCurve]:
    """Return the curve of each layer over predictions."""
    norms = gradient_norms(
        trace,
        steps,
        lags=lags,
        texts=texts,
    )
    return [lag_curve(layer, of_layer) for layer, of_layer in enumerate(norms)]


def test_a_curve_has_the_percentiles_of_single_predictions() -> None:
    trace = traced(random_parameters(scale=0.7), random_ids(60, ids=5))
    (curve,) = lag_curves(trace, np.arange(20, 50), lags=3)
    steps = follow_back(trace, np.arange(20, 50), lags=3)
    norms = np.array([np.linalg.norm(gradient, axis=1) for (gradient,), _ in steps])
    expected = np.quantile(norms / norms[0], [0.1, 0.5, 0.9], axis=1)
    check_close([curve.low, curve.median, curve.high], expected, rtol=1e-12)
    assert curve.lag.tolist() == [0, 1, 2]


def test_predictions_without_a_gradient_are_left_out() -> None:
    """The register is so sure of the character before the last that right predictions lose 0."""
    parameters = shift_register(3, reads=1)
    parameters.logits_kernel[...] *= 1000
    trace = traced(parameters, [0, 1, 0, 1, 2, 1, 2, 0, 1])
    (curve,) = lag_curves(trace, np.arange(2, 8), lags=4)
    for values in (curve.low, curve.median, curve.high):
        assert values.tolist() == [1, 1, 0, 0]


@pytest.fixture
def two_texts() -> NDArray[Any]:
    """Return two texts, [T, 2]."""
    return random_ids(24, ids=5).reshape(12, 2)


def test_a_text_among_several_has_the_same_curve(two_texts: NDArray[Any]) -> None:
    parameters = random_parameters(layers=2, scale=0.7)
    among = lag_curves(traced(parameters, two_texts), np.array([9]), lags=5, texts=np.array([1]))
    alone = lag_curves(traced(parameters, two_texts[:, 1]), np.array([9]), lags=5)
    check_close([curve.median for curve in among], [curve.median for curve in alone], rtol=1e-12)
    assert [curve.layer for curve in among] == [0, 1]


def test_a_gradient_of_zero_has_no_curve(two_texts: NDArray[Any]) -> None:
    parameters = random_parameters(layers=2, scale=0.7)
    parameters.logits_kernel[...] = 0
    curve, _ = lag_curves(traced(parameters, two_texts[:, 0]), np.array([9]), lags=4)
    for values in (curve.low, curve.median, curve.high):
        assert np.isnan(values).tolist() == [True] * 4


# The spectral radius


@pytest.mark.parametrize("size", [1, 2, 30, 200])
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_radius_is_the_size_of_the_largest_eigenvalue(size: int, scale: float) -> None:
    for seed in range(5):
        matrix = scale * np.random.default_rng(seed).standard_normal((size, size))
        matrix = matrix.astype(np.float32)
        expected = np.abs(np.linalg.eigvals(matrix.astype(np.float64))).max()
        assert spectral_radius(matrix) == pytest.approx(expected, rel=1e-2), seed


@pytest.mark.parametrize("matrix", [np.eye(5, k=1), np.zeros((3, 3))], ids=["shift", "zeros"])
def test_the_radius_can_be_zero(matrix: NDArray[Any]) -> None:
    assert spectral_radius(matrix.astype(np.float32)) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_radius_of_a_matrix_that_is_not_finite_is_nan(value: float) -> None:
    assert np.isnan(spectral_radius(np.array([[value]], np.float32)))
