"""The Keras model: the same mathematics as `charlm.network.rnn`, the arguments of Keras, and the weights by name.

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
import reference
import tensorflow as tf
from arrays import bytes_of, check_close
from engine.networks import B, V, build, layer_weights, random_ids, random_state, read, shared
from models import make_random_model

from charlm.config.schema import ACTIVATIONS, DECIDED_BY_THE_TASK, RnnConfig
from charlm.engine.model import build_stock_model, named_weights, to_parameters
from charlm.errors import CharlmError
from charlm.evaluation.scoring import mean_score
from charlm.network.rnn import nats

STRUCTURES: list[dict[str, Any]] = [
    *(
        {},
        {"layers": 2, "units": 5},
        {"embedding": 4},
        {"use_bias": False, "rnn": {"unroll": True}},
    ),
    {"layers": 2, "skip_connections": True},
    {"layers": 3, "units": 64, "embedding": 4, "skip_connections": True, "use_bias": False},
]
NETWORKS: list[dict[str, Any]] = [
    *STRUCTURES,
    *(
        {"activation": activation, "layers": 2, "skip_connections": True}
        for activation in ACTIVATIONS
    ),
]


# The two engines


@pytest.mark.parametrize(
    ("network", "length"),
    [*product(NETWORKS, [50]), (STRUCTURES[0], 1), (STRUCTURES[-1], 150)],
    ids=str,
)
def test_logits_state_and_loss_are_those_of_the_numpy_engine(
    network: dict[str, Any], length: int
) -> None:
    model = shared(**network)
    ids, state = random_ids(length + 1, B), random_state(model)
    logits, last = model(ids[:-1].T, state)
    numpy_logits, numpy_last = to_parameters(model).unroll(ids[:-1], state)
    logits = tf.transpose(logits, [1, 0, 2])
    check_close([logits, *last], [numpy_logits, *numpy_last], atol=1e-5, of_peak=1e-5)
    np.testing.assert_array_equal(
        np.argmax(logits, -1), numpy_logits.argmax(-1)
    )  # so the text at temperature 0, too
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(ids[1:], logits)
    assert float(loss) == pytest.approx(
        mean_score([nats(numpy_logits, ids[1:])]).nats_per_char, rel=1e-6
    )


# Dropout


def test_dropout_is_applied_only_in_training_and_differs_each_time() -> None:
    for dropout in (
        {"rnn": {"dropout": 0.5}},
        {"rnn": {"recurrent_dropout": 0.5}},
        {"layer_dropout": 0.5},
        {"output_dropout": 0.5},
    ):
        model, plain = build(layers=2, **dropout), shared(layers=2)
        model.set_weights(plain.get_weights())
        np.testing.assert_array_equal(read(model), read(plain))
        np.testing.assert_array_equal(read(plain, training=True), read(plain))
        first, second = read(model, training=True), read(model, training=True)
        assert not np.allclose(first, read(plain))
        assert not np.allclose(first, second)


def test_the_masks_are_scaled_and_those_between_layers_are_the_same_for_all_steps_of_a_window() -> (
    None
):
    model = build(
        layers=3, units=50, layer_dropout=0.25, output_dropout=0.001, rnn={"recurrent_dropout": 0.5}
    )
    masks = model.draw_masks(30, 40)
    assert [np.array(mask).shape for mask in masks] == [(3, 40, 50), (2, 40, 50), (30, 40, 50)]
    for tensor, rate in zip(masks, (0.5, 0.25, 0.001), strict=True):
        mask = np.array(tensor)
        np.testing.assert_allclose(np.unique(mask), np.array([0, 1 / (1 - rate)]), rtol=1e-6)
        assert (mask == 0).mean() == pytest.approx(rate, rel=0.3)


# The arguments of SimpleRNN


def test_the_regularizers_of_each_layer_add_to_the_loss() -> None:
    factors = {"kernel": 0.5, "recurrent": 0.25, "bias": 2.0}
    l2: dict[str, Any] = {
        f"{name}_regularizer": {"class_name": "L2", "config": {"l2": factor}}
        for name, factor in factors.items()
    }
    l1 = {"class_name": "L1", "config": {"l1": 0.125}}
    model = build(layers=2, rnn={**l2, "activity_regularizer": l1})
    expected = sum(
        factor * np.square(weights).sum()
        for name, factor in factors.items()
        for weights in layer_weights(model, {"recurrent": "recurrent_kernel"}.get(name, name))
    )
    for _ in range(2):  # a call forgets the outputs of the one before
        read(model, training=True)
    states, parameters = [random_state(model)], to_parameters(model)
    for ids in random_ids(B, 5).T:
        states.append(parameters.step(ids, states[-1])[1])
    expected += (
        0.125 * sum(np.abs(layer).sum() for state in states[1:] for layer in state) / B
    )  # for each stream
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)


def test_each_argument_of_keras_is_offered_or_refused_with_a_reason() -> None:
    arguments = set(inspect.signature(keras.layers.SimpleRNN.__init__).parameters)
    not_settings = {"self", "kwargs", "seed"}  # the seed is that of the config
    assert arguments - not_settings == {*RnnConfig.model_fields, *DECIDED_BY_THE_TASK}


def test_a_value_that_keras_cannot_use_is_refused_with_its_key() -> None:
    for key, value in (
        *(
            (f"rnn.{key}", "nope")
            for key in ("recurrent_initializer", "activity_regularizer", "kernel_constraint")
        ),
        ("rnn.kernel_initializer", {"class_name": "Dense", "config": {"units": 3}}),
        ("rnn.kernel_initializer", {"class_name": "Constant", "config": {"value": "x"}}),
        (
            "rnn.kernel_initializer",
            {"class_name": "Constant", "config": {"value": [1, 2]}},
        ),  # does not fit the tensor
        ("rnn.kernel_regularizer", {"class_name": "L2", "config": {"strength": 1}}),
        ("rnn.kernel_regularizer", {"class_name": "L2", "config": {"l2": -1}}),
        ("rnn.bias_constraint", {"class_name": "UnitNorm", "config": {"axis": 1}}),
        ("input_initializer", "nope"),
    ):
        section, _, name = key.rpartition(".")
        with pytest.raises(CharlmError) as refusal:
            build(**({section: {name: value}} if section else {name: value}))
        assert str(refusal.value).startswith(f"model.{key}: found {value!r}; Keras says: ")
        assert "\n" not in str(refusal.value)


def test_a_list_that_fits_the_tensor_is_used() -> None:
    values = [float(unit) for unit in range(len(layer_weights(shared(), "bias")[0]))]
    model = build(rnn={"bias_initializer": {"class_name": "Constant", "config": {"value": values}}})
    assert all(bias.tolist() == values for bias in layer_weights(model, "bias"))


@pytest.mark.parametrize(
    "key", [key for key in RnnConfig.model_fields if key.endswith("_initializer")]
)
def test_an_initializer_of_null_means_the_default_of_keras(key: str) -> None:
    name = {"recurrent_initializer": "recurrent_kernel"}.get(key, key.removesuffix("_initializer"))
    _, upper = layer_weights(
        build(layers=2, skip_connections=True, rnn={key: None}, input_initializer="ones"), name
    )
    assert len(np.unique(upper)) > 1


# The initializer of the input


def test_the_input_initializer_draws_the_rows_of_the_kernel_for_characters_or_the_embedding() -> (
    None
):
    for skip_connections, ones in ((False, [V, 0]), (True, [V, V])):
        model = build(layers=2, skip_connections=skip_connections, input_initializer="ones")
        assert [
            int((kernel == 1).all(axis=1).sum()) for kernel in layer_weights(model, "kernel")
        ] == ones
        assert (layer_weights(model, "kernel")[-1][-ones[-1] :] == 1).all() == skip_connections
        embedded = build(
            layers=2, embedding=4, skip_connections=skip_connections, input_initializer="ones"
        )
        drawn = [
            name for name, weight in named_weights(embedded).items() if (weight.numpy() == 1).any()
        ]
        assert drawn == ["embedding"]
        assert (named_weights(embedded)["embedding"].numpy() == 1).all()


# Weights


def test_a_weight_is_named_after_its_variable() -> None:
    """The kernels of the upper layer have the same shape, which does not tell them apart."""
    weights = named_weights(build(layers=2))
    assert [name.rpartition(".")[2] for name in weights] == [
        variable.name for variable in weights.values()
    ]


def test_parameters_are_a_copy_that_training_does_not_change() -> None:
    model = build()
    parameters = to_parameters(model)
    before = bytes_of(parameters.tensors)
    gradients = [tf.ones(variable.shape) for variable in model.trainable_variables]
    keras.optimizers.SGD(0.1).apply(gradients, model.trainable_variables)
    assert bytes_of(parameters.tensors) == before
    assert not before.items() & bytes_of(to_parameters(model).tensors).items()


# Seeds


def test_networks_that_threads_build_have_the_weights_of_their_seeds_and_the_numbers_of_the_program_stay() -> (
    None
):
    random.seed(7)
    expected = random.random()
    random.seed(7)
    with ThreadPoolExecutor(6) as pool:
        built = list(pool.map(lambda seed: build(seed=seed, layers=2), (1, 1, 1, 2, 2, 2)))
    assert random.random() == expected
    for weights in zip(*(model.get_weights() for model in built), strict=True):
        bits = [weight.tobytes() for weight in weights]
        assert bits == 3 * bits[:1] + 3 * bits[3:4]
        assert (bits[0] != bits[3]) == weights[0].any()  # the bias of the logits is 0


# The `.keras` model of stock layers


def test_the_stock_model_has_the_logits_and_the_states_of_the_reference() -> None:
    for network in (
        {"layers": 2, "skip_connections": True, "embedding": 3},
        {"activation": "sigmoid", "use_bias": False},
    ):
        trained = make_random_model(**network)
        parameters, model = trained.parameters, build_stock_model(trained)
        ids = [0, 3, 1, 4, 2, 2]
        logits, *states = model(
            [keras.ops.array([ids]), *[keras.ops.zeros((1, 4)) for _ in parameters.layers]]
        )
        expected, last = reference.read(parameters, ids)
        check_close([logits[0], *(state[0] for state in states)], [expected, *last], atol=1e-5)
        assert {type(layer).__module__.partition(".")[0] for layer in model.layers} == {"keras"}
