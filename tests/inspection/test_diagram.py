"""The parts of networks, compared with their tensors."""

from collections.abc import Callable

import pytest

from charlm.inspection.diagram import draw_up
from charlm.network.rnn import Parameters

RandomParameters = Callable[..., Parameters]


def test_a_network_of_one_layer_has_three_parts(random_parameters: RandomParameters) -> None:
    one_hot, layer, logits = draw_up(random_parameters()).parts
    assert (one_hot.name, one_hot.outputs, one_hot.reads, one_hot.parameters) == ("one-hot", 5, (), 0)
    assert (layer.name, layer.inputs, layer.outputs, layer.reads) == ("rnn.0", 5, 4, ("one-hot",))
    assert layer.equation == "h_t = tanh(x_t U + h_{t-1} V + b)"
    assert [(weight.symbol, weight.shape) for weight in layer.weights] == [("U", (5, 4)), ("V", (4, 4)), ("b", (4,))]
    assert (logits.inputs, logits.outputs, logits.reads) == (4, 5, ("rnn.0",))
    assert logits.equation == "logits_t = h_t W + c"


def test_skip_connections_join_the_input_to_each_layer_and_each_layer_to_the_logits(
    random_parameters: RandomParameters,
) -> None:
    found = draw_up(random_parameters(layers=3, embedding=2, skip_connections=True, use_bias=False, activation="relu"))
    reads = {part.name: part.reads for part in found.parts}
    assert reads == {
        "embedding": (),
        "rnn.0": ("embedding",),
        "rnn.1": ("rnn.0", "embedding"),
        "rnn.2": ("rnn.1", "embedding"),
        "logits": ("rnn.0", "rnn.1", "rnn.2"),
    }
    widths = {part.name: part.outputs for part in found.parts}
    for part in found.parts[1:]:
        assert part.inputs == sum(widths[name] for name in part.reads)
    assert found.parts[2].equation == "h_t = relu([h_t below, x_t] U + h_{t-1} V)"


@pytest.mark.parametrize("embedding", [None, 3])
@pytest.mark.parametrize("skip_connections", [False, True])
def test_the_weights_are_all_tensors_of_the_network(
    random_parameters: RandomParameters, embedding: int | None, skip_connections: bool
) -> None:
    parameters = random_parameters(layers=2, embedding=embedding, skip_connections=skip_connections)
    found = draw_up(parameters)
    shapes = {weight.name: weight.shape for part in found.parts for weight in part.weights}
    assert shapes == {name: tensor.shape for name, tensor in parameters.tensors().items()}
    assert found.parameters == parameters.size
