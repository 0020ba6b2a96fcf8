"""Dropout masks: their values, their rate, and their randomness."""

import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from engine.networks import V as NETWORK_V
from engine.networks import build, layer_weights, read, shared, take_step
from numpy.typing import NDArray

from charlm.config.schema import ACTIVATIONS, DECIDED_BY_THE_TASK, RnnConfig
from charlm.engine.layers import LEVELS, SimpleRNN, dropout_mask
from charlm.engine.model import CharacterRNN, named_weights, zero_state
from charlm.errors import CharlmError


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
        return ours.read(below, tf.constant(ids) if vocabulary else None, state, training=True)[0]

    def multiply(state: Any, below: Any = None) -> Any:
        inputs = tf.concat([*([] if below is None else [below]), tf.one_hot(ids, vocabulary)], -1)
        outputs = stock(tf.transpose(inputs, [1, 0, 2]), initial_state=state, training=True)
        return tf.transpose(outputs, [1, 0, 2])

    tensors = [state, below] if width else [state]
    found = differentiate(read, tensors, ours.trainable_variables)
    expected = differentiate(multiply, tensors, stock.trainable_variables)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=ROUNDING * np.abs(other).max(initial=1.0))


@pytest.mark.parametrize("unroll", [True, False])
@pytest.mark.parametrize(
    ("activation", "time"), [*((activation, 12) for activation in ACTIVATIONS), ("tanh", 1), ("tanh", 100)]
)
def test_results_and_gradients_are_those_of_keras(activation: str, time: int, unroll: bool) -> None:
    check_read(*pair(activation=activation, unroll=unroll), time=time)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dropout": 0.4},
        {"recurrent_dropout": 0.4, "unroll": False},
        {"dropout": 0.4, "recurrent_dropout": 0.4, "use_bias": False, "activation": "sigmoid"},
    ],
    ids=str,
)
@pytest.mark.parametrize(("width", "vocabulary"), [(0, V), (D, 0), (D, V)])
def test_a_lookup_gives_the_same_as_a_product_with_one_hot_inputs(
    width: int, vocabulary: int, options: dict[str, Any]
) -> None:
    ours, stock = pair(inputs=width + vocabulary, **options)
    for _ in range(2):  # the second window has other masks
        check_read(ours, stock, width=width, vocabulary=vocabulary)


# The arguments of SimpleRNN


def penalty(model: CharacterRNN) -> float:
    """Return what the regularizers add to the loss of a small window."""
    return float(model.regularization(read(model, training=True)[1]))


def are_ones(name: str) -> Callable[[CharacterRNN], bool]:
    """Return a predicate: whether these weights are initialized with ones."""
    return lambda model: all((weights == 1).all() for weights in layer_weights(model, name))


def penalizes_squares(name: str) -> Callable[[CharacterRNN], bool]:
    """Return a predicate: whether half the sum of the squares of these weights is added to the loss."""
    return lambda model: np.isclose(penalty(model), sum((w**2).sum() / 2 for w in layer_weights(model, name)))


def keeps_unit_norm(name: str) -> Callable[[CharacterRNN], bool]:
    """Return a predicate: whether the columns of these weights have a norm of 1 after a step."""

    def is_so(model: CharacterRNN) -> bool:
        before = model.get_weights()
        take_step(model)
        weights = layer_weights(model, name)
        model.set_weights(before)
        return all(np.allclose(np.linalg.norm(columns, axis=0), 1) for columns in weights)

    return is_so


def has_positive_outputs(model: CharacterRNN) -> bool:
    return all(np.array(output > 0).all() for output in read(model)[1])


def penalizes_outputs(model: CharacterRNN) -> bool:
    """Return whether half the sum of the absolute outputs of a stream is added to the loss."""
    sizes = [float(tf.reduce_sum(tf.abs(output))) for output in read(model)[1]]
    return bool(np.isclose(penalty(model), sum(sizes) / 2 / B))


def is_random_in_training(model: CharacterRNN) -> bool:
    return not np.allclose(read(model, training=True)[0], read(model, training=True)[0])


