"""The network as a Keras model, built from a config, and its weights by name and as NumPy parameters.

Axes: B batch, T time, V vocabulary, H units. Tensors are float32; ids are int32.
"""

import contextlib
import random
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from charlm.config.schema import Config, ModelConfig
from charlm.engine.layers import build_embedding, build_layer, dropout_mask
from charlm.engine.recurrence import Tensor, multiply
from charlm.network.rnn import Parameters, parameters_from_tensors

_SEEDING = threading.Lock()
State = tuple[Tensor, ...]
"""The hidden state of each layer, float32 [B, H] for each layer, lowest first."""


class Masks(NamedTuple):
    """The masks of dropout for a window: 0, or 1 / (1 - rate). An empty list, or None, where nothing is dropped."""

    inputs: Sequence[Tensor] = ()
    """Of the inputs of each layer, [B, D]."""
    recurrent: Sequence[Tensor] = ()
    """Of the state that each layer reads, [B, H]."""
    between: Sequence[Tensor] = ()
    """Of what each layer but the first reads of the one below, [B, H]."""
    output: Tensor | None = None
    """Of what the logits read, [T, B, features]."""


class CharacterRNN(keras.Model):
    """A stack of SimpleRNN layers between characters, one-hot or embedded, and logits.

        h_t = f(x_t U + h_{t-1} V + b) in each layer,  logits_t = h_t W + c

    `charlm.network.rnn` has the same equations in NumPy. The state is an argument and a result of `predict_window`.

    Args:
        config: The settings of the network.
        vocabulary_size: V, the number of ids.
        precision: The precision of matrix products, float32 or bfloat16; the weights are float32.

    Raises:
        CharlmError: Keras does not have, or cannot use, an initializer, regularizer or constraint.

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

    def predict_window(
        self, ids: Tensor, state: State, masks: Masks | None = None
    ) -> tuple[Tensor, list[Tensor], State]:
        """Read a window.

        Args:
            ids: Characters, [T, B], 0 to V - 1.
            state: The state before the first character.
            masks: Those of dropout; None = without it.

        Returns:
            The logits [T, B, V], the outputs of each layer [T, B, H], and the state after the last character.

        """
        masks = masks or Masks()
        outputs = self.read(ids, state, masks)
        features = tf.concat(outputs, -1) if self.settings.skip_connections else outputs[-1]
        if masks.output is not None:
            features *= masks.output
        flat = tf.reshape(features, [-1, features.shape[-1]])
        logits = multiply(flat, tf.convert_to_tensor(self.logits.kernel), precision=self.precision)
        logits = tf.reshape(logits + self.logits.bias, [-1, features.shape[1], logits.shape[-1]])
        return logits, outputs, tuple(output[-1] for output in outputs)

    def read(self, ids: Tensor, state: State, masks: Masks) -> list[Tensor]:
        """Return the outputs of each layer, [T, B, H], for the arguments of `predict_window`."""
        embedded = None if self.embedding is None else self.embedding(ids)
        outputs: list[Tensor] = []
        for index, (layer, first) in enumerate(zip(self.rnn, state, strict=True)):
            reads_input = not outputs or self.settings.skip_connections
            dense = outputs[-1:]
            if index and masks.between:
                dense = [outputs[-1] * masks.between[index - 1]]
            if reads_input and embedded is not None:
                dense = [*dense, embedded]
            outputs.append(
                layer.read(
                    tf.concat(dense, -1) if dense else None,
                    ids if reads_input and embedded is None else None,
                    first,
                    mask=masks.inputs[index] if masks.inputs else None,
                    recurrent_mask=masks.recurrent[index] if masks.recurrent else None,
                )
            )
        return outputs

    def draw_masks(self, time: int, batch: int) -> Masks:
        """Return the masks of dropout for a window; those of layers are the same at every time."""
        settings = self.settings
        pairs = [layer.draw_masks(batch) for layer in self.rnn]
        rates = [settings.layer_dropout] * (settings.layers - 1) if settings.layer_dropout else []
        between = [dropout_mask((batch, settings.units), rate, self.seed) for rate in rates]
        shape = (time, batch, self.logits.kernel.shape[0])
        rate = settings.output_dropout
        return Masks(
            [inputs for inputs, _ in pairs if inputs is not None],
            [recurrent for _, recurrent in pairs if recurrent is not None],
            between,
            dropout_mask(shape, rate, self.seed) if rate else None,
        )

    def regularization(self, outputs: list[Tensor]) -> Tensor:
        """Return what regularizers add to the loss, a scalar, for the outputs [T, B, H] of each layer.

        As in Keras, an activity regularizer is divided by B. Without outputs it is the penalty on weights alone.
        """
        penalties = list(self.losses)
        for layer, output in zip(self.rnn, outputs, strict=False):
            if layer.activity_regularizer is not None:
                penalties.append(layer.activity_regularizer(output) / output.shape[1])
        return tf.add_n(penalties) if penalties else tf.constant(0.0)


def build_model(config: Config, vocabulary_size: int, *, precision: str = "float32") -> CharacterRNN:
    """Return the network that a config describes, with weights drawn from the config's seed.

    Args:
        config: Every setting; `model` and `seed` are used.
        vocabulary_size: V, the number of ids.
        precision: The precision of matrix products, float32 or bfloat16; the weights are float32.

    Raises:
        CharlmError: Keras does not have, or cannot use, an initializer, regularizer or constraint; the message names
            the key.

    """
    with _seeded(config.seed):
        return CharacterRNN(config.model, vocabulary_size, precision=precision)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Let Keras draw its seeds, which it takes from `random`, from a seed; the program's own numbers stay as they were.

    One block at a time: networks that several threads build have the weights of their seeds.
    """
    with _SEEDING:
        before = random.getstate()
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(before)


def named_weights(model: CharacterRNN) -> dict[str, Any]:
    """Return the trained Keras variables by their names in a model file."""
    named = {} if model.embedding is None else {"embedding": model.embedding.embeddings}
    for index, layer in enumerate(model.rnn):
        named[f"rnn.{index}.kernel"] = layer.cell.kernel
        named[f"rnn.{index}.recurrent_kernel"] = layer.cell.recurrent_kernel
        if layer.use_bias:
            named[f"rnn.{index}.bias"] = layer.cell.bias
    return named | {"logits.kernel": model.logits.kernel, "logits.bias": model.logits.bias}


def to_parameters(model: CharacterRNN, *, averages: Sequence[Any] | None = None) -> Parameters:
    """Return a copy of the weights for the NumPy engine.

    Args:
        model: The network.
        averages: Variables to copy instead of the weights, in the order of `model.trainable_variables`, or None.

    """
    weights = model.trainable_variables
    sources = {id(w): source for w, source in zip(weights, averages or weights, strict=True)}
    return parameters_from_tensors(
        {name: sources[id(variable)].numpy() for name, variable in named_weights(model).items()},
        activation=model.settings.rnn.activation,
        skip_connections=model.settings.skip_connections,
    )


def zero_state(model: CharacterRNN, batch: int) -> State:
    """Return the state before the first character: zeros, [batch, H] for each layer."""
    return tuple(tf.zeros((batch, layer.units)) for layer in model.rnn)


def named_seeds(model: CharacterRNN) -> dict[str, Any]:
    """Return the state of each random generator of a network by name: `model`, and `rnn.i` for layer i."""
    generators = {"model": model.seed}
    generators |= {f"rnn.{index}": layer.cell.seed_generator for index, layer in enumerate(model.rnn)}
    return {name: generator.state for name, generator in generators.items()}
