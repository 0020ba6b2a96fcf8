"""Layers built from a config: every setting has its effect, and what Keras cannot use is refused.

Axes: B batch, T time, V vocabulary, H units.
"""

import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from engine.networks import B, V, build, layer_weights, read, shared, take_step

from charlm.config.file import parse_config
from charlm.config.schema import DECIDED_BY_THE_TASK, RnnConfig
from charlm.engine.model import CharacterRNN, named_weights, zero_state
from charlm.errors import CharlmError

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
    forward = tf.function(lambda ids: model((ids, zero_state(model, B))))
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


@pytest.mark.parametrize(("key", "reason"), DECIDED_BY_THE_TASK.items())
def test_an_argument_that_the_task_decides_is_refused_with_the_reason(key: str, reason: str) -> None:
    with pytest.raises(CharlmError, match=f"model.rnn.{key}: .*{reason}"):
        parse_config({"model": {"rnn": {key: True}}}, origin="my.yaml")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(
            (key, "nope")
            for key in RnnConfig.model_fields
            if key.endswith(("_initializer", "_regularizer", "_constraint"))
        ),
        ("kernel_initializer", ""),
        ("kernel_initializer", "l2"),
        ("kernel_initializer", {"class_name": "Dense", "config": {"units": 3}}),
        ("kernel_initializer", {"class_name": "Constant", "config": {"value": "x"}}),
        ("kernel_initializer", "Initializer"),
        ("bias_initializer", "orthogonal"),
        ("kernel_regularizer", {"class_name": "L2", "config": {"strength": 1}}),
        ("kernel_regularizer", {"class_name": "L2", "config": {"l2": -1}}),
        ("kernel_regularizer", {"class_name": "L2", "config": 0.1}),
        ("bias_regularizer", "orthogonal_regularizer"),
        ("activity_regularizer", "orthogonal_regularizer"),
        ("recurrent_constraint", {"class_name": "MaxNorm", "config": {"max_value": "x"}}),
        ("bias_constraint", {"class_name": "UnitNorm", "config": {"axis": 1}}),
    ],
    ids=str,
)
def test_a_value_that_keras_cannot_use_is_refused_with_its_key(key: str, value: Any) -> None:
    with pytest.raises(CharlmError) as refusal:
        build(rnn={key: value})
    assert str(refusal.value).startswith(f"model.rnn.{key}: found {value!r}; Keras says: ")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("kernel_initializer", {"class_name": "Constant", "config": {"value": [1, 2]}}),
        ("kernel_initializer", {"class_name": "Constant", "config": {"value": [[[0.5]]]}}),
        ("recurrent_initializer", {"class_name": "Orthogonal", "config": {"gain": [1, 2]}}),
        ("bias_initializer", {"class_name": "Constant", "config": {"value": [1, 2]}}),
        ("kernel_constraint", {"class_name": "MaxNorm", "config": {"max_value": [1, 2]}}),
        ("bias_constraint", {"class_name": "MinMaxNorm", "config": {"min_value": [1, 2]}}),
    ],
    ids=str,
)
def test_a_list_that_does_not_fit_the_tensor_is_refused_with_its_key(key: str, value: Any) -> None:
    with pytest.raises(CharlmError, match=f"^model.rnn.{key}: found .* Keras says: .*"):
        build(rnn={key: value})


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


@pytest.mark.parametrize(("skip_connections", "ones"), [(False, [V, 0]), (True, [V, V])])
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
