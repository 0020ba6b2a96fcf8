"""The tensors of a network: their names, shapes and parts."""

from typing import Any

import pytest
from models import random_parameters

from charlm.config.schema import Config
from charlm.core.architecture import Architecture, architecture

PLAIN = {"layers": 2, "units": 4, "skip_connections": False}
COMPLEX = {
    **PLAIN,
    "embedding": 3,
    "skip_connections": True,
    "rnn": {"use_bias": False, "activation": "relu"},
}


def described_by(model: dict[str, Any]) -> Architecture:
    """Return the architecture of a config for 5 characters."""
    return architecture(Config.model_validate({"model": model}), 5)


def test_a_complex_network_has_the_tensors_of_the_format() -> None:
    assert described_by(COMPLEX).shapes() == {
        "embedding": (5, 3),
        "rnn.0.kernel": (3, 4),
        "rnn.0.recurrent_kernel": (4, 4),
        "rnn.1.kernel": (7, 4),
        "rnn.1.recurrent_kernel": (4, 4),
        "logits.kernel": (8, 5),
        "logits.bias": (5,),
    }


@pytest.fixture
def skipping() -> Architecture:
    """Return a network with an embedding and skip connections."""
    return random_parameters(layers=2, embedding=3, skip_connections=True).architecture


def test_a_kernel_names_the_inputs_of_its_rows(skipping: Architecture) -> None:
    tensors = skipping.tensors
    assert {name: list(tensor.reads.items()) for name, tensor in tensors.items()} == {
        "embedding": [("one-hot", 5)],
        "rnn.0.kernel": [("embedding", 3)],
        "rnn.0.recurrent_kernel": [("rnn.0", 4)],
        "rnn.0.bias": [],
        "rnn.1.kernel": [("rnn.0", 4), ("embedding", 3)],
        "rnn.1.recurrent_kernel": [("rnn.1", 4)],
        "rnn.1.bias": [],
        "logits.kernel": [("rnn.0", 4), ("rnn.1", 4)],
        "logits.bias": [],
    }
