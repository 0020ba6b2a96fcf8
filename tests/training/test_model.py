"""The Keras model: the same mathematics as `charlm.rnn`, and every setting of the config at work in it.

Axes: B batch, T time, V vocabulary, H units.
"""

import inspect
from collections.abc import Callable
from itertools import product
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from charlm import rnn
from charlm.choice import Choice
from charlm.config import ACTIVATIONS, DECIDED_BY_THE_TASK, Config, ModelConfig, RnnConfig
from charlm.config_file import parse_config
from charlm.errors import CharlmError
from charlm.sampling import generate
from charlm.scoring import mean_score, nats
from charlm.training.model import (
    CharacterRNN,
    architecture,
    build_model,
    named_weights,
    to_parameters,
    undecayed_weights,
    zero_state,
)

B, V = 3, 11

GAINS = {"exponential": 0.3}
"""Of the weights, where 1 would overflow: exp of exp of ..."""
NETWORKS: list[dict[str, Any]] = [
    *({"activation": activation, "layers": 2, "skip_connections": True} for activation in ACTIVATIONS),
    *(
        {"layers": layers, "units": units, "embedding": embedding, "skip_connections": skip, "use_bias": use_bias}
        for layers, units, embedding, skip, use_bias in product(
            (1, 2, 3), (5, 16, 64), (None, 4), (False, True), (True, False)
        )
        if skip <= (layers > 1)
    ),
]


def config(
    *,
    seed: int = 1,
    activation: str = "tanh",
    use_bias: bool = True,
    rnn: dict[str, Any] | None = None,
    **model: Any,
) -> Config:
    """Return the Config of a small network with biases that are not zero."""
    orthogonal = {"class_name": "Orthogonal", "config": {"gain": GAINS.get(activation, 1.0)}}
    arguments = {
        "activation": activation,
        "use_bias": use_bias,
        "kernel_initializer": orthogonal,
        "recurrent_initializer": orthogonal,
        "bias_initializer": "random_normal",
        **(rnn or {}),
    }
    return Config(seed=seed, model=ModelConfig(**{"units": 8, **model}, rnn=RnnConfig(**arguments)))


def build(**settings: Any) -> CharacterRNN:
    return build_model(config(**settings), V)


def random_ids(*shape: int) -> NDArray[np.int32]:
    return np.random.default_rng(0).integers(0, V, shape, dtype=np.int32)


def random_state(model: CharacterRNN) -> tuple[NDArray[np.float32], ...]:
    rng = np.random.default_rng(1)
    return tuple(rng.standard_normal((B, layer.units)).astype(np.float32) for layer in model.rnn)


def read(model: CharacterRNN, *, training: bool = False) -> tuple[Any, list[Any]]:
    """Return the logits [T, B, V] and the outputs of each layer [T, B, H] for a small window."""
    logits, outputs, _ = model.predict_window(
        tf.constant(random_ids(5, B)), random_state(model), training=training
    )
    return logits, outputs


def penalty(model: CharacterRNN) -> float:
    """Return what the regularizers add to the loss of a small window."""
    return float(model.regularization(read(model, training=True)[1]))


def layer_weights(model: CharacterRNN, name: str) -> list[NDArray[np.float32]]:
    """Return the weights of each layer that weights.safetensors knows by that name."""
    return [
        w.numpy() for key, w in named_weights(model).items() if key.startswith("rnn.") and key.endswith(f".{name}")
    ]


# The two engines


@pytest.mark.parametrize("length", [1, 7, 200])
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_logits_state_and_loss_are_those_of_the_numpy_engine(network: dict[str, Any], length: int) -> None:
    model = build(**network)
    ids, state = random_ids(length + 1, B), random_state(model)
    logits, last = model((tf.constant(ids[:-1]), state))
    numpy_logits, numpy_last = rnn.unroll(to_parameters(model), ids[:-1], state)
    size = np.abs(numpy_logits).max(initial=1.0)
    np.testing.assert_allclose(logits, numpy_logits, rtol=0, atol=1e-5 * size)
    for state_of_layer, numpy_state in zip(last, numpy_last, strict=True):
        size = np.abs(numpy_state).max(initial=1.0)
        np.testing.assert_allclose(state_of_layer, numpy_state, rtol=0, atol=1e-5 * size)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(ids[1:], logits)
    assert float(loss) == pytest.approx(mean_score([nats(numpy_logits, ids[1:])]).nats_per_char, rel=1e-6)


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_the_most_likely_text_is_that_of_the_numpy_engine(network: dict[str, Any]) -> None:
    model = build(**network)

    @tf.function
    def write(id_: Any, state: Any) -> Any:
        written = tf.TensorArray(tf.int32, 300)
        for index in tf.range(300):
            logits, state = model((id_, state))
            id_ = tf.argmax(logits, -1, output_type=tf.int32)
            written = written.write(index, id_[0, 0])
        return written.stack()

    text = write(tf.constant([[2]]), zero_state(model, 1)).numpy()
    written = generate(to_parameters(model), np.array([2]), choice=Choice(temperature=0), length=300, seed=0)
    assert text.tolist() == np.concatenate(list(written)).tolist()


