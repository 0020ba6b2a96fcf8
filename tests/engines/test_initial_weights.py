"""The initial weights of a seed, which must not change: every recorded loss depends on them."""

from typing import Any

import numpy as np
import pytest

from charlm.config.schema import Config, ModelConfig
from charlm.engines.model import build_model, named_weights

DEFAULT = {
    "rnn.0.kernel": [-0.3935516, 0.5918733, -0.3932509],
    "rnn.0.recurrent_kernel": [0.3352581, -0.3263177, -0.2113222],
    "rnn.0.bias": [0.0, 0.0, 0.0],
    "rnn.1.kernel": [-0.0229501, -0.8537778, 0.5048714],
    "rnn.1.recurrent_kernel": [0.6461031, -0.1396795, -0.3884252],
    "rnn.1.bias": [0.0, 0.0, 0.0],
    "logits.kernel": [0.1987971, -0.1121453, -0.3998817],
    "logits.bias": [0.0, 0.0, 0.0],
}
UNIFORM_INPUT = {
    **DEFAULT,
    "rnn.0.kernel": [0.0002444, -0.0104502, -0.0177997],
    "rnn.1.kernel": [-0.5432805, -0.5971314, 0.2055185],
    "rnn.1.recurrent_kernel": [-0.2654316, 0.8418207, -0.0486726],
    "logits.kernel": [-0.7475859, 0.0118605, -0.7323354],
}
EMBEDDING = {
    **UNIFORM_INPUT,
    "embedding": [-0.0241000, 0.0362447, 0.0029027],
    "rnn.0.kernel": [0.1689824, -0.1808558, 0.6373014],
    "rnn.0.recurrent_kernel": [0.4397185, -0.4356184, 0.8361270],
}
PLAIN: dict[str, Any] = {
    "layers": 2,
    "units": 4,
    "input_initializer": None,
    "skip_connections": False,
}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        pytest.param(ModelConfig(**PLAIN), DEFAULT, id="default"),
        pytest.param(ModelConfig(**PLAIN, embedding=3), EMBEDDING, id="embedding"),
    ],
)
def test_a_seed_draws_the_same_initial_weights_in_every_version(
    model: ModelConfig, expected: dict[str, list[float]]
) -> None:
    weights = named_weights(build_model(Config(seed=1, model=model), 5))
    arrays = {name: np.ravel(weight.numpy()) for name, weight in weights.items()}
    some_values = {name: values[[0, 1, -1]].tolist() for name, values in arrays.items()}
    assert some_values.keys() == expected.keys()
    for name, values in expected.items():
        assert some_values[name] == pytest.approx(values, abs=1e-6), name
