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
from charlm.errors import CharlmError, shorten

Shape = tuple[int, ...]


def build_embedding(config: ModelConfig, vocabulary_size: int) -> keras.layers.Embedding:
    """Return the embedding with drawn weights, [V, E].

    Args:
        config: The settings of the network; `embedding` is a number.
        vocabulary_size: V, the number of ids.

    Raises:
        CharlmError: Keras does not have, or cannot use, the initializer.

    """
    width = config.embedding or 1
    initializer = _input_initializer(config, (vocabulary_size, width)) or "uniform"
    embedding = keras.layers.Embedding(vocabulary_size, width, embeddings_initializer=initializer)
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
    has_two_blocks = direct > 0 and config.embedding is None and config.input_initializer is not None
    rows = (below or direct) if has_two_blocks else below + direct
    arguments = _layer_arguments(config.rnn, rows, config.units)
    if has_two_blocks:
        input_initializer = _input_initializer(config, (direct, config.units))
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


def _layer_arguments(config: RnnConfig, rows: int, units: int) -> dict[str, Any]:
    """Return the arguments of a layer, with names replaced by the objects that they stand for.

    `rows` are those of the kernel that its initializer draws.
    """
    shapes = {"kernel": (rows, units), "recurrent": (units, units), "bias": (units,), "activity": (1, 1, units)}
    arguments = config.model_dump()
    for key, value in arguments.items():
        part, _, kind = key.rpartition("_")
        if kind in _KINDS:
            arguments[key] = _look_up(kind, value, shape=shapes[part], key=f"model.rnn.{key}")
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


def _input_initializer(config: ModelConfig, shape: Shape) -> Any:
    return _look_up("initializer", config.input_initializer, shape=shape, key="model.input_initializer")


_KINDS: dict[str, Callable[[Any], Any]] = {
    "initializer": keras.initializers.get,
    "regularizer": keras.regularizers.get,
    "constraint": keras.constraints.get,
}
"""How Keras looks up each kind of object."""


def _look_up(kind: str, value: Any, *, shape: Shape, key: str) -> Any:
    """Return the object that a value of the config names, after trying it for a tensor of a shape."""
    try:
        found = _KINDS[kind](value)
        if found is not None:
            _try(kind, found, shape)
    except Exception as error:  # Keras and TensorFlow raise many types for a wrong value
        problem = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CharlmError(f"{key}: found {shorten(value)}; Keras says: {problem}") from None
    return found


def _try(kind: str, found: Callable[[Any], Any], shape: Shape) -> None:
    """Call an initializer, regularizer or constraint as for a tensor of a shape; refuse a result of another shape."""

    def call(shape: Shape) -> Any:
        return found(shape) if kind == "initializer" else found(tf.ones(shape))

    call((1,) * len(shape))  # shows which values cannot be computed with; lists of numbers are broadcast
    # A trace shows whether shapes agree. It computes nothing, so that a large tensor takes no memory.
    result = tf.function(call, autograph=False).get_concrete_function(shape).output_shapes
    expected = () if kind == "regularizer" else shape
    if result != expected:
        raise ValueError(f"its result has shape {result}; must be {expected}")
