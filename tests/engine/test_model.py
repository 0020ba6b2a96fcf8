"""The Keras model: the same mathematics as `charlm.network.rnn`, its dropouts and penalties, and its weights by name.

Axes: B batch, T time, V vocabulary, H units.
"""

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from engine.networks import B, V, build, random_ids, random_state, read, shared, take_step
from numpy.typing import NDArray

from charlm.config.file import load_config
from charlm.config.recipes import find_recipe
from charlm.config.schema import ACTIVATIONS, Config
from charlm.engine.keras_engine import KerasEngine
from charlm.engine.model import CharacterRNN, build_model, named_weights, to_parameters, zero_state
from charlm.evaluation.scoring import mean_score
from charlm.network.rnn import nats
from charlm.sampling.generation import generate
from charlm.sampling.sampler import Sampler
from charlm.text.batches import Batches

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


@pytest.mark.parametrize(("network", "length"), [*product(NETWORKS, (1, 50)), (STRUCTURES[-1], 500)], ids=str)
def test_logits_state_and_loss_are_those_of_the_numpy_engine(network: dict[str, Any], length: int) -> None:
    model = shared(**network)
    ids, state = random_ids(length + 1, B), random_state(model)
    logits, last = model.predict_window(tf.constant(ids[:-1]), state, training=False)[::2]
    numpy_logits, numpy_last = to_parameters(model).unroll(ids[:-1], state)
    size = np.abs(numpy_logits).max(initial=1.0)
    np.testing.assert_allclose(logits, numpy_logits, rtol=0, atol=1e-5 * size)
    for state_of_layer, numpy_state in zip(last, numpy_last, strict=True):
        size = np.abs(numpy_state).max(initial=1.0)
        np.testing.assert_allclose(state_of_layer, numpy_state, rtol=0, atol=1e-5 * size)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(ids[1:], logits)
    assert float(loss) == pytest.approx(mean_score([nats(numpy_logits, ids[1:])]).nats_per_char, rel=1e-6)


@pytest.mark.parametrize(
    "network",
    [STRUCTURES[0], STRUCTURES[-1], *({"activation": name} for name in ("relu", "linear"))],
    ids=str,
)
def test_the_most_likely_text_is_that_of_the_numpy_engine(network: dict[str, Any]) -> None:
    model = shared(**network)

    step = tf.function(
        lambda id_, state: model.predict_window(id_, state, training=False)[::2], autograph=False, reduce_retracing=True
    )
    id_, state, text = tf.constant([[2]]), zero_state(model, 1), []
    for _ in range(300):
        logits, state = step(id_, state)
        id_ = tf.argmax(logits, -1, output_type=tf.int32)
        text.append(int(id_[0, 0]))
    written = generate(to_parameters(model), np.array([2]), sampler=Sampler(temperature=0), length=300, seed=0)
    assert text == [*written]


# Dropout


@pytest.mark.parametrize(
    "dropout",
    [
        {"rnn": {"dropout": 0.5}},
        {"rnn": {"recurrent_dropout": 0.5}},
        {"layer_dropout": 0.5},
        {"output_dropout": 0.5},
    ],
    ids=str,
)
def test_dropout_is_applied_only_in_training(dropout: dict[str, Any]) -> None:
    model, plain = build(layers=2, **dropout), shared(layers=2)
    model.set_weights([*plain.get_weights()])
    np.testing.assert_array_equal(read(model)[0], read(plain)[0])
    np.testing.assert_array_equal(read(plain, training=True)[0], read(plain)[0])
    assert not np.allclose(read(model, training=True)[0], read(plain)[0])


def layer_masks(model: CharacterRNN) -> NDArray[np.float32]:
    """Return the factors of the output of layer 0 on its way to layer 1, [T, B, H]."""
    model.rnn[1].cell.kernel.assign(np.eye(V))
    model.rnn[1].cell.recurrent_kernel.assign(np.zeros((V, V)))
    model.rnn[1].cell.bias.assign(np.zeros(V))
    _, (below, above), _ = model.predict_window(tf.constant(random_ids(20, 16)), zero_state(model, 16), training=True)
    return np.array(above / below)