@pytest.mark.parametrize("network", [{}, {"layers": 3, "embedding": 4, "skip_connections": True}], ids=str)
def test_two_windows_with_the_state_carried_equal_one_long_window(network: dict[str, Any]) -> None:
    model = build(**network)
    ids = tf.constant(random_ids(10, B))
    whole, whole_state = model((ids, zero_state(model, B)))
    first, state = model((ids[:4], zero_state(model, B)))
    second, state = model((ids[4:], state))
    np.testing.assert_allclose(tf.concat([first, second], 0), whole, atol=1e-6)
    np.testing.assert_allclose(tf.stack(state), tf.stack(whole_state), atol=1e-6)


# Dropout


@pytest.mark.parametrize(
    "dropping",
    [
        {"rnn": {"dropout": 0.5}},
        {"rnn": {"recurrent_dropout": 0.5}},
        {"layer_dropout": 0.5},
        {"output_dropout": 0.5},
        {"weight_dropout": 0.5},
    ],
    ids=str,
)
def test_dropout_is_for_training_alone(dropping: dict[str, Any]) -> None:
    model, plain = build(layers=2, **dropping), build(layers=2)
    for variable, same in zip(plain.trainable_variables, model.trainable_variables, strict=True):
        variable.assign(same)
    np.testing.assert_array_equal(read(model)[0], read(plain)[0])
    np.testing.assert_array_equal(read(plain, training=True)[0], read(plain)[0])
    assert not np.allclose(read(model, training=True)[0], read(plain)[0])


def layer_masks(model: CharacterRNN) -> NDArray[np.float32]:
    """Return what the output of layer 0 is multiplied with on its way to layer 1, [T, B, H]."""
    model.rnn[1].cell.kernel.assign(np.eye(V))
    model.rnn[1].cell.recurrent_kernel.assign(np.zeros((V, V)))
    model.rnn[1].cell.bias.assign(np.zeros(V))
    _, (below, above), _ = model.predict_window(
        tf.constant(random_ids(20, 16)), zero_state(model, 16), training=True
    )
    return np.array(above / below)


def output_masks(model: CharacterRNN) -> NDArray[np.float32]:
    """Return what the output of the last layer is multiplied with on its way to the logits, [T, B, H]."""
    model.logits.kernel.assign(np.eye(V))
    model.logits.bias.assign(np.zeros(V))
    logits, (*_, last), _ = model.predict_window(
        tf.constant(random_ids(20, 16)), zero_state(model, 16), training=True
    )
    return np.array(logits / last)


def test_the_mask_between_layers_is_the_same_at_all_steps_of_a_window() -> None:
    masks = layer_masks(build(layers=2, units=V, activation="linear", layer_dropout=0.25))
    np.testing.assert_allclose(masks, np.broadcast_to(masks[0], masks.shape), rtol=1e-5)


def test_the_mask_between_layers_is_another_in_the_next_window() -> None:
    model = build(layers=2, units=V, activation="linear", layer_dropout=0.25)
    assert not np.allclose(layer_masks(model)[0], layer_masks(model)[0])


def test_the_mask_before_the_logits_is_another_at_every_step() -> None:
    masks = output_masks(build(units=V, output_dropout=0.25)).round(4)
    assert len(np.unique(masks, axis=0)) == len(masks)


@pytest.mark.parametrize(
    ("masks", "settings"), [(layer_masks, {"layer_dropout": 0.25}), (output_masks, {"output_dropout": 0.25})]
)
def test_a_quarter_is_dropped_and_the_rest_scaled_so_that_the_mean_stays(
    masks: Callable[[CharacterRNN], NDArray[np.float32]], settings: dict[str, float]
) -> None:
    factors = masks(build(layers=2, units=V, activation="linear", **settings))
    np.testing.assert_allclose(np.unique(factors.round(4)), [0, 1.3333])
    assert factors.mean() == pytest.approx(1, abs=0.1)


