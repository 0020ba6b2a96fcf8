"""The parts of networks, compared with their tensors."""

import pytest
from models import random_parameters

from charlm.inspection.diagram import list_parts, symbol


@pytest.mark.parametrize("embedding", [None, 3])
@pytest.mark.parametrize("skip_connections", [False, True])
def test_the_weights_are_all_tensors_of_the_network(embedding: int | None, *, skip_connections: bool) -> None:
    parameters = random_parameters(layers=2, embedding=embedding, skip_connections=skip_connections)
    found = list_parts(parameters)
    shapes = {name: shape for part in found.parts for name, shape in part.weights.items()}
    assert shapes == {name: tensor.shape for name, tensor in parameters.tensors().items()}
    assert found.parameters == parameters.size
    first = ("embedding", 3) if embedding else ("one-hot", 5)
    assert [(part.name, part.outputs) for part in found.parts] == [first, ("rnn.0", 4), ("rnn.1", 4), ("logits", 5)]
    assert [symbol(name) for name in found.parts[1].weights] == ["U", "V", "b"]
