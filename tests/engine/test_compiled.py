"""Layers and networks whose recurrence kernel.c computes, against the same in TensorFlow.

Axes: B batch, T time, H units.
"""

import shutil
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from arrays import check_close
from engine.networks import V, config

from charlm.engine.compiler import COMPILERS
from charlm.engine.model import CharacterRNN, build_model, zero_state
from charlm.hardware import multiplies_bfloat16

T, B = 9, 5
NETWORKS: list[dict[str, Any]] = [
    {},
    {"layers": 3, "skip_connections": True, "units": 20},
    {"layers": 2, "embedding": 4, "skip_connections": True},
    {"layers": 2, "use_bias": False},
    {"layers": 2, "layer_dropout": 0.3, "output_dropout": 0.3},
    {"layers": 2, "skip_connections": True, "rnn": {"dropout": 0.3, "recurrent_dropout": 0.3}},
    {"rnn": {"recurrent_dropout": 0.3}},
    {"activation": "relu", "units": 7},
    {"activation": "sigmoid"},
    {"activation": "linear"},
]
"""Settings of networks."""


@pytest.fixture(autouse=True)
def compiler() -> None:
    if not any(shutil.which(name) for name in COMPILERS):
        pytest.skip("missing: a C compiler")


def network(settings: dict[str, Any], kind: str = "tensorflow", *, precision: str = "float32") -> CharacterRNN:
    """Return a network whose recurrence is in TensorFlow or in the kernel."""
    found = config(**settings)
    training = found.training.model_copy(update={"kernel": kind})
    return build_model(found.model_copy(update={"training": training}), V, precision=precision)


def results(model: CharacterRNN, *, in_graph: bool = False) -> list[Any]:
    """Return the loss of a window with dropout, the gradients, and the state after it."""
    ids = tf.constant(np.random.default_rng(0).integers(0, V, (T + 1, B)), tf.int32)

    def compute() -> list[Any]:
        with tf.GradientTape() as tape:
            logits, outputs, state = model.predict_window(ids[:-1], zero_state(model, B), training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(ids[1:], logits)
            loss = tf.reduce_mean(losses) + model.regularization(outputs)
        return [loss, *map(tf.convert_to_tensor, tape.gradient(loss, model.trainable_variables)), *state]

    return [value.numpy() for value in (tf.function(compute, autograph=False) if in_graph else compute)()]


@pytest.mark.parametrize("settings", NETWORKS, ids=str)
def test_loss_gradients_and_state_are_those_of_tensorflow(settings: dict[str, Any]) -> None:
    expected, found = (results(network(settings, kind)) for kind in ("tensorflow", "compiled"))
    check_close(found, expected, atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("settings", NETWORKS[1:3], ids=str)
def test_bfloat16_changes_them_only_by_rounding(settings: dict[str, Any]) -> None:
    if not multiplies_bfloat16():
        pytest.skip("this processor does not multiply bfloat16")
    pair = (network(settings, kind, precision="bfloat16") for kind in ("tensorflow", "compiled"))
    expected, found = (results(model, in_graph=True) for model in pair)
    check_close(found, expected, of_peak=0.03)


def test_a_graph_repeats_its_results_to_the_bit() -> None:
    first, second = (results(network(NETWORKS[1], "compiled"), in_graph=True) for _ in range(2))
    check_close(first, second)


def test_without_training_tensorflow_computes_it_so_that_the_graph_can_be_shown() -> None:
    model = network({}, "compiled")
    forward = tf.function(
        lambda ids: model.predict_window(ids, zero_state(model, B), training=False)[0], autograph=False
    )
    operations = forward.get_concrete_function(tf.TensorSpec((T, B), tf.int32)).graph.get_operations()
    assert "PyFuncStateless" not in {operation.type for operation in operations}
    assert len([operation for operation in operations if operation.type == "Tanh"]) == T
