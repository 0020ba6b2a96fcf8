"""Dropout masks: their values, their rate, and their randomness."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from charlm.config.schema import ACTIVATIONS
from charlm.engine.layers import LEVELS, SimpleRNN, dropout_mask


def draw(*shape: int, rate: float, seed: int = 1) -> np.ndarray:
    return np.array(dropout_mask(shape, rate, keras.random.SeedGenerator(seed)))


@pytest.mark.parametrize("shape", [(1,), (3,), (5, 7), (64, 33, 3), (0, 4)], ids=str)
def test_a_mask_has_the_given_shape_and_two_values(shape: tuple[int, ...]) -> None:
    mask = draw(*shape, rate=0.25)
    assert mask.shape == shape
    assert mask.dtype == np.float32
    assert set(mask.ravel()) <= {np.float32(0), np.float32(1 / 0.75)}


@pytest.mark.parametrize("rate", [0.01, 0.25, 0.5, 0.8, 0.999])
def test_the_rate_is_exact_to_a_256th_and_the_mean_is_one(rate: float) -> None:
    mask = draw(400, 1000, rate=rate)
    dropped = float((mask == 0).mean())
    assert dropped == pytest.approx(rate, abs=0.5 / LEVELS + 0.003)
    assert mask.max() * (1 - dropped) == pytest.approx(1, rel=0.1)


def test_the_four_values_of_a_random_word_are_independent() -> None:
    mask = draw(40_000, 4, rate=0.5) > 0
    correlation = np.corrcoef(mask.T)
    np.testing.assert_allclose(correlation, np.eye(4), atol=0.03)


def test_a_seed_repeats_its_masks_and_every_mask_is_new() -> None:
    one, other = keras.random.SeedGenerator(5), keras.random.SeedGenerator(5)
    first, second = (np.array(dropout_mask((50, 50), 0.5, one)) for _ in range(2))
    np.testing.assert_array_equal(first, np.array(dropout_mask((50, 50), 0.5, other)))
    assert (first != second).mean() == pytest.approx(0.5, abs=0.1)


Floats = NDArray[np.float32]

B, T, D, H, V = 3, 4, 6, 5, 7
ROUNDING = 1e-5
"""The largest rounding error of float32 over a window, relative to the size of the values."""
OPTIONS: list[dict[str, Any]] = [
    {"dropout": 0.4},
    {"recurrent_dropout": 0.4},
    {"use_bias": False},
    {"dropout": 0.4, "recurrent_dropout": 0.4, "use_bias": False, "activation": "softsign"},
]


def normal(*shape: int, seed: int = 0) -> Any:
    return tf.constant(np.random.default_rng(seed).standard_normal(shape), tf.float32)


def pair(*, inputs: int = D, **arguments: Any) -> tuple[Any, Any]:
    """Return our layer and Keras's, with the same weights and the same seed of dropout."""
    keras.utils.set_random_seed(1)
    arguments = {
        "units": H,
        "kernel_initializer": keras.initializers.Orthogonal(),
        "recurrent_initializer": keras.initializers.Orthogonal(),
        "bias_initializer": "glorot_normal",
        "return_sequences": True,
        "return_state": True,
        "seed": 2,
        **arguments,
    }
    ours, stock = SimpleRNN(**arguments), keras.layers.SimpleRNN(**arguments)
    for layer in (ours, stock):
        layer.build((None, None, inputs))
    stock.set_weights(ours.get_weights())
    return ours, stock


