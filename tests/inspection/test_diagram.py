"""The parts of networks, compared with their tensors."""

from dataclasses import replace

import pytest
from conftest import RandomParameters

from charlm.inspection.diagram import list_parts, symbol


@pytest.mark.parametrize("embedding", [None, 3])
@pytest.mark.parametrize("skip_connections", [False, True])
def test_the_weights_are_all_tensors_of_the_network(
    random_parameters: RandomParameters, embedding: int | None, *, skip_connections: bool
) -> None:
    parameters = random_parameters(layers=2, embedding=embedding, skip_connections=skip_connections)
    found = list_parts(parameters)
    shapes = {name: shape for part in found.parts for name, shape in part.weights.items()}
    assert shapes == {name: tensor.shape for name, tensor in parameters.tensors().items()}
    assert found.parameters == parameters.size
    first = ("embedding", 3) if embedding else ("one-hot", 5)
    assert [(part.name, part.outputs) for part in found.parts] == [first, ("rnn.0", 4), ("rnn.1", 4), ("logits", 5)]
    assert [symbol(name) for name in found.parts[1].weights] == ["U", "V", "b"]


def test_the_equations_are_those_of_the_stack(random_parameters: RandomParameters) -> None:
    assert list_parts(random_parameters()).equations == (
        *("x_t = onehot(id_t)", "h_t = tanh(x_t U + h_{t-1} V + b)", "logits_t = h_t W + c"),
        "dh_t = dh_{t-1} V D_t,  D_t = diag f'(a_t)",
    )
    stack = random_parameters(layers=2, embedding=3, skip_connections=True, activation="relu")
    stack = replace(stack, layers=(replace(stack.layers[0], bias=None), stack.layers[1]))
    assert list_parts(stack).equations == (
        "x_t = E[id_t]",
        "h^{0}_t = relu(x_t U_0 + h^{0}_{t-1} V_0)",
        "h^{1}_t = relu([h^{0}_t; x_t] U_1 + h^{1}_{t-1} V_1 + b_1)",
        "logits_t = [h^{0}_t; h^{1}_t] W + c",
        "h_t = [h^{0}_t; h^{1}_t]",
        "dh^l_t = (dh^l_{t-1} V_l + [dh^{l-1}_t; 0] U_l) D^l_t,  D^l_t = diag f'(a^l_t)",
    )
    equations = list_parts(random_parameters(layers=2)).equations
    assert equations[2:4] == ("h^{1}_t = tanh(h^{0}_t U_1 + h^{1}_{t-1} V_1 + b_1)", "logits_t = h^{1}_t W + c")
