"""The Keras model: the same mathematics as `charlm.network.rnn`, its dropouts and penalties, and its weights by name.

Axes: B batch, T time, V vocabulary, H units.
"""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from arrays import bytes_of, check_close
from engine.networks import B, V, build, random_ids, random_state, read, shared, take_step
from numpy.typing import NDArray

from charlm.config.schema import ACTIVATIONS
from charlm.engine.model import CharacterRNN, named_weights, to_parameters, zero_state
from charlm.evaluation.scoring import mean_score
from charlm.network.rnn import nats

STRUCTURES: list[dict[str, Any]] = [
    {},
    {"units": 5},
    {"layers": 2},
    {"embedding": 4},
    {"use_bias": False},
    {"layers": 2, "skip_connections": True},
    {"layers": 2, "embedding": 4},
    {"layers": 3, "units": 64, "embedding": 4, "skip_connections": True, "use_bias": False},
]
NETWORKS: list[dict[str, Any]] = [
    *STRUCTURES,
    *({"activation": activation, "layers": 2, "skip_connections": True} for activation in ACTIVATIONS),
]


# The two engines


@pytest.mark.parametrize(
    ("network", "length"),
    [*product(NETWORKS, [50]), (STRUCTURES[0], 1), (STRUCTURES[-1], 1), (STRUCTURES[-1], 500)],
    ids=str,
)
def test_logits_state_and_loss_are_those_of_the_numpy_engine(network: dict[str, Any], length: int) -> None:
    model = shared(**network)
    ids, state = random_ids(length + 1, B), random_state(model)
    logits, last = model.predict_window(tf.constant(ids[:-1]), state)[::2]
    numpy_logits, numpy_last = to_parameters(model).unroll(ids[:-1], state)
    check_close([logits, *last], [numpy_logits, *numpy_last], atol=1e-5, of_peak=1e-5)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(ids[1:], logits)
    assert float(loss) == pytest.approx(mean_score([nats(numpy_logits, ids[1:])]).nats_per_char, rel=1e-6)


@pytest.mark.parametrize("network", [STRUCTURES[0], STRUCTURES[-1], {"activation": "relu"}], ids=str)
def test_the_most_likely_text_is_that_of_the_numpy_engine(network: dict[str, Any]) -> None:
    model = shared(**network)
    step = tf.function(lambda id_, state: model.predict_window(id_, state)[::2], autograph=False, reduce_retracing=True)
    id_, state, text = tf.constant([[2]]), zero_state(model, 1), []
    for _ in range(300):
        logits, state = step(id_, state)
        id_ = tf.argmax(logits, -1, output_type=tf.int32)
        text.append(int(id_[0, 0]))
    parameters = to_parameters(model)
    index, state, written = 2, parameters.zero_state(1), []
    for _ in range(300):
        logits, state = parameters.step(np.array([index]), state)
        written.append(index := int(logits[0].argmax()))
    assert text == written


# Dropout


@pytest.mark.parametrize(
    "dropout",
    [{"rnn": {"dropout": 0.5}}, {"rnn": {"recurrent_dropout": 0.5}}, {"layer_dropout": 0.5}, {"output_dropout": 0.5}],
    ids=str,
)
def test_dropout_is_applied_only_in_training(dropout: dict[str, Any]) -> None:
    model, plain = build(layers=2, **dropout), shared(layers=2)
    model.set_weights([*plain.get_weights()])
    np.testing.assert_array_equal(read(model)[0], read(plain)[0])
    np.testing.assert_array_equal(read(plain, training=True)[0], read(plain)[0])
    assert not np.allclose(read(model, training=True)[0], read(plain)[0])


def predict(model: CharacterRNN) -> Any:
    return model.predict_window(tf.constant(random_ids(20, 16)), zero_state(model, 16), model.draw_masks(20, 16))


def layer_masks(model: CharacterRNN) -> NDArray[np.float32]:
    """Return the factors of the output of layer 0 on its way to layer 1, [T, B, H]."""
    model.rnn[1].cell.kernel.assign(np.eye(V))
    model.rnn[1].cell.recurrent_kernel.assign(np.zeros((V, V)))
    model.rnn[1].cell.bias.assign(np.zeros(V))
    (below, above) = predict(model)[1]
    return np.array(above / below)


def output_masks(model: CharacterRNN) -> NDArray[np.float32]:
    """Return the factors of the output of the last layer on its way to the logits, [T, B, H]."""
    model.logits.kernel.assign(np.eye(V))
    model.logits.bias.assign(np.zeros(V))
    logits, (*_, last), _ = predict(model)
    return np.array(logits / last)


def test_each_window_has_a_mask_between_layers_for_all_its_steps() -> None:
    model = build(layers=2, units=V, activation="linear", layer_dropout=0.25)
    first, second = layer_masks(model), layer_masks(model)
    np.testing.assert_allclose(first, np.broadcast_to(first[0], first.shape), rtol=1e-5)
    assert not np.allclose(first[0], second[0])


def test_each_step_has_its_own_mask_before_the_logits() -> None:
    masks = output_masks(build(units=V, output_dropout=0.25)).round(4)
    assert len(np.unique(masks, axis=0)) == len(masks)


@pytest.mark.parametrize(
    ("masks", "settings"), [(layer_masks, {"layer_dropout": 0.25}), (output_masks, {"output_dropout": 0.25})]
)
def test_a_quarter_is_dropped_and_the_rest_is_scaled_to_keep_the_mean(
    masks: Callable[[CharacterRNN], NDArray[np.float32]], settings: dict[str, float]
) -> None:
    factors = masks(build(layers=2, units=V, activation="linear", **settings))
    np.testing.assert_allclose(np.unique(factors.round(4)), [0, 1.3333])
    assert factors.mean() == pytest.approx(1, abs=0.1)


# Weights


def test_parameters_can_be_made_of_averages_in_place_of_the_weights() -> None:
    model = shared(layers=2)
    averages = [np.full(weight.shape, index) for index, weight in enumerate(model.trainable_variables)]
    tensors = to_parameters(model, averages=[tf.constant(average, tf.float32) for average in averages]).tensors()
    places = {id(weight): index for index, weight in enumerate(model.trainable_variables)}
    for name, variable in named_weights(model).items():
        np.testing.assert_array_equal(tensors[name], np.full(variable.shape, places[id(variable)]))


def test_parameters_are_a_copy_that_training_does_not_change() -> None:
    model = build()
    parameters = to_parameters(model)
    before = bytes_of(parameters.tensors())
    take_step(model)
    assert bytes_of(parameters.tensors()) == before
    assert not before.items() & bytes_of(to_parameters(model).tensors()).items()


# Seeds


def test_networks_that_threads_build_have_the_weights_of_their_seeds_and_the_numbers_of_the_program_stay() -> None:
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
