"""Derivatives: slopes and gradients, compared with central differences in float64 and automatic differentiation."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import reference
from arrays import check_close
from inspection.networks import random_ids, traced
from models import random_parameters
from numpy.typing import NDArray

from charlm.network import gradients
from charlm.network.gradients import DERIVATIVES, follow_back, lag_curves, push_forward, read_text, spectral_radius
from charlm.network.rnn import Parameters

IDS = [0, 3, 1, 1, 4, 2, 0, 2]
SHORT = np.array(IDS[:6])
POINTS = np.array([-7.3, -2.9, -1.1, -0.6, -0.05, 0.04, 0.3, 0.9, 1.4, 3.2, 5.7, 6.4])  # no kink among them
STEP = 1e-6


def test_the_slope_is_that_of_central_differences() -> None:
    assert set(DERIVATIVES) == set(reference.ACTIVATIONS)
    for activation in DERIVATIVES:
        f = np.vectorize(reference.ACTIVATIONS[activation], otypes=[float])
        expected = (f(POINTS + STEP) - f(POINTS - STEP)) / (2 * STEP)
        np.testing.assert_allclose(gradients.slope(activation, f(POINTS)), expected, rtol=1e-6, atol=1e-8)


AT = 5
"""The step whose prediction is followed back, of character AT + 1."""
KINDS: list[dict[str, Any]] = [
    *({}, {"layers": 2, "activation": "sigmoid", "embedding": 3}),
    {"layers": 3, "skip_connections": True, "embedding": 3},
    {"layers": 2, "skip_connections": True, "use_bias": False, "activation": "sigmoid"},
]


def loss(parameters: Parameters, time: int, layer: int, nudge: NDArray[Any]) -> float:
    """Return the loss of the prediction at AT if the output of a layer at a time is nudged."""
    logits, _ = reference.read(parameters, IDS[: AT + 1], nudges={(time, layer): nudge})
    return reference.log_sum_exp(logits[AT]) - float(logits[AT, IDS[AT + 1]])


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_the_whole_state_is_that_of_central_differences(kind: dict[str, Any]) -> None:
    parameters = random_parameters(scale=0.7, **kind)
    expected, state = reference.read(parameters, IDS)
    trace = traced(parameters, IDS)
    check_close([trace.logits[:, 0], *(output[-1, 0] for output in trace.outputs)], [expected, *state], atol=1e-7)
    for lag, (taught, _) in enumerate(follow_back(trace, np.array([AT]), lags=AT + 1)):
        for layer, (gradient,) in enumerate(taught):
            nudges = 1e-5 * np.eye(len(gradient))
            ends = [[loss(parameters, AT - lag, layer, sign * nudge) for nudge in nudges] for sign in (1, -1)]
            np.testing.assert_allclose(gradient, np.subtract(ends[0], ends[1]) / 2e-5, atol=1e-9)


def test_a_difference_moves_as_two_readings_do() -> None:
    parameters = random_parameters(layers=3, scale=0.7)
    exact = parameters.cast(np.float64)
    before = read_text(exact, np.array([1, 2])).outputs
    nudge = 1e-6 * np.random.default_rng(0).standard_normal((1, 12))
    states = [tuple(output[-1] + sign * part for output, part in zip(before, np.split(nudge, 3, axis=1), strict=True))
              for sign in (1, -1)]  # fmt: skip
    ends = [np.concatenate(exact.step(np.array([3]), state)[1], axis=-1) for state in states]
    at = read_text(exact, np.array([1, 2, 3]))
    pushed = push_forward(exact, nudge, tuple(gain[2] for gain in at.slopes))
    np.testing.assert_allclose(pushed, (ends[0] - ends[1]) / 2, rtol=1e-6, atol=1e-13)


def test_a_curve_has_percentiles_of_the_predictions_each_followed_as_if_alone() -> None:
    trace = traced(random_parameters(scale=0.7), random_ids(60, ids=5))
    (curve,) = lag_curves(trace, np.arange(20, 50), lags=3)
    each = [lag_curves(trace, np.array([step]), lags=3)[0].median for step in range(20, 50)]
    expected = np.quantile(each, [0.1, 0.5, 0.9], axis=0)
    check_close([curve.low, curve.median, curve.high], expected, rtol=1e-12)
    parameters, texts = random_parameters(layers=2, scale=0.7), random_ids(24, ids=5).reshape(12, 2)
    both = lag_curves(traced(parameters, texts), np.array([9]), lags=5, texts=np.array([1]))
    alone = lag_curves(traced(parameters, texts[:, 1]), np.array([9]), lags=5)
    check_close([one.median for one in both], [one.median for one in alone], rtol=1e-12)
    parameters.logits_kernel[...] = 0  # a gradient of zero is not divided by
    assert np.isnan(lag_curves(traced(parameters, texts[:, 0]), np.array([9]), lags=4)[0].median).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_everything_has_the_dtype_of_the_weights(dtype: type) -> None:
    trace = read_text(random_parameters(layers=2, skip_connections=True).cast(dtype), SHORT)
    for taught, changes in follow_back(trace, np.array([3, 4]), lags=3):
        arrays = (*trace.outputs, *trace.slopes, trace.logits, *taught, *changes)
        assert {array.dtype for array in arrays} == {np.dtype(dtype)}


def test_the_radius_is_the_size_of_the_largest_eigenvalue() -> None:
    for size, scale, seed in product((1, 2, 30, 200), (1e-3, 1.0, 1e3), range(5)):
        matrix = (scale * np.random.default_rng(seed).standard_normal((size, size))).astype(np.float32)
        expected = np.abs(np.linalg.eigvals(matrix.astype(np.float64))).max()
        assert spectral_radius(matrix) == pytest.approx(expected, rel=1e-2), (size, scale, seed)
    assert spectral_radius(np.eye(5, k=1, dtype=np.float32)) == 0  # it only shifts
    assert spectral_radius(np.zeros((3, 3), np.float32)) == 0
    for value in (np.nan, np.inf):
        assert np.isnan(spectral_radius(np.array([[value]], np.float32)))