def test_weight_dropout_takes_the_same_weights_of_the_recurrent_kernel_for_a_whole_window() -> None:
    model = build(units=V, activation="linear", weight_dropout=0.25)
    for weight, value in zip(model.rnn[0].weights, (np.zeros((V, V)), np.eye(V), np.zeros(V)), strict=False):
        weight.assign(value)  # each unit keeps its value for ever, or loses it
    _, (outputs,), _ = model.predict_window(tf.constant(random_ids(2, B)), (np.ones((B, V)),), training=True)
    first, second = np.array(outputs)
    np.testing.assert_allclose(second, first**2, rtol=1e-5)
    assert (first == first[0]).all(), "the same weights in every stream"
    assert set(first.ravel().round(4)) <= {0, np.float32(1.3333)}


# Penalties


def test_the_penalties_are_the_mean_squares_of_outputs_and_of_their_changes() -> None:
    model = build(layers=2, activation_penalty=2.0, temporal_activation_penalty=3.0)
    _, outputs = read(model, training=True)
    last = np.array(outputs[-1])
    expected = 2 * np.square(last).mean() + 3 * np.square(np.diff(last, axis=0)).mean()
    assert float(model.regularization(outputs)) == pytest.approx(expected, rel=1e-5)


def test_the_change_within_a_window_of_one_character_costs_nothing() -> None:
    model = build(temporal_activation_penalty=3.0)
    assert float(model.regularization([tf.ones((1, B, 8))])) == 0


# Averages and weight decay


def test_averages_stand_in_for_the_weights_by_name() -> None:
    model = build(layers=2)
    averages = [np.full(weight.shape, index) for index, weight in enumerate(model.trainable_variables)]
    tensors = to_parameters(model, averages=[tf.constant(average, tf.float32) for average in averages]).tensors()
    for name, variable in named_weights(model).items():
        place = next(i for i, weight in enumerate(model.trainable_variables) if weight is variable)
        np.testing.assert_array_equal(tensors[name], np.full(variable.shape, place))


def test_undecayed_weights_are_found_by_a_part_of_their_names() -> None:
    model = build(layers=2)
    named = named_weights(model)
    found = undecayed_weights(model, ["bias", "rnn.0.kernel"])
    wanted = [named[name] for name in ("rnn.0.kernel", "rnn.0.bias", "rnn.1.bias", "logits.bias")]
    assert {id(weight) for weight in found} == {id(weight) for weight in wanted}


def test_a_name_that_no_weight_has_is_refused() -> None:
    with pytest.raises(CharlmError, match=r"training\.undecayed: 'embeding' is in no name.*rnn\.0"):
        undecayed_weights(build(), ["embeding"])


# The arguments of SimpleRNN


def after_a_step(model: CharacterRNN) -> CharacterRNN:
    """Return the model after one step of gradient descent in some direction."""
    gradients = [tf.ones(variable.shape) for variable in model.trainable_variables]
    keras.optimizers.SGD(0.1).apply(gradients, model.trainable_variables)
    return model


def is_drawn_as_ones(name: str) -> Callable[[CharacterRNN], bool]:
    return lambda model: all((weights == 1).all() for weights in layer_weights(model, name))


def is_half_the_squares(name: str) -> Callable[[CharacterRNN], bool]:
    """Return whether the loss has half the sum of the squares of these weights added."""
    return lambda model: np.isclose(penalty(model), sum((w**2).sum() / 2 for w in layer_weights(model, name)))


def is_of_unit_norm(name: str) -> Callable[[CharacterRNN], bool]:
    return lambda model: all(
        np.allclose(np.linalg.norm(weights, axis=0), 1) for weights in layer_weights(after_a_step(model), name)
    )


def has_positive_outputs(model: CharacterRNN) -> bool:
    return all(np.array(output > 0).all() for output in read(model)[1])


def is_half_the_outputs(model: CharacterRNN) -> bool:
    """Return whether the loss has half the sum of a stream's outputs, without their signs, added."""
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
    "kernel_initializer": ("ones", is_drawn_as_ones("kernel")),
    "recurrent_initializer": ("ones", is_drawn_as_ones("recurrent_kernel")),
    "bias_initializer": ("ones", is_drawn_as_ones("bias")),
    "kernel_regularizer": (L2, is_half_the_squares("kernel")),
    "recurrent_regularizer": (L2, is_half_the_squares("recurrent_kernel")),
    "bias_regularizer": (L2, is_half_the_squares("bias")),
    "activity_regularizer": (L1, is_half_the_outputs),
    "kernel_constraint": ("unit_norm", is_of_unit_norm("kernel")),
    "recurrent_constraint": ("unit_norm", is_of_unit_norm("recurrent_kernel")),
    "bias_constraint": ("unit_norm", is_of_unit_norm("bias")),
    "dropout": (0.5, is_random_in_training),
    "recurrent_dropout": (0.5, is_random_in_training),
    "unroll": (False, is_a_loop),
}
"""For each argument a value that is not the default, and what is then true of a model, and else is not."""


