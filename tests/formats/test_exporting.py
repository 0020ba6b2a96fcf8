"""The table of formats, the files beside an export, and the weights as PyTorch has them."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from formats.networks import make_bundle

from charlm.errors import CharlmError
from charlm.formats import FormatName
from charlm.formats.exporting import FORMATS, export_torch, hub_files, to_state_dict
from charlm.network.bundle import Bundle


def test_every_name_of_a_format_has_one() -> None:
    assert tuple(FORMATS) == get_args(FormatName)


@pytest.mark.parametrize("temperature", ["0.5", "0.0", "0.25"])
@pytest.mark.parametrize("name", ["onnx", "torch", "keras", "c"])
def test_the_card_writes_at_the_temperature_of_the_recipe(bundle: Bundle, name: FormatName, temperature: str) -> None:
    own = replace(bundle, config=f"sampling: {{temperature: {temperature}}}")
    card = hub_files(own, FORMATS[name], {"x": b""}, title="plays")["README.md"].decode()
    usage = card[card.index("## Use") : card.index("## Score")]
    shown = "0.01" if temperature == "0.0" else temperature  # the programs divide by it
    assert f'"The " 500 {shown}\n' in usage or f"/ {shown}" in usage


# PyTorch


def test_a_stack_without_skip_connections_is_one_module() -> None:
    parameters = make_bundle(layers=2, embedding=3).parameters
    named = to_state_dict(parameters)
    layer = {"weight_ih": (4, 4), "weight_hh": (4, 4), "bias_ih": (4,), "bias_hh": (4,)}
    expected = {f"rnn.{name}_l{k}": shape for k in range(2) for name, shape in layer.items()}
    expected |= {"embedding.weight": (5, 3), "rnn.weight_ih_l0": (4, 3), "logits.weight": (5, 4), "logits.bias": (5,)}
    assert {name: tensor.shape for name, tensor in named.items()} == expected
    np.testing.assert_array_equal(named["rnn.weight_hh_l1"], parameters.layers[1].recurrent_kernel.T)
    assert not named["rnn.bias_hh_l0"].any()


def test_with_skip_connections_each_layer_is_a_module() -> None:
    named = to_state_dict(make_bundle(layers=2, skip_connections=True, use_bias=False).parameters)
    assert {name: tensor.shape for name, tensor in named.items()} == {
        "rnn.0.weight_ih_l0": (4, 5),
        "rnn.0.weight_hh_l0": (4, 4),
        "rnn.1.weight_ih_l0": (4, 9),
        "rnn.1.weight_hh_l0": (4, 4),
        "logits.weight": (5, 8),
        "logits.bias": (5,),
    }


def test_an_activation_that_pytorch_lacks_is_refused_with_the_formats_that_have_it() -> None:
    with pytest.raises(
        CharlmError, match=r"no activation sigmoid, only tanh and relu; the formats html, onnx, keras and c"
    ):
        export_torch(make_bundle(layers=1, activation="sigmoid"))
