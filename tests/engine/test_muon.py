"""Muon at the precision of training, compared with Keras's."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from charlm.config.schema import OptimizerConfig
from charlm.engine.muon import Muon
from charlm.engine.optimizer import build_optimizer
from charlm.errors import CharlmError

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


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_step_is_nearly_orthogonal(shape: tuple[int, int], precision: str) -> None:
    optimizer = Muon()
    optimizer.precision = precision
    wanted = gradient(shape)
    found = optimizer.zeropower_via_newtonschulz5(wanted, 5).numpy()
    u, sizes, v = np.linalg.svd(wanted, full_matrices=False)
    assert found.dtype == np.float32
    # The iteration keeps the axes, and gives singular values between 0.7 and 1.2, except if they were tiny before.
    large = sizes > 0.05 * np.linalg.norm(sizes)
    inside = np.diag(u.T @ found @ v.T)[large]
    assert np.all((inside > 0.6) & (inside < 1.3))
    assert np.linalg.svd(found, compute_uv=False).max() < 1.3


def test_bfloat16_rounds_the_products() -> None:
    rounding = Muon()
    rounding.precision = "bfloat16"
    exact, rounded = (o.zeropower_via_newtonschulz5(gradient((8, 8)), 5).numpy() for o in (Muon(), rounding))
    assert not np.array_equal(exact, rounded)
    np.testing.assert_allclose(exact, rounded, atol=0.1)


def test_a_gradient_of_zero_gives_a_step_of_zero() -> None:
    assert not Muon().zeropower_via_newtonschulz5(np.zeros((4, 4), np.float32), 5).numpy().any()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_name_muon_means_this_class_at_the_precision_of_training(precision: str) -> None:
    built = build_optimizer(OptimizerConfig(name="muon"), precision=precision)
    assert isinstance(built, Muon)
    assert built.precision == precision


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_with_a_floor_three_steps_bring_the_singular_values_above_it_near_1(
    shape: tuple[int, int], precision: str
) -> None:
    optimizer = Muon(polar_floor=0.01)
    optimizer.precision = precision
    wanted = gradient(shape)
    found = optimizer.zeropower_via_newtonschulz5(wanted, 3).numpy()
    u, sizes, v = np.linalg.svd(wanted, full_matrices=False)
    assert sizes.min() > 0.01 * np.linalg.norm(sizes)
    inside = np.diag(u.T @ found @ v.T)
    assert np.all((inside > 0.6) & (inside < 1.4))


@pytest.mark.parametrize("floor", [0, 1, -0.1, 2])
def test_a_floor_outside_0_to_1_is_refused_with_the_value(floor: float) -> None:
    with pytest.raises(CharlmError, match=rf"training\.optimizer: polar_floor: found {floor}; must be more than 0"):
        build_optimizer(OptimizerConfig.model_validate({"name": "muon", "polar_floor": floor}))


def test_the_arguments_of_keras_are_known_beside_the_floor() -> None:
    settings = {"name": "muon", "polar_floor": 0.01, "ns_steps": 3, "momentum": 0.9}
    built = build_optimizer(OptimizerConfig.model_validate(settings))
    assert (built.polar_floor, built.ns_steps, built.momentum) == (0.01, 3, 0.9)
    assert Muon.from_config(built.get_config()).polar_floor == 0.01