def output_masks(model: CharacterRNN) -> NDArray[np.float32]:
    """Return the factors of the output of the last layer on its way to the logits, [T, B, H]."""
    model.logits.kernel.assign(np.eye(V))
    model.logits.bias.assign(np.zeros(V))
    logits, (*_, last), _ = model.predict_window(tf.constant(random_ids(20, 16)), zero_state(model, 16), training=True)
    return np.array(logits / last)


def test_the_mask_between_layers_is_the_same_at_all_steps_of_a_window() -> None:
    masks = layer_masks(build(layers=2, units=V, activation="linear", layer_dropout=0.25))
    np.testing.assert_allclose(masks, np.broadcast_to(masks[0], masks.shape), rtol=1e-5)


def test_each_window_has_its_own_mask_between_layers() -> None:
    model = build(layers=2, units=V, activation="linear", layer_dropout=0.25)
    assert not np.allclose(layer_masks(model)[0], layer_masks(model)[0])


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
    for name, variable in named_weights(model).items():
        place = next(i for i, weight in enumerate(model.trainable_variables) if weight is variable)
        np.testing.assert_array_equal(tensors[name], np.full(variable.shape, place))


def test_the_seed_decides_the_weights() -> None:
    for weights, same, other in zip(*(build(seed=seed).get_weights() for seed in (1, 1, 2)), strict=True):
        np.testing.assert_array_equal(weights, same)
        assert weights.any() == (not np.array_equal(weights, other))


def test_parameters_are_a_copy_that_training_does_not_change() -> None:
    model = build()
    parameters = to_parameters(model)
    before = {name: tensor.copy() for name, tensor in parameters.tensors().items()}
    take_step(model)
    for name, tensor in parameters.tensors().items():
        np.testing.assert_array_equal(tensor, before[name])
        assert not np.array_equal(tensor, to_parameters(model).tensors()[name])


# Seeds and settings together


def test_networks_that_threads_build_have_the_weights_of_their_seeds_and_the_numbers_of_the_program_stay() -> None:
    random.seed(7)
    expected = random.random()
    random.seed(7)
    configs = [Config(seed=seed) for seed in (1, 2) for _ in range(3)]
    with ThreadPoolExecutor(6) as pool:
        built = list(pool.map(lambda config: build_model(config, V), configs))
    assert random.random() == expected
    kernels = [model.rnn[0].cell.kernel.numpy().tobytes() for model in built]
    assert kernels[:3] == [kernels[0]] * 3
    assert kernels[3:] == [kernels[3]] * 3
    assert kernels[0] != kernels[3]


PAIRED: Mapping[str, Sequence[object]] = {
    "model.layers": (1, 2),
    "model.embedding": (None, 4),
    "model.skip_connections": (False, True),
    "model.layer_dropout": (0.0, 0.2),
    "model.output_dropout": (0.0, 0.2),
    "model.rnn.dropout": (0.0, 0.2),
    "model.rnn.recurrent_dropout": (0.0, 0.2),
    "model.rnn.unroll": (True, False),
    "model.rnn.use_bias": (True, False),
    "model.rnn.activity_regularizer": (None, "l2"),
    "model.rnn.activation": ("tanh", "relu"),
    "training.state_reset": (0.0, 0.3),
    "training.average_momentum": (None, 0.9),
    "training.kernel": ("tensorflow", "compiled"),
}


def pairs() -> Iterator[dict[str, object]]:
    """Yield settings in which every pair of values of two keys occurs: each key against each other, the rest at first.

    Settings that differ in more than two keys from the first values are not tried.
    """
    for (one, values), (other, others) in itertools.combinations(PAIRED.items(), 2):
        yield {one: values[1], other: others[1]}


@pytest.mark.slow
@pytest.mark.parametrize("settings", [*pairs()], ids=",".join)
def test_every_pair_of_settings_takes_a_step(settings: dict[str, object]) -> None:
    values = {key: first[0] for key, first in PAIRED.items()} | {"model.units": 4, "training.parts": 1} | settings
    config = load_config(find_recipe("tiny"), overrides=values)
    batches = Batches(length=50, batch_size=2, sequence_length=5, seed=1)
    engine = KerasEngine(config, batches, vocabulary_size=V)
    windows = random_ids(6, 2)[None]
    metrics = engine.take_steps(np.asarray(windows, np.int32), np.full(1, 1e-3, np.float32), reset_state=True)
    assert np.isfinite(metrics.losses).all()
