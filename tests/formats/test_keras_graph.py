"""Which graphs of Keras layers are networks of charlm, and which are refused by the name of a layer."""

from typing import Any

import pytest
from formats.archives import PLAIN, SKIPPING, dense, functional, layer, rnn, sequential

from charlm.formats.keras_graph import LayerRecord, Stack, UnsupportedLayerError, read_stack

INPUT = layer("InputLayer", "ids")


def test_a_sequential_stack_is_read() -> None:
    assert read_stack(PLAIN) == Stack(
        embedding="embedding",
        rnn=(LayerRecord("simple_rnn", True), LayerRecord("simple_rnn_1", True)),
        logits=LayerRecord("dense", True),
        activation="tanh",
        skip_connections=False,
    )


def test_skip_connections_are_found_by_what_the_layers_read() -> None:
    found = read_stack(SKIPPING)
    assert (found.skip_connections, found.embedding, len(found.rnn)) == (True, None, 2)


def test_layers_that_do_nothing_after_training_are_passed_over() -> None:
    softmax = layer("Activation", "softmax", activation="softmax")
    found = read_stack(
        sequential(INPUT, layer("Dropout", "a"), rnn("r"), layer("GaussianNoise", "b"), dense("logits"), softmax)
    )
    assert len(found.rnn) == 1


def test_an_activation_may_be_an_object() -> None:
    activation = {"class_name": "function", "config": "relu"}
    found = read_stack(sequential(INPUT, rnn("r", activation=activation), dense("logits", activation="softmax")))
    assert found.activation == "relu"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (sequential(INPUT, layer("LSTM", "deep"), dense("logits")), r"layer 'deep': found LSTM; charlm has SimpleRNN"),
        (sequential(INPUT, rnn("r")), r"1 SimpleRNN and 0 Dense layers"),
        (sequential(INPUT, rnn("r"), dense("a"), dense("b")), r"1 SimpleRNN and 2 Dense layers"),
        (sequential(INPUT, dense("logits")), r"0 SimpleRNN and 1 Dense layers"),
        (sequential(INPUT, rnn("r", go_backwards=True), dense("d")), r"layer 'r': go_backwards is True; must be False"),
        (sequential(INPUT, rnn("r", activation="gelu"), dense("d")), r"layer 'r': activations 'gelu'; must be one"),
        (sequential(INPUT, rnn("r"), rnn("s", activation="relu"), dense("d")), r"activations .*; must be one"),
        (sequential(INPUT, rnn("r"), dense("d", activation="relu")), r"layer 'd': activation is 'relu'"),
        (
            sequential(INPUT, layer("Embedding", "e", mask_zero=True), rnn("r"), dense("d")),
            r"layer 'e': mask_zero is True; must be False",
        ),
        (sequential(INPUT, rnn("r", use_bias="no"), dense("d")), r"layer 'r': use_bias is 'no'"),
        (sequential(INPUT, layer("CategoryEncoding", "c", output_mode="multi_hot"), rnn("r"), dense("d")), "multi_hot"),
        (sequential(INPUT, rnn("r"), layer("Embedding", "e"), rnn("s"), dense("d")), r"'s': reads \('e',\)"),
        (sequential(INPUT, layer("Softmax", "e"), rnn("s"), dense("d")), r"'s': reads \('e',\); must be the input"),
        ({"class_name": "Subclass", "config": {}}, r"a model of class 'Subclass'"),
        (sequential(*[INPUT] * 1000), r"1000 layers; must be 640 at most"),
    ],
)
def test_other_stacks_are_refused_by_name(config: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedLayerError, match=message):
        read_stack(config)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            [rnn("a", ["ids"]), rnn("b", ["a"]), layer("Concatenate", "c", ["a", "b"], axis=-1)],
            r"'logits': with skip connections, all layers must have them",
        ),
        ([rnn("a", ["ids"]), rnn("b", ["ids"]), layer("Concatenate", "c", ["a", "b"], axis=-1)], r"'b': reads \('ids'"),
        ([rnn("a", ["ids"]), layer("Concatenate", "c", ["a", "ids"], axis=-1)], r"'logits': reads \('a', 'ids'\)"),
        ([rnn("a", ["ids"]), layer("Concatenate", "c", ["a", "a"], axis=1)], r"'c': axis is 1"),
        ([rnn("a", ["ids", "ids"]), layer("Dropout", "c", ["a"])], r"'a': reads \('ids', 'ids'\)"),
        ([rnn("a", []), layer("Dropout", "c", ["a"])], r"'a': reads \(\)"),
        (
            [
                layer("InputLayer", "other"),
                rnn("a", ["ids"]),
                layer("Concatenate", "d", ["a", "other"], axis=-1),
                rnn("b", ["d"]),
                layer("Concatenate", "c", ["a", "b"], axis=-1),
            ],
            r"layer 'b': reads \('a', 'other'\)",
        ),
    ],
)
def test_layers_that_are_connected_in_another_way_are_refused(layers: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(UnsupportedLayerError, match=message):
        read_stack(functional(INPUT, *layers, dense("logits", ["c"])))


def test_the_order_of_a_concatenation_counts() -> None:
    config = functional(
        INPUT,
        rnn("a", ["ids"]),
        layer("Concatenate", "b", ["ids", "a"], axis=-1),
        rnn("c", ["b"]),
        dense("logits", ["c"]),
    )
    with pytest.raises(UnsupportedLayerError, match=r"layer 'c': reads \('ids', 'a'\)"):
        read_stack(config)


def test_a_shared_layer_is_refused() -> None:
    shared = rnn("a", ["ids"])
    shared["inbound_nodes"] *= 2
    with pytest.raises(UnsupportedLayerError, match="layer 'a': is used more than once"):
        read_stack(functional(INPUT, shared, dense("logits", ["a"])))


def test_the_state_of_a_layer_is_not_its_output() -> None:
    top = dense("logits", ["a"])
    top["inbound_nodes"][0]["args"][0]["config"]["keras_history"] = ["a", 0, 1]
    with pytest.raises(UnsupportedLayerError, match="layer 'logits': reads a state"):
        read_stack(functional(INPUT, rnn("a", ["ids"]), top))
