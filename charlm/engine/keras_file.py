"""The network as a `.keras` file of stock layers, which loads in a Keras that knows nothing of charlm.

Axes: B batch, T time, V vocabulary, H units.
"""

import keras

from charlm.network.model_file import TrainedModel
from charlm.network.rnn import Floats, Parameters
from charlm.storage.files import temporary_folder

NAME = "model.keras"


def build_stock_model(trained: TrainedModel) -> keras.Model:
    """Return the network as a functional model of stock layers, with the weights of the trained model.

    Its inputs are `ids`, integers [B, T], and `state_0`, `state_1`, ..., float32 [B, H] for each layer; its outputs are
    the logits, float32 [B, T, V], and the states after the last id. The layers are called `embedding`, `rnn_0`,
    `rnn_1`, ..., `logits`; without an embedding, `keras.ops.one_hot` takes its place.
    """
    shape, parameters = trained.architecture, trained.parameters
    ids = keras.Input((None,), dtype="int32", name="ids")
    states = [keras.Input((shape.units,), name=f"state_{index}") for index in range(shape.layers)]
    if shape.embedding is None:
        x = keras.ops.one_hot(ids, shape.vocabulary_size)
    else:
        x = keras.layers.Embedding(shape.vocabulary_size, shape.embedding, name="embedding")(ids)
    outputs: list[keras.KerasTensor] = []
    last: list[keras.KerasTensor] = []
    for index, state in enumerate(states):
        below = outputs[-1:]
        read = [*below, x] if shape.skip_connections or not below else below
        rnn = keras.layers.SimpleRNN(
            shape.units,
            activation=shape.activation,
            use_bias=shape.use_bias,
            return_sequences=True,
            return_state=True,
            name=f"rnn_{index}",
        )
        output, state_after = rnn(_concatenated(read, f"inputs_{index}"), initial_state=state)
        outputs.append(output)
        last.append(state_after)
    features = _concatenated(outputs if shape.skip_connections else outputs[-1:], "features")
    logits = keras.layers.Dense(shape.vocabulary_size, name="logits")(features)
    model = keras.Model([ids, *states], [logits, *last], name="character_rnn")
    _set_weights(model, parameters)
    return model


def write_keras_file(trained: TrainedModel) -> bytes:
    """Return the contents of a `.keras` file of the network; `build_stock_model` describes it."""
    model = build_stock_model(trained)
    with temporary_folder() as folder:  # Keras writes to a path alone
        path = folder / NAME
        model.save(path)
        return path.read_bytes()


def _concatenated(tensors: list[keras.KerasTensor], name: str) -> keras.KerasTensor:
    return tensors[0] if len(tensors) == 1 else keras.layers.Concatenate(name=name)(tensors)


def _set_weights(model: keras.Model, parameters: Parameters) -> None:
    if parameters.embedding is not None:
        model.get_layer("embedding").set_weights([parameters.embedding])
    for index, layer in enumerate(parameters.layers):
        weights: list[Floats] = [layer.kernel, layer.recurrent_kernel]
        model.get_layer(f"rnn_{index}").set_weights(weights if layer.bias is None else [*weights, layer.bias])
    model.get_layer("logits").set_weights([parameters.logits_kernel, parameters.logits_bias])
