"""The network as a `.keras` file of stock layers, which loads in a Keras that knows nothing of charlm.

Axes: B batch, T time, V vocabulary, H units.
"""

import keras

from charlm.config.file import nest, parse_config
from charlm.engine.model import build_model, named_weights
from charlm.network.model_file import TrainedModel
from charlm.storage.files import temporary_folder

NAME = "model.keras"


def build_stock_model(trained: TrainedModel) -> keras.Model:
    """Return the network as a functional model of stock layers, with the weights of the trained model.

    Its inputs are `ids`, integers [B, T], and `state_0`, `state_1`, ..., float32 [B, H] for each layer; its outputs are
    the logits, float32 [B, T, V], and the states after the last id. The layers are called `embedding`, `rnn_0`,
    `rnn_1`, ..., `logits`; without an embedding, `keras.ops.one_hot` takes its place.
    """
    shape = trained.architecture
    settings = {**shape.settings(), "model.rnn.unroll": False}
    network = build_model(parse_config(nest(settings.items()), origin="model"), shape.vocabulary_size)
    tensors = trained.parameters.tensors()
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
        path = folder / NAME
        model.save(path)
        return path.read_bytes()
