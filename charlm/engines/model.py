"""The network in Keras, made of `keras.layers.SimpleRNN`; its weights by name, and its .keras file.

A `.keras` file contains only layers of Keras, so it can be loaded without charlm.

Axes: B batch, T time, V vocabulary, H units. Weights are float32; ids are int32.
"""

import contextlib
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from charlm.config.file import nest, parse_config
from charlm.config.schema import Config, ModelConfig
from charlm.core.architecture import ONE_HOT, Architecture, architecture
from charlm.core.model_file import Tensors, TrainedModel
from charlm.errors import CharlmError
from charlm.storage import temporary_folder

Tensor = Any
State = tuple[Tensor, ...]
"""The hidden state of each layer, float32 [B, H] for each layer, lowest first."""
_SEEDING = threading.Lock()
LOST = (
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
)
"""Errors of an all-reduce if another worker has ended, or has not answered for ten seconds."""


class CharacterRNN(keras.Model):
    """A stack of SimpleRNN layers between characters, one-hot or embedded, and logits.

        h_t = f(x_t U + h_{t-1} V + b) in each layer,  logits_t = h_t W + c

    `charlm.core.rnn` has the same equations in NumPy. The state is an argument and a result.

    Args:
        config: The settings of the network.
        shape: The shapes of its tensors.
        precision: float32, or bfloat16, which is Keras's policy `mixed_bfloat16`: float32 weights,
            and bfloat16 for everything that is computed from them.

    """

    def __init__(
        self, config: ModelConfig, shape: Architecture, *, precision: str = "float32"
    ) -> None:
        policy = "mixed_bfloat16" if precision == "bfloat16" else precision
        super().__init__(name="character_rnn", dtype=policy)
        self.architecture = shape
        self.embedding = None
        if shape.embedding:
            sizes = shape.tensors["embedding"].shape
            self.embedding = keras.layers.Embedding(
                *sizes,
                embeddings_initializer=config.input_initializer or "uniform",
                name="embedding",  # Keras would number the embeddings of a program
                dtype=policy,
            )
            self.embedding.build(None)
        self.rnn = [_build_layer(config, shape, index, policy) for index in range(config.layers)]
        # Keras's spatial dropout has one mask for all steps of a window.
        dropped = range(1, config.layers) if config.layer_dropout else ()
        self.between = [
            keras.layers.SpatialDropout1D(config.layer_dropout, name=f"below_{index}")
            for index in dropped
        ]
        self.output_dropout = None
        if config.output_dropout:
            self.output_dropout = keras.layers.Dropout(config.output_dropout)
        # As of 3.15, Keras accepts this argument for a SimpleRNN but, unlike for a GRU or LSTM,
        # does not store it.
        penalty = config.rnn.activity_regularizer
        self.penalized = None
        if penalty is not None:
            self.penalized = keras.layers.Identity(activity_regularizer=penalty)
        features, vocabulary_size = shape.tensors["logits.kernel"].shape
        self.logits = keras.layers.Dense(vocabulary_size, name="logits", dtype=policy)
        self.logits.build((None, features))
        self.built = True

    def call(
        self, ids: Tensor, states: Sequence[Tensor], training: bool = False
    ) -> tuple[Tensor, State]:
        """Read a window.

        Args:
            ids: Characters, [B, T], 0 to V - 1.
            states: The state before the first character, [B, H] for each layer.
            training: Whether to apply dropout; `losses` then has the penalty on outputs.

        Returns:
            The logits, [B, T, V], and the state after the last character.

        """
        if self.embedding is None:
            x = keras.ops.one_hot(ids, self.logits.units, dtype=self.compute_dtype)
        else:
            x = self.embedding(ids)
        tensors = self.architecture.tensors
        outputs: dict[str, Tensor] = {}
        last: list[Tensor] = []
        sources = {self.architecture.input: x}
        for index, (layer, state) in enumerate(zip(self.rnn, states, strict=True)):
            inputs = [sources[part] for part in tensors[f"rnn.{index}.kernel"].reads]
            output, last_state = layer(
                _concatenated(inputs), initial_state=state, training=training
            )
            last.append(last_state)
            if self.penalized is not None:
                output = self.penalized(output)
            outputs[f"rnn.{index}"] = output
            if index < len(self.between):
                output = self.between[index](output, training=training)
            sources[f"rnn.{index}"] = output
        features = _concatenated([outputs[part] for part in tensors["logits.kernel"].reads])
        if self.output_dropout is not None:
            features = self.output_dropout(features, training=training)
        return self.logits(features), tuple(last)


