"""Dropout masks: their values, their rate, and their randomness."""

import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from arrays import check_close
from engine.networks import V as NETWORK_V
from engine.networks import build, layer_weights, read, shared
from numpy.typing import NDArray

from charlm.config.schema import ACTIVATIONS, DECIDED_BY_THE_TASK, RnnConfig
from charlm.engine.layers import LEVELS, SimpleRNN, dropout_mask
from charlm.engine.model import CharacterRNN, named_weights, zero_state
from charlm.errors import CharlmError


def draw(*shape: int, rate: float) -> np.ndarray:
    return np.array(dropout_mask(shape, rate, keras.random.SeedGenerator(1)))


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
        "seed": 2,
        **arguments,
    }
    ours, stock = SimpleRNN(**arguments), keras.layers.SimpleRNN(**arguments)
    for layer in (ours, stock):
        layer.build((None, None, inputs))
    stock.set_weights(ours.get_weights())
    return ours, stock


def differentiate(run: Callable[..., Any], tensors: list[Any], variables: list[Any]) -> list[Floats]:
    """Return the result of `run`, and the gradients of half its square by the tensors and variables."""
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        outputs = run(*tensors)
        loss = tf.nn.l2_loss(outputs)
    return [np.array(tensor) for tensor in [outputs, *tape.gradient(loss, [*tensors, *variables])]]


def check_read(ours: Any, stock: Any, *, width: int = D, vocabulary: int = 0, time: int = T) -> None:
    """Compare `read` in training, and its gradients, with the call of Keras's layer on one-hot characters."""
    below, state = normal(time, B, width), normal(B, H, seed=1)
    ids = np.random.default_rng(4).integers(0, V, (time, B))

    def read(state: Any, below: Any = None) -> Any:
        mask, recurrent_mask = ours.draw_masks(B)
        options = {"mask": mask, "recurrent_mask": recurrent_mask}
        return ours.read(below, tf.constant(ids) if vocabulary else None, state, **options)

    def multiply(state: Any, below: Any = None) -> Any:
        inputs = tf.concat([*([] if below is None else [below]), tf.one_hot(ids, vocabulary)], -1)
        outputs = stock(tf.transpose(inputs, [1, 0, 2]), initial_state=state, training=True)
        return tf.transpose(outputs, [1, 0, 2])

    tensors = [state, below] if width else [state]
    found = differentiate(read, tensors, ours.trainable_variables)
    expected = differentiate(multiply, tensors, stock.trainable_variables)
    check_close(found, expected, atol=1e-5, of_peak=1e-5)


@pytest.mark.parametrize(
    ("activation", "unroll", "time"),
    [*((activation, True, 12) for activation in ACTIVATIONS), ("tanh", False, 100), ("tanh", True, 1)],
)
def test_results_and_gradients_are_those_of_keras(activation: str, time: int, unroll: bool) -> None:
    check_read(*pair(activation=activation, unroll=unroll), time=time)


@pytest.mark.parametrize(
    ("width", "vocabulary", "options"),
    [
        *(
            (*sizes, options)
            for sizes in ((0, V), (D, 0), (D, V))
            for options in (
                {},
                {"dropout": 0.4, "recurrent_dropout": 0.4, "use_bias": False, "activation": "sigmoid"},
            )
        ),
        (D, V, {"dropout": 0.4}),
        (D, V, {"recurrent_dropout": 0.4, "unroll": False}),
    ],
    ids=str,
)
def test_a_lookup_gives_the_same_as_a_product_with_one_hot_inputs(
    width: int, vocabulary: int, options: dict[str, Any]
) -> None:
    ours, stock = pair(inputs=width + vocabulary, **options)
    for _ in range(2):  # the second window has other masks
        check_read(ours, stock, width=width, vocabulary=vocabulary)


# The arguments of SimpleRNN


def is_a_loop(model: CharacterRNN) -> bool:
    forward = tf.function(lambda ids: model.predict_window(ids, zero_state(model, B))[::2])
    graph = forward.get_concrete_function(tf.TensorSpec((5, B), tf.int32)).graph
    return any("While" in operation.type for operation in graph.get_operations())


def test_without_unrolling_the_graph_has_a_loop() -> None:
    assert is_a_loop(build(layers=2, rnn={"unroll": False}))
    assert not is_a_loop(shared(layers=2))