def is_a_loop(model: CharacterRNN) -> bool:
    forward = tf.function(lambda ids: model.predict_window(ids, zero_state(model, B), training=False)[::2])
    graph = forward.get_concrete_function(tf.TensorSpec((5, B), tf.int32)).graph
    return any("While" in operation.type for operation in graph.get_operations())


L2, L1 = ({"class_name": name.upper(), "config": {name: 0.5}} for name in ("l2", "l1"))
CLAIMS: dict[str, tuple[Any, Callable[[CharacterRNN], bool]]] = {
    "activation": ("sigmoid", has_positive_outputs),
    "use_bias": (False, lambda model: not layer_weights(model, "bias")),
    "kernel_initializer": ("ones", are_ones("kernel")),
    "recurrent_initializer": ("ones", are_ones("recurrent_kernel")),
    "bias_initializer": ("ones", are_ones("bias")),
    "kernel_regularizer": (L2, penalizes_squares("kernel")),
    "recurrent_regularizer": (L2, penalizes_squares("recurrent_kernel")),
    "bias_regularizer": (L2, penalizes_squares("bias")),
    "activity_regularizer": (L1, penalizes_outputs),
    "kernel_constraint": ("unit_norm", keeps_unit_norm("kernel")),
    "recurrent_constraint": ("unit_norm", keeps_unit_norm("recurrent_kernel")),
    "bias_constraint": ("unit_norm", keeps_unit_norm("bias")),
    "dropout": (0.5, is_random_in_training),
    "recurrent_dropout": (0.5, is_random_in_training),
    "unroll": (False, is_a_loop),
}
"""For each argument a value that is not the default, and what is true of a network with it and not of another."""


@pytest.mark.parametrize("key", RnnConfig.model_fields)
def test_each_argument_changes_what_keras_builds(key: str) -> None:
    value, is_so = CLAIMS[key]
    assert is_so(build(layers=2, rnn={key: value}))
    assert not is_so(shared(layers=2))


def test_each_argument_of_keras_is_offered_or_refused_with_a_reason() -> None:
    arguments = set(inspect.signature(keras.layers.SimpleRNN.__init__).parameters)
    not_settings = {"self", "kwargs", "seed"}  # the seed is that of the config
    assert arguments - not_settings == {*RnnConfig.model_fields, *DECIDED_BY_THE_TASK}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(
            (key, "nope")
            for key in RnnConfig.model_fields
            if key.endswith(("_initializer", "_regularizer", "_constraint"))
        ),
        ("kernel_initializer", "l2"),
        ("kernel_initializer", {"class_name": "Dense", "config": {"units": 3}}),
        ("kernel_initializer", {"class_name": "Constant", "config": {"value": "x"}}),
        ("bias_initializer", "orthogonal"),
        ("kernel_regularizer", {"class_name": "L2", "config": {"strength": 1}}),
        ("kernel_regularizer", {"class_name": "L2", "config": {"l2": -1}}),
        ("bias_regularizer", "orthogonal_regularizer"),
        ("recurrent_constraint", {"class_name": "MaxNorm", "config": {"max_value": "x"}}),
        ("bias_constraint", {"class_name": "UnitNorm", "config": {"axis": 1}}),
        ("kernel_initializer", {"class_name": "Constant", "config": {"value": [1, 2]}}),  # does not fit the tensor
        ("recurrent_initializer", {"class_name": "Orthogonal", "config": {"gain": [1, 2]}}),
        ("bias_constraint", {"class_name": "MinMaxNorm", "config": {"min_value": [1, 2]}}),
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
    model = build(layers=2, embedding=4, skip_connections=True, input_initializer="ones")
    assert (named_weights(model)["embedding"].numpy() == 1).all()
    assert not any((kernel == 1).any() for kernel in layer_weights(model, "kernel"))


def test_an_input_initializer_that_keras_cannot_use_is_refused_with_its_key() -> None:
    with pytest.raises(CharlmError, match=r"^model\.input_initializer: found 'nope'; Keras says: "):
        build(input_initializer="nope")
