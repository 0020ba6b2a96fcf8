"""The shapes of the tensors, and the architecture of a config."""

from charlm.config.schema import Config
from charlm.network.architecture import Architecture, architecture


def test_tensors_have_the_names_and_shapes_of_the_format() -> None:
    assert Architecture(5, 2, 4, None, True, "tanh", False).shapes() == {
        "rnn.0.kernel": (5, 4),
        "rnn.0.recurrent_kernel": (4, 4),
        "rnn.0.bias": (4,),
        "rnn.1.kernel": (4, 4),
        "rnn.1.recurrent_kernel": (4, 4),
        "rnn.1.bias": (4,),
        "logits.kernel": (4, 5),
        "logits.bias": (5,),
    }


def test_embedding_and_skip_connections_widen_the_kernels_and_the_bias_can_be_left_out() -> None:
    assert Architecture(5, 2, 4, 3, False, "tanh", True).shapes() == {
        "embedding": (5, 3),
        "rnn.0.kernel": (3, 4),
        "rnn.0.recurrent_kernel": (4, 4),
        "rnn.1.kernel": (7, 4),
        "rnn.1.recurrent_kernel": (4, 4),
        "logits.kernel": (8, 5),
        "logits.bias": (5,),
    }


def test_architecture_is_that_of_the_config() -> None:
    rnn = {"use_bias": False, "activation": "relu"}
    model = {"layers": 2, "units": 8, "embedding": 3, "skip_connections": True, "rnn": rnn}
    expected = Architecture(7, 2, 8, embedding=3, use_bias=False, activation="relu", skip_connections=True)
    assert architecture(Config.model_validate({"model": model}), 7) == expected