def test_the_regularizers_of_each_layer_add_to_the_loss() -> None:
    factors = {"kernel": 0.5, "recurrent": 0.25, "bias": 2.0}
    l2: dict[str, Any] = {
        f"{name}_regularizer": {"class_name": "L2", "config": {"l2": factor}} for name, factor in factors.items()
    }
    l1 = {"class_name": "L1", "config": {"l1": 0.125}}
    model = build(layers=2, rnn={**l2, "activity_regularizer": l1})
    expected = sum(
        factor * np.square(weights).sum()
        for name, factor in factors.items()
        for weights in layer_weights(model, {"recurrent": "recurrent_kernel"}.get(name, name))
    )
    outputs = read(model, training=True)[1]
    expected += 0.125 * sum(np.abs(output).sum() for output in outputs) / B  # as in Keras, for each stream
    assert float(model.regularization(outputs)) == pytest.approx(expected, rel=1e-5)


OTHERS: dict[str, Any] = {
    "activation": "sigmoid",
    "use_bias": False,
    "dropout": 0.5,
    "recurrent_dropout": 0.5,
    "unroll": False,
}
"""Values that are not the defaults; initializers get ones, constraints unit_norm."""


@pytest.mark.parametrize("key", [key for key in RnnConfig.model_fields if not key.endswith("regularizer")])
def test_each_argument_reaches_keras(key: str) -> None:
    value = OTHERS.get(key, "ones" if key.endswith("initializer") else "unit_norm")
    expected = keras.layers.SimpleRNN(8, **{key: value}).get_config()[key]
    assert [layer.get_config()[key] for layer in build(layers=2, rnn={key: value}).rnn] == [expected] * 2
    assert expected not in [layer.get_config()[key] for layer in shared(layers=2).rnn]


def test_each_argument_of_keras_is_offered_or_refused_with_a_reason() -> None:
    arguments = set(inspect.signature(keras.layers.SimpleRNN.__init__).parameters)
    not_settings = {"self", "kwargs", "seed"}  # the seed is that of the config
    assert arguments - not_settings == {*RnnConfig.model_fields, *DECIDED_BY_THE_TASK}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, "nope") for key in ("recurrent_initializer", "activity_regularizer", "kernel_constraint")),
        ("kernel_initializer", {"class_name": "Dense", "config": {"units": 3}}),
        ("kernel_initializer", {"class_name": "Constant", "config": {"value": "x"}}),
        ("kernel_initializer", {"class_name": "Constant", "config": {"value": [1, 2]}}),  # does not fit the tensor
        ("kernel_regularizer", {"class_name": "L2", "config": {"strength": 1}}),
        ("kernel_regularizer", {"class_name": "L2", "config": {"l2": -1}}),
        ("bias_constraint", {"class_name": "UnitNorm", "config": {"axis": 1}}),
    ],
    ids=str,
)
def test_a_value_that_keras_cannot_use_is_refused_with_its_key(key: str, value: Any) -> None:
    with pytest.raises(CharlmError) as refusal:
        build(rnn={key: value})
    assert str(refusal.value).startswith(f"model.rnn.{key}: found {value!r}; Keras says: ")
    assert "\n" not in str(refusal.value)


def test_a_list_that_fits_the_tensor_is_used() -> None:
    values = [float(unit) for unit in range(len(layer_weights(shared(), "bias")[0]))]
    model = build(rnn={"bias_initializer": {"class_name": "Constant", "config": {"value": values}}})
    assert all(bias.tolist() == values for bias in layer_weights(model, "bias"))


@pytest.mark.parametrize("key", [key for key in RnnConfig.model_fields if key.endswith("_initializer")])
def test_an_initializer_of_null_means_the_default_of_keras(key: str) -> None:
    name = {"recurrent_initializer": "recurrent_kernel"}.get(key, key.removesuffix("_initializer"))
    _, upper = layer_weights(build(layers=2, skip_connections=True, rnn={key: None}, input_initializer="ones"), name)
    assert len(np.unique(upper)) > 1


# The initializer of the input


@pytest.mark.parametrize(("skip_connections", "ones"), [(False, [NETWORK_V, 0]), (True, [NETWORK_V, NETWORK_V])])
def test_the_input_initializer_draws_the_rows_of_the_kernel_for_characters(
    skip_connections: bool, ones: list[int]
) -> None:
    model = build(layers=2, skip_connections=skip_connections, input_initializer="ones")
    assert [int((kernel == 1).all(axis=1).sum()) for kernel in layer_weights(model, "kernel")] == ones
    assert (layer_weights(model, "kernel")[-1][-ones[-1] :] == 1).all() == skip_connections


def test_the_input_initializer_draws_the_embedding_if_there_is_one() -> None:
    weights = named_weights(build(layers=2, embedding=4, skip_connections=True, input_initializer="ones"))
    assert [name for name, weight in weights.items() if (weight.numpy() == 1).any()] == ["embedding"]
    assert (weights["embedding"].numpy() == 1).all()


def test_an_input_initializer_that_keras_cannot_use_is_refused_with_its_key() -> None:
    with pytest.raises(CharlmError, match=r"^model\.input_initializer: found 'nope'; Keras says: "):
        build(input_initializer="nope")
