"""The optimizers: their settings, and Muon by Keras and by the kernel."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from arrays import check_close
from numpy.typing import NDArray

from charlm.config.schema import OptimizerConfig
from charlm.engines.compiled import Update
from charlm.engines.kernel import load_kernel
from charlm.engines.model import copied
from charlm.engines.step import Muon, build_optimizer, named_slots

pytestmark = pytest.mark.usefixtures("eagerly")


TENSORS = [(6, 6), (12, 5), (7,), (5, 12), (3, 40), (4, 5), (130, 70), (2, 3)]
NONE = slice(0, 0)
ROWS = [NONE, slice(5, 12), NONE, NONE, NONE, slice(0, 4), NONE, NONE]
"""The rows of characters."""
MOMENTUM = 0.8
"""Momentum of the average of the weights."""


def random_steps() -> list[list[NDArray[np.float64]]]:
    """Return weights, then three gradients, of TENSORS; the last gradients are zero."""
    rng = np.random.default_rng(0)
    steps = [[rng.normal(size=shape) for shape in TENSORS] for _ in range(4)]
    for _, *gradient in steps[1:]:
        gradient[-1][...] = 0
    return steps


def optimizer_of(fields: dict[str, Any], rows: list[slice] = ROWS) -> Any:
    return build_optimizer(OptimizerConfig.model_validate({"learning_rate": 0.1, **fields}), rows)


def variables_by_keras(fields: dict[str, Any], clip: float) -> dict[str, NDArray[Any]]:
    """Return weights, averages and the optimizer's variables after three steps.

    They are float64, except with Muon, which Keras multiplies by a float32 learning rate.
    """
    weights, *gradients = random_steps()
    optimizer = optimizer_of(fields)
    dtype = "float32" if isinstance(optimizer, Muon) else "float64"
    variables = [keras.Variable(weight, dtype=dtype) for weight in weights]
    names = dict(zip(map(str, range(len(weights))), variables, strict=True))
    averages = {f"average/{name}": part.numpy() for name, part in names.items()}
    for step, gradient in enumerate(gradients, start=1):
        optimizer.apply([tf.constant(clip * part, dtype) for part in gradient], variables)
        kept = min(MOMENTUM, (1 + step) / (10 + step))
        for name, part in names.items():
            average = averages[f"average/{name}"]
            averages[f"average/{name}"] = kept * average + (1 - kept) * part.numpy()
    slots = named_slots(optimizer, names)
    found = {name: part.numpy() for name, part in {**names, **slots}.items()}
    return found | averages


def variables_by_kernel(fields: dict[str, Any], clip: float) -> dict[str, NDArray[Any]]:
    """Return the same by the kernel."""
    weights, *gradients = random_steps()
    optimizer = optimizer_of(fields)
    variables = [keras.Variable(weight.astype(np.float32)) for weight in weights]
    optimizer.build(variables)
    names = dict(zip(map(str, range(len(weights))), variables, strict=True))
    slots = copied(named_slots(optimizer, names))
    arrays = copied(names)
    averages = copied(names)
    of_weights = {name: np.empty_like(array) for name, array in arrays.items()}
    update = Update(
        load_kernel(),
        optimizer,
        threads=ThreadPoolExecutor(2),
        weights=arrays,
        gradients=of_weights,
        average=averages,
        slots=slots,
        bfloat16=False,
    )
    for gradient in gradients:
        for array, part in zip(of_weights.values(), gradient, strict=True):
            array[...] = part
        update(0.1, clip=clip, average_momentum=MOMENTUM)
    return {**arrays, **{f"average/{name}": part for name, part in averages.items()}, **slots}


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "adam"},
        {"name": "adam", "weight_decay": 0.2},
        {"name": "adamw", "weight_decay": 0.2},
        {"name": "muon"},
        {"name": "muon", "weight_decay": 0.2, "momentum": 0.5},
        {"name": "muon", "weight_decay": 0.0},
        {"name": "sgd"},
        {"name": "sgd", "momentum": 0.5, "weight_decay": 0.2},
    ],
    ids=str,
)
@pytest.mark.parametrize("clip", [1.0, 0.25])
def test_the_kernel_updates_as_keras_does(fields: dict[str, Any], clip: float) -> None:
    expected = variables_by_keras(fields, clip)
    found = variables_by_kernel(fields, clip)
    assert found.keys() == expected.keys()
    expected_values = [expected[name] for name in found]
    check_close(found.values(), expected_values, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["adam", "adamw", "muon", "sgd"])
def test_every_variable_of_an_optimizer_has_a_name(name: str) -> None:
    optimizer = optimizer_of({"name": name})
    variables = [keras.Variable(weight.astype(np.float32)) for weight in random_steps()[0]]
    optimizer.build(variables)
    names = named_slots(optimizer, dict(zip("abcdefgh", variables, strict=False)))
    assert len(names) == len(optimizer.variables)


@pytest.mark.parametrize(
    ("decay", "expected"), [(0.0, 0), (0.001, 0.001), (0.3, 0.004), (None, 0.004)]
)
def test_muon_decays_a_bias_by_at_most_0_004(decay: float | None, expected: float) -> None:
    bias = keras.Variable(np.ones(3, np.float32))
    optimizer = optimizer_of({"name": "muon", "weight_decay": decay}, [NONE])
    optimizer.apply([tf.zeros(3)], [bias])
    assert bias.numpy() == pytest.approx(1 - 0.1 * expected, abs=1e-7)