def differentiate(
    run: Callable[..., Any], tensors: list[Any], variables: list[Any], *, is_compiled: bool = False
) -> list[Floats]:
    """Return the results of `run`, and the gradients of half their squares by the tensors and variables."""

    def gradients(*tensors: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            results = tf.nest.flatten(run(*tensors))
            loss = tf.add_n([tf.nn.l2_loss(result) for result in results])
        return [*results, *tape.gradient(loss, [*tensors, *variables])]

    return [np.array(tensor) for tensor in (tf.function(gradients) if is_compiled else gradients)(*tensors)]


def call(layer: Any, inputs: Any, state: Any = None, *, is_compiled: bool = False, **options: Any) -> list[Floats]:
    """Return the results of a layer and their gradients by inputs, initial state and weights."""
    return differentiate(
        lambda inputs, state=None: layer(inputs, initial_state=state, **options),
        [inputs] if state is None else [inputs, state],
        layer.trainable_variables,
        is_compiled=is_compiled,
    )


def assert_same(ours: list[Floats], stock: list[Floats]) -> None:
    for our_tensor, stock_tensor in zip(ours, stock, strict=True):
        size = np.abs(stock_tensor).max(initial=1.0)
        np.testing.assert_allclose(our_tensor, stock_tensor, rtol=0, atol=ROUNDING * size)


@pytest.mark.parametrize(
    ("activation", "time"), [*((activation, 12) for activation in ACTIVATIONS), ("tanh", 1), ("softsign", 1)]
)
def test_results_and_gradients_are_those_of_keras(activation: str, time: int) -> None:
    ours, stock = pair(activation=activation, unroll=True)
    inputs, state = normal(B, time, D), normal(B, H, seed=1)
    assert_same(call(ours, inputs, state), call(stock, inputs, state))


@pytest.mark.parametrize(("activation", "unroll"), [("tanh", True), ("softsign", True), ("tanh", False)])
def test_rounding_does_not_grow_over_a_long_window(activation: str, unroll: bool) -> None:
    ours, stock = pair(activation=activation, unroll=unroll)
    inputs, state = normal(B, 100, D), normal(B, H, seed=1)
    assert_same(call(ours, inputs, state), call(stock, inputs, state))


@pytest.mark.parametrize("time", [1, 7])
@pytest.mark.parametrize("activation", ["tanh", "softsign"])
def test_a_loop_gives_the_same_as_unrolled_steps(activation: str, time: int) -> None:
    ours, stock = pair(activation=activation, unroll=False)
    inputs, state = normal(B, time, D), normal(B, H, seed=1)
    assert_same(call(ours, inputs, state), call(stock, inputs, state))


@pytest.mark.parametrize("unroll", [True, False])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_dropout_and_bias_have_the_meaning_that_they_have_in_keras(options: dict[str, Any], unroll: bool) -> None:
    ours, stock = pair(**options, unroll=unroll)
    inputs, state = normal(B, T, D), normal(B, H, seed=1)
    for _ in range(2):  # the second call has other masks
        assert_same(call(ours, inputs, state, training=True), call(stock, inputs, state, training=True))


@pytest.mark.parametrize("unroll", [True, False])
@pytest.mark.parametrize("options", [{}, OPTIONS[-1]], ids=str)
def test_the_initial_state_is_zero_by_default(options: dict[str, Any], unroll: bool) -> None:
    ours, stock = pair(**options, unroll=unroll)
    inputs = normal(B, T, D)
    assert_same(call(ours, inputs, training=True), call(stock, inputs, training=True))


@pytest.mark.parametrize("options", [{"dropout": 0.4}, {"recurrent_dropout": 0.4}], ids=str)
def test_dropout_is_applied_only_in_training(options: dict[str, Any]) -> None:
    (dropping, _), (plain, _) = pair(**options), pair()
    inputs = normal(B, T, D)
    assert_same(call(dropping, inputs, training=False), call(plain, inputs, training=False))
    assert not np.allclose(dropping(inputs, training=True)[0], plain(inputs, training=True)[0])


@pytest.mark.parametrize("state", [True, False])
@pytest.mark.parametrize("sequences", [True, False])
def test_the_requested_results_are_returned(sequences: bool, state: bool) -> None:
    ours, stock = pair(return_sequences=sequences, return_state=state)
    assert_same(call(ours, normal(B, T, D)), call(stock, normal(B, T, D)))


@pytest.mark.parametrize(("activation", "unroll"), [("tanh", True), ("softsign", False)])
def test_a_compiled_function_gives_the_same(activation: str, unroll: bool) -> None:
    ours, stock = pair(activation=activation, dropout=0.4, recurrent_dropout=0.4, unroll=unroll)
    inputs, state = normal(B, 7, D), normal(B, H, seed=1)
    assert_same(
        call(ours, inputs, state, training=True, is_compiled=True),
        call(stock, inputs, state, training=True, is_compiled=True),
    )


def test_a_masked_step_is_left_out_as_in_keras() -> None:
    ours, stock = pair()
    mask = tf.constant([[True] * T, [True, False, True, False], [False] * T])
    inputs = normal(B, T, D)
    assert_same(call(ours, inputs, mask=mask), call(stock, inputs, mask=mask))
    assert not np.allclose(ours(inputs, mask=mask)[0], ours(inputs)[0])


def test_going_backwards_is_as_in_keras() -> None:
    ours, stock = pair(go_backwards=True)
    assert_same(call(ours, normal(B, T, D)), call(stock, normal(B, T, D)))


def test_a_window_of_unknown_length_is_read_as_in_keras() -> None:
    ours, stock = pair()
    of_any_length = tf.function(ours, input_signature=[tf.TensorSpec((B, None, D))])
    for time in (1, 7):
        ours_read, stock_read = of_any_length(normal(B, time, D)), stock(normal(B, time, D))
        assert_same([np.array(tensor) for tensor in ours_read], [np.array(tensor) for tensor in stock_read])


def test_the_activity_regularizer_is_applied_although_keras_drops_it() -> None:
    ours, _ = pair(activity_regularizer=keras.regularizers.L1(0.5), return_state=False)
    outputs = ours(normal(B, T, D))
    assert float(ours.losses[0]) == pytest.approx(float(tf.reduce_sum(tf.abs(outputs))) / 2 / B)


def test_a_layer_made_from_its_config_is_the_same_layer() -> None:
    arguments: dict[str, Any] = {
        "activation": "relu",
        "use_bias": False,
        "kernel_initializer": "he_normal",
        "recurrent_regularizer": "l2",
        "activity_regularizer": "l1",
        "kernel_constraint": "max_norm",
        "dropout": 0.1,
        "recurrent_dropout": 0.2,
        "unroll": True,
        "name": "top",
    }
    layer, _ = pair(**arguments)
    again = SimpleRNN.from_config(layer.get_config())
    assert type(again) is SimpleRNN
    assert again.get_config() == layer.get_config()
    assert layer.get_config() != pair()[0].get_config() | {"name": "top"}
    assert again.get_config()["activity_regularizer"]["class_name"] == "L1"


@pytest.mark.parametrize("is_ours_saved", [True, False])
def test_weights_saved_by_one_layer_can_be_loaded_by_the_other(is_ours_saved: bool, tmp_path: Path) -> None:
    ours, stock = pair(return_state=False)
    saved, loaded = (ours, stock) if is_ours_saved else (stock, ours)
    models = [keras.Sequential([keras.Input((T, D)), layer]) for layer in (saved, loaded)]
    loaded.set_weights([np.zeros_like(weight) for weight in loaded.get_weights()])
    models[0].save_weights(tmp_path / "model.weights.h5")
    models[1].load_weights(tmp_path / "model.weights.h5")
    assert_same([models[1](normal(B, T, D)).numpy()], [models[0](normal(B, T, D)).numpy()])


@pytest.mark.parametrize("options", [{}, {"dropout": 0.4}, {"recurrent_dropout": 0.4}], ids=str)
@pytest.mark.parametrize(("width", "vocabulary"), [(0, V), (D, 0), (D, V)])
def test_a_lookup_gives_the_same_as_a_product_with_one_hot_inputs(
    width: int, vocabulary: int, options: dict[str, Any]
) -> None:
    ours, stock = pair(inputs=width + vocabulary, return_state=False, **options)
    below, state = normal(T, B, width), normal(B, H, seed=1)
    ids = np.random.default_rng(4).integers(0, V, (T, B))

    def read(state: Any, below: Any = None) -> Any:
        return ours.read(below, tf.constant(ids) if vocabulary else None, state, training=True)

    def multiply(state: Any, below: Any = None) -> Any:
        inputs = tf.concat([*([] if below is None else [below]), tf.one_hot(ids, vocabulary)], -1)
        outputs = stock(tf.transpose(inputs, [1, 0, 2]), initial_state=state, training=True)
        return tf.transpose(outputs, [1, 0, 2])

    tensors = [state, below] if width else [state]
    assert_same(
        differentiate(read, tensors, ours.trainable_variables),
        differentiate(multiply, tensors, stock.trainable_variables),
    )


def test_read_applies_dropout_only_in_training() -> None:
    dropping, _ = pair(inputs=V, dropout=0.4, recurrent_dropout=0.4)
    plain, _ = pair(inputs=V)
    ids, state = tf.constant(np.random.default_rng(4).integers(0, V, (T, B))), normal(B, H)
    assert_same(
        [dropping.read(None, ids, state, training=False).numpy()],
        [plain.read(None, ids, state, training=True).numpy()],
    )
