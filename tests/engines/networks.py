"""Small Keras networks for the tests of this folder.

Axes: B batch, T time, V vocabulary, H units.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.config.schema import Config, ModelConfig, RnnConfig
from charlm.core.rnn import Parameters
from charlm.engines.model import CharacterRNN, build_model, copied, named_weights

B, V = 3, 11

OPTIMIZERS = ["adam", "adamw", "muon", "sgd"]

_shared: dict[str, CharacterRNN] = {}


def config(
    *,
    seed: int = 1,
    activation: str = "tanh",
    use_bias: bool = True,
    rnn: dict[str, Any] | None = None,
    **model: Any,
) -> Config:
    """Return the Config of a small network whose biases are not zero."""
    orthogonal = {"class_name": "Orthogonal", "config": {"gain": 1.0}}
    arguments = {
        "kernel_initializer": orthogonal,
        "recurrent_initializer": orthogonal,
        "bias_initializer": "random_normal",
        "activation": activation,
        "use_bias": use_bias,
        **(rnn or {}),
    }
    plain = {"layers": 1, "units": 8, "input_initializer": None, "skip_connections": False}
    settings = {**plain, **model}
    return Config(seed=seed, model=ModelConfig(**settings, rnn=RnnConfig(**arguments)))


def build(**settings: Any) -> CharacterRNN:
    """Return a new network."""
    return build_model(config(**settings), V)


def shared(**settings: Any) -> CharacterRNN:
    """Return a network that is built only once; tests must not change it."""
    key = repr(sorted(settings.items()))
    if key not in _shared:
        _shared[key] = build(**settings)
    return _shared[key]


def parameters_of(model: CharacterRNN) -> Parameters:
    """Return a copy of the weights of a network."""
    return Parameters(model.architecture, copied(named_weights(model)))


def random_ids(*shape: int) -> NDArray[np.int32]:
    """Return ids 0 to V - 1 from a fixed seed."""
    return np.random.default_rng(0).integers(0, V, shape, dtype=np.int32)


def random_state(model: CharacterRNN) -> tuple[NDArray[np.float32], ...]:
    """Return a state for B streams from a fixed seed."""
    rng = np.random.default_rng(1)
    return tuple(rng.standard_normal((B, layer.units)).astype(np.float32) for layer in model.rnn)


def read(
    model: CharacterRNN,
    *,
    training: bool = False,
) -> NDArray[np.float32]:
    """Return the logits [B, T, V] for a small window."""
    return np.array(model(random_ids(B, 5), random_state(model), training=training)[0])


def layer_weights(model: CharacterRNN, name: str) -> list[NDArray[np.float32]]:
    """Return the weights of all layers that have this name in weights.safetensors."""
    return [
        weight.numpy()
        for key, weight in named_weights(model).items()
        if key.startswith("rnn.") and key.endswith(f".{name}")
    ]
