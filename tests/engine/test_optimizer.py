"""The optimizer by its name: it is built with its arguments, or refused with the reason."""

import keras
import numpy as np
import pytest
from engine.networks import OPTIMIZERS

from charlm.config.schema import OptimizerConfig
from charlm.engine.optimizer import POLYNOMIALS, Muon, build_optimizer


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_is_built_by_its_name_with_its_arguments_and_takes_a_step(name: str) -> None:
    arguments = {"weight_decay": 0.25, **({"momentum": 0.25} if name in {"muon", "sgd"} else {})}
    settings = OptimizerConfig.model_validate({"name": name, "learning_rate": 0.5, **arguments})
    built = build_optimizer(settings, precision="bfloat16")
    assert type(built).__name__.lower() == name
    assert {argument: getattr(built, argument) for argument in arguments} == arguments
    assert getattr(built, "precision", None) == ("bfloat16" if name == "muon" else None)
    assert float(built.learning_rate) == 0.5
    variable = keras.Variable(np.ones((3, 3), np.float32))
    built.apply([keras.ops.ones((3, 3))], [variable])
    assert not np.allclose(variable, 1)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(6, 6), (12, 5), (5, 12), (1, 7)])
def test_an_update_keeps_the_axes_and_brings_singular_values_near_1(shape: tuple[int, int], precision: str) -> None:
    optimizer = Muon()
    optimizer.precision = precision
    wanted = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    found = optimizer.zeropower_via_newtonschulz5(wanted, 5).numpy()
    u, sizes, v = np.linalg.svd(wanted, full_matrices=False)
    inside = np.diag(u.T @ found @ v.T)[sizes > 0.01 * np.linalg.norm(sizes)]
    assert found.dtype == np.float32
    optimizer.precision = "float32"
    is_rounded = (found != optimizer.zeropower_via_newtonschulz5(wanted, 5).numpy()).any()
    assert is_rounded == (precision == "bfloat16")
    assert len(inside) > 0
    assert np.all((inside > 0.6) & (inside < 1.4))


def test_the_polynomials_are_minimax_and_bring_the_interval_together() -> None:
    """The error of each has its largest size as often as it has coefficients, and once more (Chebyshev)."""
    x, low, high = np.geomspace(0.01, 1, 100_001), 0.01, 1.0
    for number, (a, b, c) in enumerate(POLYNOMIALS):
        polynomial = np.polynomial.Polynomial([0, a, 0, b, 0, c])
        interval = np.linspace(max(low, 0.1 * high), high, 100_001)
        values = polynomial(interval * (1.01 if number < 2 else 1))
        error = values - (values.min() + values.max()) / 2
        signs = np.sign(error[np.abs(error) > np.abs(error).max() * (1 - 1e-6)])
        assert 1 + np.count_nonzero(np.diff(signs)) == 4
        x = polynomial(x)
        low = float(polynomial(low))
        high = 2 - low
    assert (x.min(), x.max()) == pytest.approx((0.68, 1.32), abs=0.01)
