"""The network in Keras: `keras.layers.SimpleRNN` itself, as a config describes it, its weights by name, and its file.

A `.keras` file of stock layers loads in a Keras that knows nothing of charlm.

Axes: B batch, T time, V vocabulary, H units. Weights are float32; ids are int32.
"""

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from charlm.config.file import nest, parse_config
from charlm.config.schema import Config, ModelConfig
from charlm.errors import CharlmError
from charlm.network.architecture import ONE_HOT, Architecture, architecture
from charlm.network.model_file import TrainedModel
from charlm.network.rnn import Parameters
from charlm.storage import temporary_folder
from charlm.wording import short_repr

Tensor = Any
State = tuple[Tensor, ...]
"""The hidden state of each layer, float32 [B, H] for each layer, lowest first."""
_SEEDING = threading.Lock()


class Masks(NamedTuple):
    """The masks of dropout for a window: 0, or 1 / (1 - rate). None where nothing is dropped."""

    recurrent: Tensor | None
    """Of the state that each layer reads, [L, B, H]."""
    between: Tensor | None
    """Of what each layer but the first reads of the one below, [L - 1, B, H]."""
    output: Tensor | None
    """Of what the logits read, [T, B, features]."""


class CharacterRNN(keras.Model):
    """A stack of SimpleRNN layers between characters, one-hot or embedded, and logits.

        h_t = f(x_t U + h_{t-1} V + b) in each layer,  logits_t = h_t W + c

    `charlm.network.rnn` has the same equations in NumPy. The state is an argument and a result.

    Args:
        config: The settings of the network.
        shape: Its tensors.
        precision: float32; or bfloat16, which is Keras's policy `mixed_bfloat16`: the weights are float32, all that is
            computed from them is bfloat16.

    Raises:
        CharlmError: Keras does not have, or cannot use, an initializer, regularizer or constraint; the message names
            the key.

    """

    def __init__(
        self, config: ModelConfig, shape: Architecture, *, precision: str = "float32"
    ) -> None:
        policy = "mixed_bfloat16" if precision == "bfloat16" else precision
        super().__init__(name="character_rnn", dtype=policy)
        self.settings, self.architecture, self.precision = config, shape, precision
        self.embedding = None
        if embedding := shape.shapes().get("embedding"):
            drawn = _look_up(config, "input_initializer", embedding) or "uniform"
            self.embedding = keras.layers.Embedding(
                *embedding, embeddings_initializer=drawn, dtype=policy
            )
            self.embedding.build(None)
        self.rnn = [_build_layer(config, shape, index, policy) for index in range(config.layers)]
        dropped = range(1, config.layers) if config.layer_dropout else ()
        # One mask for all steps of a window is what Keras calls spatial.
        self.between = [
            keras.layers.SpatialDropout1D(config.layer_dropout, name=f"below_{index}")
            for index in dropped
        ]
        self.output_dropout = (
            keras.layers.Dropout(config.output_dropout) if config.output_dropout else None
        )
        # As of 3.15, Keras accepts this argument for a SimpleRNN but, unlike for a GRU or LSTM, does not store it.
        penalty = _look_up(config, "activity_regularizer", (1, 1, config.units))
        self.penalized = (
            None if penalty is None else keras.layers.Identity(activity_regularizer=penalty)
        )
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
            training: Whether to drop what the settings say; the penalty on outputs is then among `losses`.

        Returns:
            The logits, [B, T, V], and the state after the last character.

        """
        shared = self.embedding
        x = (
            keras.ops.one_hot(ids, self.logits.units, dtype=self.compute_dtype)
            if shared is None
            else shared(ids)
        )
        tensors = self.architecture.tensors
        outputs: dict[str, Tensor] = {}
        last: list[Tensor] = []
        sources = {self.architecture.input: x}
        for index, (layer, state) in enumerate(zip(self.rnn, states, strict=True)):
            read = [sources[part] for part in tensors[f"rnn.{index}.kernel"].reads]
            output, state_after = layer(_concatenated(read), initial_state=state, training=training)
            last.append(state_after)
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

    def draw_masks(self, time: int, batch: int) -> Masks:
        """Return the masks that the next call in training would use; `model.rnn.dropout` must be 0."""
        units, rate = self.settings.units, self.settings.rnn.recurrent_dropout
        seeds = [layer.cell.seed_generator for layer in self.rnn] if rate else []
        recurrent = [
            keras.random.dropout(tf.ones((batch, units)), rate, seed=seed) for seed in seeds
        ]
        between = [layer(tf.ones((batch, 1, units)), training=True)[:, 0] for layer in self.between]
        output = None
        if self.output_dropout is not None:
            ones = tf.ones((batch, time, self.logits.kernel.shape[0]))
            output = tf.transpose(self.output_dropout(ones, training=True), [1, 0, 2])
        return Masks(
            tf.stack(recurrent) if recurrent else None,
            tf.stack(between) if between else None,
            output,
        )


def _concatenated(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else keras.ops.concatenate(tensors, -1)


def build_model(
    config: Config, vocabulary_size: int, *, precision: str = "float32"
) -> CharacterRNN:
    """Return the network that a config describes, with weights drawn from its seed; the rest is as in `CharacterRNN`.

    Keras takes its seeds from the module `random`, whose numbers for the rest of the program stay as they were.
    """
    with (
        _SEEDING
    ):  # one network at a time: those that several threads build have the weights of their seeds
        before = random.getstate()
        random.seed(config.seed)
        try:
            return CharacterRNN(
                config.model, architecture(config, vocabulary_size), precision=precision
            )
        finally:
            random.setstate(before)


def _build_layer(
    config: ModelConfig, shape: Architecture, index: int, policy: str
) -> keras.layers.SimpleRNN:
    """Return a layer of the stack, 0 is the lowest, with drawn weights."""
    spec = shape.tensors[f"rnn.{index}.kernel"]
    inputs, units = spec.shape
    characters = spec.reads.get(ONE_HOT, 0)
    below = inputs - characters
    has_two_blocks = characters > 0 and config.input_initializer is not None
    rows = (below or characters) if has_two_blocks else inputs
    shapes = {"kernel": (rows, units), "recurrent": (units, units), "bias": (units,)}
    arguments = config.rnn.model_dump(exclude={"activity_regularizer"})
    for key in arguments:
        part, _, kind = key.rpartition("_")
        if kind in _KINDS:
            arguments[key] = _look_up(config, key, shapes[part])
    if has_two_blocks:
        first = (
            arguments["kernel_initializer"] or keras.initializers.GlorotUniform()
        )  # Keras's own default
        others = _look_up(config, "input_initializer", (characters, units))
        arguments["kernel_initializer"] = _TwoBlocks(below, first, others)
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


class _TwoBlocks(keras.initializers.Initializer):
    """Draws the first rows of a matrix with one initializer and the others with another."""

    def __init__(
        self,
        rows: int,
        first: keras.initializers.Initializer,
        others: keras.initializers.Initializer,
    ) -> None:
        self.rows, self.first, self.others = rows, first, others

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> Tensor:
        rows, columns = shape
        others = self.others((rows - self.rows, columns), dtype)
        return (
            tf.concat([self.first((self.rows, columns), dtype), others], 0) if self.rows else others
        )


_KINDS: dict[str, Callable[[Any], Any]] = {
    "initializer": keras.initializers.get,
    "regularizer": keras.regularizers.get,
    "constraint": keras.constraints.get,
}
"""How Keras looks up each kind of object."""


def _look_up(config: ModelConfig, key: str, shape: tuple[int, ...]) -> Any:
    """Return the object that a setting names, after trying it for a tensor of a shape."""
    kind, is_own = key.rpartition("_")[2], key == "input_initializer"
    value = getattr(config if is_own else config.rnn, key)
    try:
        found = _KINDS[kind](value)
        if found is not None:
            _try(kind, found, shape)
    except Exception as error:  # Keras and TensorFlow raise many types for a wrong value
        problem = (str(error).strip() or type(error).__name__).splitlines()[0]
        name = f"model.{key}" if is_own else f"model.rnn.{key}"
        raise CharlmError(f"{name}: found {short_repr(value)}; Keras says: {problem}") from None
    return found


def _try(kind: str, found: Callable[[Any], Any], shape: tuple[int, ...]) -> None:
    """Call an initializer, regularizer or constraint as for a tensor of a shape; refuse a result of another shape."""

    def call(shape: tuple[int, ...]) -> Any:
        return found(shape) if kind == "initializer" else found(tf.ones(shape))

    call(
        (1,) * len(shape)
    )  # shows which values cannot be computed with; lists of numbers are broadcast
    # A trace shows whether shapes agree. It computes nothing, so that a large tensor takes no memory.
    result = tf.function(call, autograph=False).get_concrete_function(shape).output_shapes
    expected = () if kind == "regularizer" else shape
    if result != expected:
        raise ValueError(f"its result has shape {result}; must be {expected}")


def named_weights(model: CharacterRNN) -> dict[str, Any]:
    """Return the trained Keras variables, which Keras lists in the declared order, by their names in a model file."""
    return dict(zip(model.architecture.tensors, model.trainable_variables, strict=True))


def to_parameters(model: CharacterRNN, variables: Mapping[str, Any] | None = None) -> Parameters:
    """Return a copy of the weights for the NumPy engine.

    Args:
        model: The network.
        variables: Variables to copy instead of the weights, by their names in a model file, perhaps with others; or
            None.

    """
    weights = named_weights(model)
    return Parameters(
        model.architecture, {name: (variables or weights)[name].numpy() for name in weights}
    )


def zero_state(model: CharacterRNN, batch: int) -> State:
    """Return the state before the first character: zeros, [batch, H] for each layer."""
    return tuple(tf.zeros((batch, layer.units)) for layer in model.rnn)


def named_seeds(model: CharacterRNN) -> dict[str, Any]:
    """Return the state of each random generator of a network by the name of its layer, for instance `rnn.0`."""
    generators = {
        f"rnn.{index}": layer.cell.seed_generator for index, layer in enumerate(model.rnn)
    }
    generators |= {
        f"below.{index}": layer.seed_generator for index, layer in enumerate(model.between, start=1)
    }
    if model.output_dropout is not None:
        generators["logits"] = model.output_dropout.seed_generator
    return {name: generator.state for name, generator in generators.items()}


def build_stock_model(trained: TrainedModel) -> keras.Model:
    """Return the network as a functional model of stock layers, with the weights of the trained model.

    Its inputs are `ids`, integers [B, T], and `state_0`, `state_1`, ..., float32 [B, H] for each layer; its outputs are
    the logits, float32 [B, T, V], and the states after the last id. The layers are called `embedding`, `rnn_0`,
    `rnn_1`, ..., `logits`; without an embedding, `keras.ops.one_hot` takes its place.
    """
    shape = trained.architecture
    settings = {**shape.settings(), "model.rnn.unroll": False}
    network = build_model(
        parse_config(nest(settings.items()), origin="model"), shape.vocabulary_size
    )
    tensors = trained.parameters.tensors
    for name, weight in named_weights(network).items():
        weight.assign(tensors[name])
    ids = keras.Input((None,), dtype="int32", name="ids")
    states = [keras.Input((shape.units,), name=f"state_{index}") for index in range(shape.layers)]
    logits, last = network.call(ids, states)
    return keras.Model([ids, *states], [logits, *last], name="character_rnn")


def write_keras_file(trained: TrainedModel) -> bytes:
    """Return the contents of a `.keras` file of the network; `build_stock_model` describes it."""
    model = build_stock_model(trained)
    with temporary_folder() as folder:  # Keras writes to a path alone
        path = folder / "model.keras"
        model.save(path)
        return path.read_bytes()
