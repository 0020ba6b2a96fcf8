"""The optimizer by its name: it is built with its arguments, or refused with the reason."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from engine.networks import OPTIMIZERS
from numpy.typing import NDArray

from charlm.config.schema import ARGUMENTS, OptimizerConfig
from charlm.engine.optimizer import (
    Muon,
    Quintic,
    WeightAverage,
    build_optimizer,
    minimax_quintic,
    polar_polynomials,
)


def optimizer(**settings: Any) -> Any:
    return build_optimizer(OptimizerConfig(**settings))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_is_built_by_its_name_and_takes_a_step(name: str) -> None:
    built = build_optimizer(OptimizerConfig.model_validate({"name": name, "learning_rate": 0.5}), precision="bfloat16")
    assert type(built).__name__.lower() == name
    assert getattr(built, "precision", None) == ("bfloat16" if name == "muon" else None)
    assert float(built.learning_rate) == 0.5
    variable = keras.Variable(np.ones((3, 3), np.float32))
    built.apply([keras.ops.ones((3, 3))], [variable])
    assert not np.allclose(variable, 1)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_argument_reaches_keras(name: str) -> None:
    values = {"nesterov": True, "ns_steps": 3, "epsilon": 1e-3}
    for argument in ARGUMENTS[name]:
        value = values.get(argument, 0.25)
        assert getattr(optimizer(name=name, **{argument: value}), argument) == value
        assert getattr(optimizer(name=name), argument) != value


SHAPES = [(6, 6), (12, 5), (5, 12), (1, 7)]


def gradient(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_in_float32_its_steps_are_those_of_keras(shape: tuple[int, int]) -> None:
    ours, theirs = (keras.Variable(np.ones(shape, np.float32)) for _ in range(2))
    optimizers = [build(learning_rate=0.01, weight_decay=0.1, momentum=0.9) for build in (Muon, keras.optimizers.Muon)]
    for step in range(3):
        for optimizer, variable in zip(optimizers, (ours, theirs), strict=True):
            optimizer.apply([tf.constant(gradient(shape, step))], [variable])
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-5)


@pytest.mark.parametrize(("floor", "steps"), [(None, 5), (0.01, 3)], ids=["as in Keras", "with a floor"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_step_keeps_the_axes_and_brings_singular_values_that_are_not_tiny_near_1(
    shape: tuple[int, int], precision: str, floor: float | None, steps: int
) -> None:
    optimizer = Muon(polar_floor=floor)
    optimizer.precision = precision
    wanted = gradient(shape)
    found = optimizer.zeropower_via_newtonschulz5(wanted, steps).numpy()
    u, sizes, v = np.linalg.svd(wanted, full_matrices=False)
    inside = np.diag(u.T @ found @ v.T)[sizes > (floor or 0.05) * np.linalg.norm(sizes)]
    assert found.dtype == np.float32
    optimizer.precision = "float32"
    is_rounded = (found != optimizer.zeropower_via_newtonschulz5(wanted, steps).numpy()).any()
    assert is_rounded == (precision == "bfloat16")
    assert len(inside) > 0
    assert np.all((inside > 0.6) & (inside < 1.4))


def values(polynomial: Quintic, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Evaluate by NumPy's own polynomials."""
    a, b, c = polynomial
    return np.polynomial.Polynomial([0, a, 0, b, 0, c])(x)


@pytest.mark.parametrize(("low", "high"), [(0.1, 1.0), (0.3, 1.7), (0.9, 1.1)])
def test_a_minimax_polynomial_has_its_largest_error_four_times_with_alternating_signs(low: float, high: float) -> None:
    x = np.linspace(low, high, 20001)
    error = 1 - values(minimax_quintic(low, high), x)
    size = np.abs(error).max()
    signs = np.sign(error[np.abs(error) > size * (1 - 1e-6)])
    assert 1 + np.count_nonzero(np.diff(signs)) == 4  # Chebyshev: as many as coefficients, and one


@pytest.mark.parametrize(
    ("steps", "floor", "error"), [(3, 0.01, 0.33), (4, 0.005, 0.14), (5, 0.001, 0.21), (8, 0.001, 1e-6)]
)
def test_together_they_bring_the_whole_interval_near_1(steps: int, floor: float, error: float) -> None:
    x = np.geomspace(floor, 1, 10_001)
    for polynomial in polar_polynomials(steps, floor):
        x = values(polynomial, x)
    assert np.abs(x - 1).max() < error


def test_the_average_follows_the_equation() -> None:
    weight, expected = keras.Variable(np.zeros(3, np.float32)), 0.0
    average = WeightAverage({"x": weight}, 0.25)
    for step, value in enumerate([1.0, -2.0, 3.0, 5.0], start=1):
        weight.assign(np.full(3, value))
        average.update(tf.constant(step))
        momentum = min(0.25, (1 + step) / (10 + step))
        expected = momentum * expected + (1 - momentum) * value
        assert float(average.variables["x"][0]) == pytest.approx(expected, rel=1e-6)
