"""Config -> keras.Model, and its weights -> `charlm.rnn.Parameters` and back.

Axes: B batch, T time, V vocabulary, E embedding, H units.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from charlm import rnn
from charlm.bundle import Architecture
from charlm.config import Config, ModelConfig
from charlm.errors import CharlmError
from charlm.training.dropout import dropout_mask
from charlm.training.layers import SimpleRNN
from charlm.training.recurrence import Tensor, multiply

State = tuple[Tensor, ...]

_TRIAL_SHAPES = {"kernel": (3, 2), "recurrent": (2, 2), "bias": (2,), "activity": (1, 1, 2)}
"""On what the objects in `model.rnn` are tried out: as many axes as what they will meet."""


class CharacterRNN(keras.Model):
    """A stack of SimpleRNN layers between one-hot characters (or their embedding) and logits.

    The state is an argument and a result: model((ids, state)) -> (logits, state), ids int32 [T, B], state one
    [B, H] a layer, logits [T, B, V].
    """

    def __init__(self, config: ModelConfig, vocabulary_size: int, *, precision: str = "float32") -> None:
        super().__init__(name="character_rnn")
        self.settings = config
        self.precision = precision
        self.seed = keras.random.SeedGenerator()
        width = config.embedding or vocabulary_size
        self.embedding = build_embedding(config, vocabulary_size) if config.embedding else None
        self.rnn = [
            build_layer(config, index, input_width=width, precision=precision) for index in range(config.layers)
        ]
        self.logits = keras.layers.Dense(vocabulary_size, name="logits")
        self.logits.build((None, config.units * (config.layers if config.skip_connections else 1)))
        self.built = True

    def call(self, inputs: tuple[Tensor, State], training: bool = False) -> tuple[Tensor, State]:
        """Read a window: (ids int32 [T, B], state) -> logits [T, B, V], state after the last step."""
        logits, _, state = self.predict_window(*inputs, training=training)
        return logits, state

    def predict_window(self, ids: Tensor, state: State, *, training: bool) -> tuple[Tensor, list[Tensor], State]:
        """Return the logits [T, B, V], the outputs of each layer [T, B, H], and the last state."""
        outputs = self._read(ids, state, training=training)
        features = tf.concat(outputs, -1) if self.settings.skip_connections else outputs[-1]
        if training and self.settings.output_dropout:
            features *= dropout_mask(tuple(features.shape), self.settings.output_dropout, self.seed)
        flat = tf.reshape(features, [-1, features.shape[-1]])
        logits = multiply(flat, tf.convert_to_tensor(self.logits.kernel), precision=self.precision)
        logits = tf.reshape(logits + self.logits.bias, [-1, features.shape[1], logits.shape[-1]])
        return logits, outputs, tuple(output[-1] for output in outputs)

    def _read(self, ids: Tensor, state: State, *, training: bool) -> list[Tensor]:
        embedded = None if self.embedding is None else self.embedding(ids)
        outputs: list[Tensor] = []
        for layer, first in zip(self.rnn, state, strict=True):
            below = [self._drop_between_layers(outputs[-1], training)] if outputs else []
            wanted = not outputs or self.settings.skip_connections
            dense = [*below, embedded] if wanted and embedded is not None else below
            output = layer.read(
                tf.concat(dense, -1) if dense else None,
                ids if wanted and embedded is None else None,
                first,
                training=training,
            )
            outputs.append(output)
        return outputs

    def _drop_between_layers(self, below: Tensor, training: bool) -> Tensor:
        rate = self.settings.layer_dropout
        if not (training and rate):
            return below
        return below * dropout_mask(tuple(below.shape[1:]), rate, self.seed)

    def regularization(self, outputs: list[Tensor]) -> Tensor:
        """Return what the regularizers of the layers add to the loss, a scalar.

        As in Keras, the penalty of the outputs [T, B, H] is divided by B.
        """
        penalties = list(self.losses)
        if self.settings.activation_penalty:
            penalties.append(self.settings.activation_penalty * tf.reduce_mean(tf.square(outputs[-1])))
        if self.settings.temporal_activation_penalty and outputs[-1].shape[0] > 1:
            change = outputs[-1][1:] - outputs[-1][:-1]
            penalties.append(self.settings.temporal_activation_penalty * tf.reduce_mean(tf.square(change)))
        for layer, output in zip(self.rnn, outputs, strict=True):
            if layer.activity_regularizer is not None:
                penalties.append(layer.activity_regularizer(output) / output.shape[1])
        return tf.add_n(penalties) if penalties else tf.constant(0.0)


def build_model(config: Config, vocabulary_size: int, *, precision: str = "float32") -> CharacterRNN:
    """Return the network that a config describes, its weights drawn from the config's seed.

    `precision` is that of the products in training, float32 or bfloat16; the weights are float32.
    Raises CharlmError naming the key where Keras does not know, or cannot use, an initializer, regularizer or
    constraint.
    """
    keras.utils.set_random_seed(config.seed)
    return CharacterRNN(config.model, vocabulary_size, precision=precision)


def build_embedding(config: ModelConfig, vocabulary_size: int) -> keras.layers.Embedding:
    """Return the embedding, built; raises CharlmError for an initializer that Keras cannot use."""
    initializer = _input_initializer(config) or "uniform"
    embedding = keras.layers.Embedding(vocabulary_size, config.embedding, embeddings_initializer=initializer)
    embedding.build(None)
    return embedding


def build_layer(config: ModelConfig, index: int, *, input_width: int, precision: str = "float32") -> SimpleRNN:
    """Return layer `index` of the stack, built, with the arguments in `model.rnn`.

    `input_width` is V for one-hot characters, E for an embedding. Raises CharlmError naming the key whose
    value Keras does not know or cannot use there.
    """
    below = 0 if index == 0 else config.units
    own = input_width if index == 0 or config.skip_connections else 0
    arguments = config.rnn.model_dump()
    lookups: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
        "initializer": (keras.initializers.get, tuple),
        "regularizer": (keras.regularizers.get, tf.ones),
        "constraint": (keras.constraints.get, tf.ones),
    }
    for key, value in arguments.items():
        part, _, kind = key.rpartition("_")
        if kind in lookups:
            get, subject = lookups[kind]
            trial = subject(_TRIAL_SHAPES[part])
            arguments[key] = _look_up(get, value, trial=trial, key=f"model.rnn.{key}")
    input_initializer = _input_initializer(config)
    if own and config.embedding is None and input_initializer is not None:
        first = arguments["kernel_initializer"] or keras.initializers.GlorotUniform()  # what Keras takes for none
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
    layer.build((None, None, below + own))
    return layer


class _TwoBlocks(keras.initializers.Initializer):
    """Draws the first `rows` rows of a matrix with one initializer, the others with another."""

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
    """Return the object that a value of the config names, once it has been seen to work."""
    try:
        found = get(value)
        if found is not None:
            found(trial)
    except Exception as error:  # Keras and TensorFlow refuse a value in a dozen ways
        problem = str(error).strip().splitlines()[0]
        raise CharlmError(f"{key}: found {value!r}; Keras says: {problem}") from None
    return found


def architecture(config: Config, vocabulary_size: int) -> Architecture:
    """Return what decides the shapes of the network that a config describes."""
    model = config.model
    return Architecture(
        vocabulary_size=vocabulary_size,
        layers=model.layers,
        units=model.units,
        embedding=model.embedding,
        use_bias=model.rnn.use_bias,
        activation=model.rnn.activation,
        skip_connections=model.skip_connections,
    )


def named_weights(model: CharacterRNN) -> dict[str, Any]:
    """Return the trained Keras variables by the names that weights.safetensors gives them."""
    named = {} if model.embedding is None else {"embedding": model.embedding.embeddings}
    for index, layer in enumerate(model.rnn):
        named[f"rnn.{index}.kernel"] = layer.cell.kernel
        named[f"rnn.{index}.recurrent_kernel"] = layer.cell.recurrent_kernel
        if layer.use_bias:
            named[f"rnn.{index}.bias"] = layer.cell.bias
    return named | {"logits.kernel": model.logits.kernel, "logits.bias": model.logits.bias}


def undecayed_weights(model: CharacterRNN, parts: Sequence[str]) -> list[Any]:
    """Return the variables whose names contain one of these parts.

    Raises CharlmError where a part is in no name.
    """
    named = named_weights(model)
    for part in parts:
        if not any(part in name for name in named):
            raise CharlmError(
                f"training.undecayed: {part!r} is in no name of a weight; there are {', '.join(named)}"
            )
    return [variable for name, variable in named.items() if any(part in name for part in parts)]


def to_parameters(model: CharacterRNN, *, averages: Sequence[Any] | None = None) -> rnn.Parameters:
    """Return a copy of the weights for the NumPy engine, or of what `averages` has in place of each of them."""
    weights = model.trainable_variables
    sources = {id(w): source for w, source in zip(weights, averages or weights, strict=True)}
    return rnn.parameters_from_tensors(
        {name: sources[id(variable)].numpy() for name, variable in named_weights(model).items()},
        activation=model.settings.rnn.activation,
        skip_connections=model.settings.skip_connections,
    )


def zero_state(model: CharacterRNN, batch: int) -> State:
    """Return the state before the first character: zeros, one [batch, H] a layer."""
    return tuple(tf.zeros((batch, layer.units)) for layer in model.rnn)