@pytest.mark.parametrize("key", RnnConfig.model_fields)
def test_each_argument_changes_what_keras_builds(key: str) -> None:
    value, is_so = CLAIMS[key]
    assert is_so(build(layers=2, rnn={key: value}))
    assert not is_so(build(layers=2))


def test_each_argument_of_keras_is_offered_or_refused_with_a_reason() -> None:
    arguments = set(inspect.signature(keras.layers.SimpleRNN.__init__).parameters)
    from_elsewhere = {"self", "kwargs", "seed"}  # the seed is the config's
    assert arguments - from_elsewhere == {*RnnConfig.model_fields, *DECIDED_BY_THE_TASK}


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
def test_what_keras_cannot_use_is_refused_with_the_key_and_the_value(key: str, value: Any) -> None:
    with pytest.raises(CharlmError) as refusal:
        build(rnn={key: value})
    assert str(refusal.value).startswith(f"model.rnn.{key}: found {value!r}; Keras says: ")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("key", [key for key in RnnConfig.model_fields if key.endswith("_initializer")])
def test_an_initializer_of_null_is_left_to_keras(key: str) -> None:
    name = {"recurrent_initializer": "recurrent_kernel"}.get(key, key.removesuffix("_initializer"))
    _, upper = layer_weights(
        build(layers=2, skip_connections=True, rnn={key: None}, input_initializer="ones"), name
    )
    assert len(np.unique(upper)) > 1


@pytest.mark.parametrize(("skip_connections", "ones"), [(False, [V, 0]), (True, [V, V])])
def test_the_input_initializer_draws_the_rows_that_meet_characters(
    skip_connections: bool, ones: list[int]
) -> None:
    model = build(layers=2, skip_connections=skip_connections, input_initializer="ones")
    assert [int((kernel == 1).all(axis=1).sum()) for kernel in layer_weights(model, "kernel")] == ones
    assert (layer_weights(model, "kernel")[-1][-ones[-1] :] == 1).all() == skip_connections


def test_the_input_initializer_draws_the_embedding_where_there_is_one() -> None:
    model = build(layers=2, embedding=4, skip_connections=True, input_initializer="ones")
    assert (named_weights(model)["embedding"].numpy() == 1).all()
    assert not any((kernel == 1).any() for kernel in layer_weights(model, "kernel"))


# Weights


def test_the_seed_decides_the_weights() -> None:
    for weights, same, other in zip(*(build(seed=seed).get_weights() for seed in (1, 1, 2)), strict=True):
        np.testing.assert_array_equal(weights, same)
        assert weights.any() == (not np.array_equal(weights, other))


def test_layers_are_not_drawn_alike() -> None:
    _, second, third = layer_weights(build(layers=3), "kernel")
    assert not np.array_equal(second, third)


def test_the_weights_have_the_names_that_weights_safetensors_gives_them() -> None:
    """Others build on these names without charlm: a change needs another format number in `charlm.bundle`."""
    names = list(to_parameters(build(layers=2, embedding=4)).tensors())
    assert names == [
        "embedding",
        "rnn.0.kernel",
        "rnn.0.recurrent_kernel",
        "rnn.0.bias",
        "rnn.1.kernel",
        "rnn.1.recurrent_kernel",
        "rnn.1.bias",
        "logits.kernel",
        "logits.bias",
    ]


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_the_weights_have_the_shapes_of_the_architecture(network: dict[str, Any]) -> None:
    tensors = to_parameters(build(**network)).tensors()
    assert {name: tensor.shape for name, tensor in tensors.items()} == architecture(config(**network), V).shapes()
    assert {tensor.dtype.name for tensor in tensors.values()} == {"float32"}


def test_the_weights_of_keras_and_of_the_numpy_engine_are_as_many() -> None:
    model = build(layers=3, embedding=4, skip_connections=True)
    assert to_parameters(model).size == model.count_params()


def test_parameters_are_a_copy_that_training_does_not_change() -> None:
    model = build()
    before = {name: tensor.copy() for name, tensor in to_parameters(model).tensors().items()}
    parameters = to_parameters(model)
    after_a_step(model)
    for name, tensor in parameters.tensors().items():
        np.testing.assert_array_equal(tensor, before[name])
        assert not np.array_equal(tensor, to_parameters(model).tensors()[name])
