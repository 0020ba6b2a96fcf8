"""Layers built from a config: the arguments that Keras takes by name are looked up and tried first.

Axes: V vocabulary, E embedding, H units. Tensors are float32.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from charlm.config.schema import ModelConfig, RnnConfig
from charlm.engine.layers import SimpleRNN
from charlm.engine.recurrence import Tensor
from charlm.errors import CharlmError

_TRIAL_SHAPES = {"kernel": (3, 2), "recurrent": (2, 2), "bias": (2,), "activity": (1, 1, 2)}
"""Shapes on which initializers, regularizers and constraints are tried, with as many axes as the real tensors."""


def build_embedding(config: ModelConfig, vocabulary_size: int) -> keras.layers.Embedding:
    """Return the embedding with drawn weights, [V, E].

    Args:
        config: The settings of the network; `embedding` is a number.
        vocabulary_size: V, the number of ids.

    Raises:
        CharlmError: Keras does not have, or cannot use, the initializer.

    """
    initializer = _input_initializer(config) or "uniform"
    embedding = keras.layers.Embedding(vocabulary_size, config.embedding, embeddings_initializer=initializer)
    embedding.build(None)
    return embedding


def build_layer(config: ModelConfig, index: int, *, input_width: int, precision: str = "float32") -> SimpleRNN:
    """Return a layer of the stack with drawn weights and the arguments in `model.rnn`.

    Args:
        config: The settings of the network.
        index: The position of the layer, 0 is the lowest.
        input_width: The width of the network's input: V for one-hot characters, E for an embedding.
        precision: The precision of matrix products, float32 or bfloat16.

    Raises:
        CharlmError: Keras does not have, or cannot use, a value of `model.rnn`; the message names the key.

    """
    below = 0 if index == 0 else config.units
    direct = input_width if index == 0 or config.skip_connections else 0
    arguments = _layer_arguments(config.rnn)
    input_initializer = _input_initializer(config)
    if direct and config.embedding is None and input_initializer is not None:
        first = arguments["kernel_initializer"] or keras.initializers.GlorotUniform()  # Keras's own default
        arguments["kernel_initializer"] = _TwoBlocks(below, first, input_initializer)
    layer = SimpleRNN(
        config.units,
        return_sequences=True,
        return_state=True,
        name=f"rnn_{index}",
        precision=precision,
        weight_dropout=config.weight_dropout,
        **arguments,
    )
    layer.build((None, None, below + direct))
    return layer


def _layer_arguments(config: RnnConfig) -> dict[str, Any]:
    """Return the arguments of a layer, with names replaced by the objects that they stand for."""
    kinds: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
        "initializer": (keras.initializers.get, tuple),
        "regularizer": (keras.regularizers.get, tf.ones),
        "constraint": (keras.constraints.get, tf.ones),
    }
    arguments = config.model_dump()
    for key, value in arguments.items():
        part, _, kind = key.rpartition("_")
        if kind in kinds:
            get, make_trial = kinds[kind]
            arguments[key] = _look_up(get, value, trial=make_trial(_TRIAL_SHAPES[part]), key=f"model.rnn.{key}")
    return arguments


class _TwoBlocks(keras.initializers.Initializer):
    """Draws the first rows of a matrix with one initializer and the others with another."""

    def __init__(
        self, rows: int, first: keras.initializers.Initializer, others: keras.initializers.Initializer
    ) -> None:
        self.rows, self.first, self.others = rows, first, others

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> Tensor:
        rows, columns = shape
        others = self.others((rows - self.rows, columns), dtype)
        return tf.concat([self.first((self.rows, columns), dtype), others], 0) if self.rows else others


def _input_initializer(config: ModelConfig) -> Any:
    value = config.input_initializer
    return _look_up(keras.initializers.get, value, trial=_TRIAL_SHAPES["kernel"], key="model.input_initializer")


def _look_up(get: Callable[[Any], Any], value: Any, *, trial: Any, key: str) -> Any:
    """Return the object that a value of the config names, after trying it."""
    try:
        found = get(value)
        if found is not None:
            found(trial)
    except Exception as error:  # Keras and TensorFlow raise many types for a wrong value
        problem = str(error).strip().splitlines()[0]
        raise CharlmError(f"{key}: found {value!r}; Keras says: {problem}") from None
    return found
