"""`keras.layers.SimpleRNN` with a faster recurrence and cheaper dropout, and the layers that a config describes.

The weights, the arguments and the results are those of Keras. On a CPU, drawing random numbers is what makes dropout
slow, not multiplying by the mask: so one draw of 32 bits decides about four values, each from 8 of its bits.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from charlm.config.schema import ModelConfig, RnnConfig
from charlm.engine.recurrence import Tensor, multiply, scan
from charlm.errors import CharlmError, short_repr

LEVELS = 256
"""A rate is rounded to a multiple of 1 / LEVELS."""


def dropout_mask(shape: tuple[int, ...], rate: float, seed: keras.random.SeedGenerator) -> Tensor:
    """Return a mask that is 0 with probability `rate`, otherwise 1 / (1 - rate).

    Srivastava et al. 2014, scaled in training instead of in prediction.

    Args:
        shape: The shape of the mask; a size may be a scalar tensor.
        rate: The probability of 0, from 0 to 1; it is rounded to a multiple of 1 / LEVELS below 1.
        seed: The random generator; every call advances it.

    Returns:
        float32 of the given shape.

    """
    dropped = min(round(rate * LEVELS), LEVELS - 1)
    count = tf.math.reduce_prod(shape)
    words = tf.random.stateless_uniform([-(-count // 4)], seed.next(), None, None, tf.int32)
    levels = tf.reshape(tf.bitcast(words, tf.uint8), [-1])[:count]
    kept = tf.cast(tf.reshape(levels, shape) >= dropped, tf.float32)
    return kept * (LEVELS / (LEVELS - dropped))


class SimpleRNN(keras.layers.SimpleRNN):
    """A `keras.layers.SimpleRNN` that also reads windows in time-major order, [T, B], as training has them.

    `read` is faster than the call of the layer, and looks up one-hot inputs instead of multiplying them.

    Args:
        activity_regularizer: As in Keras.
        precision: The precision of matrix products, float32 or bfloat16; see `charlm.engine.recurrence.multiply`.
        arguments: Arguments of `keras.layers.SimpleRNN`.

    """

    def __init__(self, *, activity_regularizer: Any = None, precision: str = "float32", **arguments: Any) -> None:
        super().__init__(**arguments)
        self.precision = precision
        # As of 3.15, Keras accepts this argument for a SimpleRNN but, unlike for a GRU or LSTM, does not store it.
        self.activity_regularizer = keras.regularizers.get(activity_regularizer)

    def read(
        self,
        below: Tensor | None,
        ids: Tensor | None,
        state: Tensor,
        *,
        mask: Tensor | None = None,
        recurrent_mask: Tensor | None = None,
    ) -> Tensor:
        """Read a window in time-major order.

        The kernel has D + V rows: the first D are for dense inputs, the others for one-hot characters, whose rows are
        looked up instead of multiplied.

        Args:
            below: Dense inputs [T, B, D], or None (D is 0).
            ids: Characters, int32 [T, B], or None (V is 0).
            state: h_0, [B, H].
            mask: The mask of the inputs, [B, D + V], or None.
            recurrent_mask: The mask of the state, [B, H], or None.

        Returns:
            The outputs h_1 to h_T, [T, B, H].

        """
        kernel, matrix = (tf.convert_to_tensor(weight) for weight in (self.cell.kernel, self.cell.recurrent_kernel))
        bias = tf.convert_to_tensor(self.cell.bias) if self.use_bias else tf.zeros(self.units)
        width = 0 if below is None else below.shape[-1]
        projection = 0.0
        if below is not None:
            below = below if mask is None else below * mask[:, :width]
            projection = multiply(tf.reshape(below, [-1, width]), kernel[:width], precision=self.precision)
            projection = tf.reshape(projection, [-1, state.shape[0], self.units])
        if ids is None:
            projection += bias
        elif mask is None:
            projection += tf.gather(kernel[width:] + bias, ids)  # the bias is added to V rows, not to T B
        else:
            projection += _look_up_masked(kernel[width:], ids, mask[:, width:]) + bias
        return scan(
            projection,
            matrix,
            state,
            activation=self.activation,
            recurrent_mask=recurrent_mask,
            unroll=self.unroll,
            precision=self.precision,
        )

    def draw_masks(self, batch: int) -> tuple[Tensor | None, Tensor | None]:
        """Return the masks of the inputs and of the state for a window, if there is dropout."""
        mask = self._mask(self.dropout, (batch, self.cell.kernel.shape[0]))
        return mask, self._mask(self.recurrent_dropout, (batch, self.units))

    def _mask(self, rate: float, shape: tuple[int, ...]) -> Tensor | None:
        return keras.random.dropout(tf.ones(shape), rate, seed=self.cell.seed_generator) if rate else None


def _look_up_masked(table: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """Return (one_hot(ids) * mask) @ table, [T, B, H], for ids [T, B], a mask [B, V] and a table [V, H]."""
    scale = tf.gather(mask, tf.transpose(ids), batch_dims=1)  # [B, T]
    return tf.gather(table, ids) * tf.transpose(scale)[..., None]


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
    layer = SimpleRNN(units=config.units, name=f"rnn_{index}", precision=precision, **arguments)
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
        raise CharlmError(f"{key}: found {short_repr(value)}; Keras says: {problem}") from None
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
