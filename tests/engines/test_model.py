"""The Keras model: its mathematics, the arguments of Keras, and its weights by name.

Axes: B batch, T time, V vocabulary, H units.
"""

import inspect
import random
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from arrays import bytes_of, check_close
from engines.networks import (
    B,
    V,
    build,
    layer_weights,
    parameters_of,
    random_ids,
    random_state,
    read,
    shared,
)
from models import make_random_model

from charlm.config.schema import ACTIVATIONS, DECIDED_BY_THE_TASK, RnnConfig
from charlm.core.rnn import nats
from charlm.core.scoring import mean_score
from charlm.engines.model import CharacterRNN, build_stock_model, named_seeds, named_weights
from charlm.errors import CharlmError

LARGE = {"layers": 3, "units": 64, "embedding": 4, "skip_connections": True, "use_bias": False}
NETWORKS: list[dict[str, Any]] = [
    {},
    {"layers": 2, "units": 5},
    {"embedding": 4},
    {"use_bias": False, "rnn": {"unroll": True}},
    {"layers": 2, "skip_connections": True},
    LARGE,
]
for name in ACTIVATIONS:
    NETWORKS.append({"activation": name, "layers": 2, "skip_connections": True})


# The two engines


@pytest.mark.parametrize(
    ("network", "length"),
    [*product(NETWORKS, [50]), ({}, 1), (LARGE, 150)],
    ids=str,
)
def test_the_network_is_the_same_as_in_numpy(network: dict[str, Any], length: int) -> None:
    model = shared(**network)
    ids = random_ids(length + 1, B)
    state = random_state(model)
    logits, last = model(ids[:-1].T, state)
    numpy_logits, numpy_last = parameters_of(model).unroll(ids[:-1], state)
    logits = tf.transpose(logits, [1, 0, 2])
    check_close([logits, *last], [numpy_logits, *numpy_last], atol=1e-5, of_peak=1e-5)
    # The text at temperature 0 is the same, too.
    np.testing.assert_array_equal(np.argmax(logits, -1), numpy_logits.argmax(-1))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(ids[1:], logits)
    numpy_loss = mean_score([nats(numpy_logits, ids[1:])]).nats_per_char
    assert float(loss) == pytest.approx(numpy_loss, rel=1e-6)


# Dropout


@pytest.fixture(
    params=[
        {"rnn": {"dropout": 0.5}},
        {"rnn": {"recurrent_dropout": 0.5}},
        {"layer_dropout": 0.5},
        {"output_dropout": 0.5},
    ],
    ids=str,
)
def with_dropout(request: pytest.FixtureRequest) -> CharacterRNN:
    """Return a network with a kind of dropout."""
    model = build(layers=2, **request.param)
    model.set_weights(shared(layers=2).get_weights())
    return model


def test_dropout_is_not_applied_outside_training(with_dropout: CharacterRNN) -> None:
    np.testing.assert_array_equal(read(with_dropout), read(shared(layers=2)))


def test_dropout_differs_each_time_in_training(with_dropout: CharacterRNN) -> None:
    first = read(with_dropout, training=True)
    assert not np.allclose(first, read(with_dropout))
    assert not np.allclose(first, read(with_dropout, training=True))


# The arguments of SimpleRNN


def penalty(name: str, factor: float) -> dict[str, Any]:
    return {"class_name": name.upper(), "config": {name: factor}}


@pytest.mark.parametrize(
    ("key", "tensor", "factor"),
    [
        ("kernel_regularizer", "kernel", 0.5),
        ("recurrent_regularizer", "recurrent_kernel", 0.25),
        ("bias_regularizer", "bias", 2.0),
    ],
)
def test_a_regularizer_adds_the_weights_of_each_layer_to_the_loss(
    key: str, tensor: str, factor: float
) -> None:
    model = build(layers=2, rnn={key: penalty("l2", factor)})
    read(model, training=True)
    squares = sum(np.square(weights).sum() for weights in layer_weights(model, tensor))
    assert float(sum(model.losses)) == pytest.approx(factor * squares, rel=1e-5)


def test_an_activity_regularizer_adds_the_outputs_of_the_last_call_to_the_loss() -> None:
    model = build(layers=2, rnn={"activity_regularizer": penalty("l1", 0.125)})
    for _ in range(2):
        read(model, training=True)
    parameters = parameters_of(model)
    state = random_state(model)
    expected = 0.0
    for ids in random_ids(B, 5).T:
        _, state = parameters.step(ids, state)
        expected += 0.125 * sum(np.abs(output).sum() for output in state) / B
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)


def test_each_argument_of_keras_is_either_a_setting_or_refused_with_a_reason() -> None:
    arguments = set(inspect.signature(keras.layers.SimpleRNN.__init__).parameters)
    not_settings = {"self", "kwargs", "seed"}  # the seed is that of the config
    assert arguments - not_settings == {*RnnConfig.model_fields, *DECIDED_BY_THE_TASK}