def _concatenated(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else keras.ops.concatenate(tensors, -1)


def build_model(
    config: Config, vocabulary_size: int, *, precision: str = "float32"
) -> CharacterRNN:
    """Return the network of a config, with weights drawn from its seed; see `CharacterRNN`.

    Keras takes its seeds from the module `random`, whose state is restored for the rest of the
    program.

    Raises:
        CharlmError: Keras does not have, or cannot use, an initializer, regularizer or constraint.

    """
    shape = architecture(config, vocabulary_size)
    with _SEEDING, keras_errors():  # threads must not share their random numbers
        before = random.getstate()
        random.seed(config.seed)
        try:
            return CharacterRNN(config.model, shape, precision=precision)
        finally:
            random.setstate(before)


@contextlib.contextmanager
def keras_errors() -> Iterator[None]:
    """Turn an error of Keras in a block into a CharlmError; a lost worker is another error."""
    try:
        yield
    except LOST:
        raise
    except Exception as error:  # Keras and TensorFlow raise many types for a wrong value
        problem = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CharlmError(f"model: Keras says: {problem}") from None


def _build_layer(
    config: ModelConfig, shape: Architecture, index: int, policy: str
) -> keras.layers.SimpleRNN:
    """Return a layer of the stack with random weights; 0 is the lowest layer."""
    spec = shape.tensors[f"rnn.{index}.kernel"]
    inputs, units = spec.shape
    arguments = config.rnn.model_dump(exclude={"activity_regularizer"})
    for key, value in arguments.items():
        if key.endswith("_initializer"):
            arguments[key] = keras.initializers.get(value)
    characters = spec.reads.get(ONE_HOT, 0)
    if characters and config.input_initializer is not None:
        upper = arguments["kernel_initializer"] or keras.initializers.GlorotUniform()  # as in Keras
        lower = keras.initializers.get(config.input_initializer)
        arguments["kernel_initializer"] = partial(_two_blocks, inputs - characters, upper, lower)
    layer = keras.layers.SimpleRNN(
        units,
        return_sequences=True,
        return_state=True,
        name=f"rnn_{index}",
        dtype=policy,
        **arguments,
    )
    layer.build((None, None, inputs))
    return layer


def _two_blocks(
    below: int,
    upper: Callable[..., Tensor],
    lower: Callable[..., Tensor],
    shape: tuple[int, int],
    dtype: Any = None,
) -> Tensor:
    """Draw a matrix with two initializers: the upper one draws the first `below` rows."""
    rows, columns = shape
    block = lower((rows - below, columns), dtype)
    return tf.concat([upper((below, columns), dtype), block], 0) if below else block


def named_weights(model: CharacterRNN) -> dict[str, Any]:
    """Return the trained Keras variables by their names in a model file.

    Keras and the architecture list the weights in the same order.
    """
    return dict(zip(model.architecture.tensors, model.trainable_variables, strict=True))


def copied(variables: Mapping[str, Any]) -> Tensors:
    """Return copies of arrays, or of the values of Keras variables, by the same names."""
    to_numpy = keras.ops.convert_to_numpy
    return {name: np.array(to_numpy(variable)) for name, variable in variables.items()}


def named_seeds(model: CharacterRNN) -> dict[str, Any]:
    """Return the state of each random generator by the name of its layer, for instance `rnn.0`."""
    generators = {
        f"rnn.{index}": layer.cell.seed_generator for index, layer in enumerate(model.rnn)
    }
    generators |= {
        f"below.{index}": layer.seed_generator for index, layer in enumerate(model.between, start=1)
    }
    if model.output_dropout is not None:
        generators["logits"] = model.output_dropout.seed_generator
    return {name: generator.state for name, generator in generators.items()}


def shift_seeds(model: CharacterRNN, change: int) -> None:
    """Change the seeds of a network, so that every worker draws different masks."""
    if change:
        for seed in named_seeds(model).values():
            seed.assign_add(tf.cast(tf.constant([change, 0]), seed.dtype))


def build_stock_model(trained: TrainedModel) -> keras.Model:
    """Return the network as a functional model of Keras layers, with the trained weights.

    Inputs: `ids`, integers [B, T], and `state_0`, `state_1`, ..., float32 [B, H] for each layer.
    Outputs: the logits, float32 [B, T, V], and the states after the last id. The layers are called
    `embedding` (or `keras.ops.one_hot` is used), `rnn_0`, `rnn_1`, ..., `logits`.
    """
    shape = trained.architecture
    # Keras cannot save an initializer of two blocks; the weights are replaced anyway.
    settings = {**shape.settings(), "model.input_initializer": None}
    config = parse_config(nest(settings.items()), origin="model")
    network = build_model(config, shape.vocabulary_size)
    for name, weight in named_weights(network).items():
        weight.assign(trained.parameters.tensors[name])
    ids = keras.Input((None,), dtype="int32", name="ids")
    states = [keras.Input((shape.units,), name=f"state_{index}") for index in range(shape.layers)]
    logits, last = network.call(ids, states)
    return keras.Model([ids, *states], [logits, *last], name="character_rnn")


def write_keras_file(trained: TrainedModel) -> bytes:
    """Return the contents of a `.keras` file of the network; see `build_stock_model`."""
    model = build_stock_model(trained)
    with temporary_folder() as folder:  # Keras writes only to a path
        path = folder / "model.keras"
        model.save(path)
        return path.read_bytes()
