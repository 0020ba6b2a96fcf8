"""What a network does with windows of text: compared with networks whose answer is known."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest

from charlm.network.gradients import LagCurve
from charlm.network.rnn import Layer, Parameters
from charlm.training.views import LAGS, WARM_UP, WINDOWS, StepChange, choose_windows, probe, reach

RandomParameters = Callable[..., Parameters]
TEXT = np.random.default_rng(0).integers(0, 5, 4000).astype(np.uint8)


def linear(factor: float) -> Parameters:
    """Return a network of two linear units whose state shrinks by a factor in each step."""
    rng = np.random.default_rng(1)
    layer = Layer(
        rng.standard_normal((5, 2)).astype(np.float32), np.float32(factor) * np.eye(2, dtype=np.float32), None
    )
    return Parameters(
        None, (layer,), rng.standard_normal((2, 5)).astype(np.float32), np.zeros(5, np.float32), activation="linear"
    )


def test_windows_are_spread_over_the_text_and_hold_its_ids() -> None:
    windows = choose_windows(TEXT)
    assert windows is not None
    assert windows.shape == (WARM_UP + LAGS + 1, WINDOWS)
    np.testing.assert_array_equal(windows[:, 0], TEXT[: len(windows)])
    np.testing.assert_array_equal(windows[:, -1], TEXT[-len(windows) :])


@pytest.mark.parametrize(("length", "shape"), [(0, None), (1, None), (2, (2, 1)), (10, (10, 1)), (82, (81, 2))])
def test_a_short_text_has_fewer_and_shorter_windows(length: int, shape: tuple[int, int] | None) -> None:
    windows = choose_windows(TEXT[:length])
    assert (None if windows is None else windows.shape) == shape


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.05])
def test_the_gradient_of_a_linear_network_is_a_power_of_its_factor(factor: float) -> None:
    windows = choose_windows(TEXT)
    assert windows is not None
    (layer,) = probe(linear(factor), windows)
    expected = factor ** np.arange(LAGS)
    for curve in (layer.gradient.low, layer.gradient.median, layer.gradient.high):
        np.testing.assert_allclose(curve, expected, rtol=1e-4)
    assert layer.saturated_share == 0


@pytest.mark.parametrize(("scale", "low", "high"), [(1e-3, 0, 0), (100, 0.9, 1)])
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "softsign"])
def test_large_weights_saturate_and_small_ones_do_not(
    activation: str, scale: float, low: float, high: float, random_parameters: RandomParameters
) -> None:
    windows = choose_windows(TEXT)
    assert windows is not None
    layers = probe(random_parameters(layers=2, units=8, activation=activation, scale=scale), windows)
    assert all(low <= layer.saturated_share <= high for layer in layers)


def test_dead_units_count_as_saturated(random_parameters: RandomParameters) -> None:
    windows = choose_windows(TEXT)
    assert windows is not None
    parameters = random_parameters(activation="relu", scale=0.5)
    bias = np.full(4, -100.0, np.float32)
    dead = Layer(parameters.layers[0].kernel, parameters.layers[0].recurrent_kernel, bias)
    (layer,) = probe(
        Parameters(None, (dead,), parameters.logits_kernel, parameters.logits_bias, activation="relu"), windows
    )
    assert layer.saturated_share == 1
    assert np.isnan(layer.gradient.median[1:]).sum() == 0
    assert (layer.gradient.median[1:] == 0).all()


def test_weights_that_are_not_finite_give_nan_and_no_warning(random_parameters: RandomParameters) -> None:
    windows = choose_windows(TEXT)
    assert windows is not None
    parameters = random_parameters()
    parameters.layers[0].recurrent_kernel[:] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (layer,) = probe(parameters, windows)
    assert np.isnan(layer.gradient.median).all()


@pytest.mark.parametrize(
    ("median", "lag"),
    [([1, 0.5, 0.09, 0.2], 2), ([1, 0.5, 0.2], 3), ([1, np.nan, 0.5], 1), ([np.nan], 0), ([1, np.inf, 0.0], 2)],
)
def test_the_gradient_reaches_to_the_first_lag_at_which_it_is_below_a_tenth(median: list[float], lag: int) -> None:
    values = np.array(median)
    assert reach(LagCurve(0, np.arange(len(values)), values, values, values)) == lag


BEFORE = {
    "embedding": np.array([[3.0, 4.0]], np.float32),
    "rnn.0.kernel": np.array([[2.0]], np.float32),
    "rnn.0.recurrent_kernel": np.array([[1.0, 2.0]], np.float32),
}
AFTER = {
    "embedding": np.array([[3.0, 4.5]], np.float32),
    "rnn.0.kernel": np.array([[2.3]], np.float32),
    "rnn.0.recurrent_kernel": np.array([[1.0, 2.4]], np.float32),
}


def test_a_layer_is_all_its_tensors_together() -> None:
    norms = {"embedding": 2.0, "rnn.0.kernel": 3.0, "rnn.0.recurrent_kernel": 4.0}
    assert StepChange(7, norms, BEFORE, AFTER).scalars() == pytest.approx(
        {
            "gradient_norm/embedding": 2.0,
            "gradient_norm/rnn.0": 5.0,
            "gradient_to_weights/embedding": 2 / 5,
            "gradient_to_weights/rnn.0": 5 / 3,
            "update_norm/embedding": 0.5,
            "update_norm/rnn.0": 0.5,
            "update_to_weights/embedding": 0.1,
            "update_to_weights/rnn.0": 0.5 / 3,
        }
    )