def keras_class(name: str, **arguments: Any) -> dict[str, Any]:
    return {"class_name": name, "config": arguments}


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("recurrent_initializer", "nope", "Could not interpret initializer identifier: nope"),
        ("kernel_initializer", keras_class("Constant", value="x"), ".*string.*"),
        ("kernel_initializer", keras_class("Constant", value=[1, 2]), ".*Incompatible shapes.*"),
        ("kernel_regularizer", keras_class("L2", strength=1), ".*L2.*"),
    ],
    ids=[
        "unknown initializer",
        "not a number",
        "does not fit the tensor",
        "unknown argument",
    ],
)
def test_a_value_that_keras_cannot_use_is_refused(key: str, value: Any, problem: str) -> None:
    with pytest.raises(CharlmError, match=f"^model: Keras says: {problem}") as refusal:
        build(rnn={key: value})
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("key", "tensor"),
    [
        ("kernel_initializer", "kernel"),
        ("recurrent_initializer", "recurrent_kernel"),
        ("bias_initializer", "bias"),
    ],
)
def test_an_initializer_of_null_means_the_default_of_keras(key: str, tensor: str) -> None:
    model = build(layers=2, skip_connections=True, rnn={key: None}, input_initializer="ones")
    _, upper = layer_weights(model, tensor)
    assert len(np.unique(upper)) > 1


# The initializer of the input


def rows_of_ones(kernel: Any) -> list[int]:
    return np.flatnonzero((kernel == 1).all(axis=1)).tolist()


def test_the_input_initializer_draws_the_kernel_of_the_first_layer() -> None:
    lower, upper = layer_weights(build(layers=2, input_initializer="ones"), "kernel")
    assert rows_of_ones(lower) == [*range(V)]
    assert rows_of_ones(upper) == []


def test_with_skip_connections_the_input_initializer_draws_the_last_rows_of_each_kernel() -> None:
    model = build(layers=2, skip_connections=True, input_initializer="ones")
    lower, upper = layer_weights(model, "kernel")
    assert rows_of_ones(lower) == [*range(V)]
    assert rows_of_ones(upper) == [*range(8, 8 + V)]


@pytest.mark.parametrize("skip_connections", [False, True], ids=["plain", "skips"])
def test_the_input_initializer_draws_the_embedding(skip_connections: bool) -> None:
    model = build(
        layers=2, embedding=4, skip_connections=skip_connections, input_initializer="ones"
    )
    weights = {name: weight.numpy() for name, weight in named_weights(model).items()}
    assert [name for name, weight in weights.items() if (weight == 1).any()] == ["embedding"]
    assert (weights["embedding"] == 1).all()


# Weights


def test_parameters_are_a_copy_that_training_does_not_change() -> None:
    model = build()
    parameters = parameters_of(model)
    before = bytes_of(parameters.tensors)
    gradients = [tf.ones(variable.shape) for variable in model.trainable_variables]
    keras.optimizers.SGD(0.1).apply(gradients, model.trainable_variables)
    assert bytes_of(parameters.tensors) == before
    assert not before.items() & bytes_of(parameters_of(model).tensors).items()


# Seeds


def test_building_a_network_does_not_change_the_random_numbers_of_the_program() -> None:
    random.seed(7)
    expected = random.random()
    random.seed(7)
    build()
    assert random.random() == expected


def test_threads_build_networks_with_the_weights_of_their_seeds() -> None:
    with ThreadPoolExecutor(6) as pool:
        models = list(pool.map(lambda seed: build(seed=seed, layers=2), (1, 1, 1, 2, 2, 2)))
    for weights in zip(*(model.get_weights() for model in models), strict=True):
        bits = [weight.tobytes() for weight in weights]
        assert bits == 3 * bits[:1] + 3 * bits[3:4]
        is_zero = not weights[0].any()  # the bias of the logits
        assert (bits[0] == bits[3]) == is_zero


def test_every_part_with_dropout_has_a_seed() -> None:
    model = build(layers=3, layer_dropout=0.5, output_dropout=0.5)
    assert [*named_seeds(model)] == ["rnn.0", "rnn.1", "rnn.2", "below.1", "below.2", "logits"]
    assert [*named_seeds(build(layers=2))] == ["rnn.0", "rnn.1"]


# The `.keras` model of stock layers


def test_the_stock_model_has_the_names_of_its_parts() -> None:
    trained = make_random_model(layers=2, skip_connections=True, embedding=3)
    stock_model = build_stock_model(trained)
    assert stock_model.name == "character_rnn"
    assert [(one.name, one.dtype, one.shape) for one in stock_model.inputs] == [
        ("ids", "int32", (None, None)),
        ("state_0", "float32", (None, 4)),
        ("state_1", "float32", (None, 4)),
    ]
    assert {"embedding", "rnn_0", "rnn_1", "logits"} <= {layer.name for layer in stock_model.layers}
