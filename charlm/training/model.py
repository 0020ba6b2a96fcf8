"""Config -> keras.Model, and its weights -> `charlm.rnn.Parameters` and back.

Axes: B batch, T time, V vocabulary, E embedding, H units.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from charlm import rnn
from charlm.bundle import Architecture
from charlm.config import Config, ModelConfig
from charlm.errors import CharlmError
from charlm.training.layers import SimpleRNN, Tensor

State = tuple[Tensor, ...]


class CharacterRNN(keras.Model):
    """A stack of SimpleRNN layers between one-hot characters (or their embedding) and logits.

    The state is an argument and a result: model((ids, state)) -> (logits, state), ids int32 [T, B], state one
    [B, H] a layer, logits [T, B, V].
    """

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        super().__init__(name="character_rnn")
        self.settings = config
        self.seed = keras.random.SeedGenerator()
        width = config.embedding or vocabulary_size
        self.embedding = keras.layers.Embedding(vocabulary_size, width) if config.embedding else None
        if self.embedding is not None:
            self.embedding.build(None)
        self.rnn = [build_layer(config, name=f"rnn_{index}") for index in range(config.layers)]
        for index, layer in enumerate(self.rnn):
            below = 0 if index == 0 else config.units
            own = width if index == 0 or config.skip_connections else 0
            layer.build((None, None, below + own))
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
            features = keras.random.dropout(features, self.settings.output_dropout, seed=self.seed)
        return self.logits(features), outputs, tuple(output[-1] for output in outputs)

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
        return below * keras.random.dropout(tf.ones_like(below[0]), rate, seed=self.seed)

    def regularization(self, outputs: list[Tensor]) -> Tensor:
        """Return what the regularizers of the layers add to the loss, a scalar."""
        penalties = list(self.losses)
        for layer, output in zip(self.rnn, outputs, strict=True):
            if layer.activity_regularizer is not None:
                penalties.append(layer.activity_regularizer(output))
        return tf.add_n(penalties) if penalties else tf.constant(0.0)


def build_model(config: Config, vocabulary_size: int) -> CharacterRNN:
    """Return the network that a config describes, its weights drawn from the config's seed.

    Raises CharlmError naming the key where Keras does not know an initializer, regularizer or constraint.
    """
    keras.utils.set_random_seed(config.seed)
    return CharacterRNN(config.model, vocabulary_size)


def build_layer(config: ModelConfig, *, name: str) -> SimpleRNN:
    """Return one SimpleRNN layer with the arguments in `model.rnn`.

    Raises CharlmError naming the key whose value Keras does not know.
    """
    arguments = config.rnn.model_dump()
    lookups: dict[str, Callable[[Any], Any]] = {
        "initializer": keras.initializers.get,
        "regularizer": keras.regularizers.get,
        "constraint": keras.constraints.get,
    }
    for key, value in arguments.items():
        kind = key.rpartition("_")[2]
        if kind in lookups:
            arguments[key] = _look_up(lookups[kind], value, key=f"model.rnn.{key}")
    return SimpleRNN(config.units, return_sequences=True, return_state=True, name=name, **arguments)


def _look_up(get: Callable[[Any], Any], value: Any, *, key: str) -> Any:
    try:
        return get(value)
    except (ValueError, TypeError) as error:
        problem = str(error).strip().splitlines()[0]
        raise CharlmError(f"{key}: found {value!r}; Keras says: {problem}") from None


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


def to_parameters(model: CharacterRNN) -> rnn.Parameters:
    """Return a copy of the weights for the NumPy engine."""
    return rnn.parameters_from_tensors(
        {name: np.array(variable) for name, variable in named_weights(model).items()},
        activation=model.settings.rnn.activation,
        skip_connections=model.settings.skip_connections,
    )


def zero_state(model: CharacterRNN, batch: int) -> State:
    """Return the state before the first character: zeros, one [batch, H] a layer."""
    return tuple(tf.zeros((batch, layer.units)) for layer in model.rnn)
