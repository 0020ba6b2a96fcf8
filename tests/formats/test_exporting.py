"""The table of formats, and the files beside an export."""

from dataclasses import replace
from typing import get_args

import pytest
from formats.networks import make_model

from charlm.errors import CharlmError
from charlm.formats import FormatName
from charlm.formats.exporting import FORMATS, export_torch, hub_files
from charlm.network.model_file import TrainedModel


def test_every_name_of_a_format_has_one() -> None:
    assert tuple(FORMATS) == get_args(FormatName)


@pytest.mark.parametrize("temperature", ["0.5", "0.0", "0.25"])
@pytest.mark.parametrize("name", ["onnx", "torch", "keras", "c"])
def test_the_card_writes_at_the_temperature_of_the_recipe(
    trained: TrainedModel, name: FormatName, temperature: str
) -> None:
    own = replace(trained, config={"sampling": {"temperature": float(temperature)}})
    card = hub_files(own, FORMATS[name], {"x": b""}, title="plays")["README.md"].decode()
    usage = card[card.index("## Use") : card.index("## Score")]
    shown = "0.01" if temperature == "0.0" else temperature  # the programs divide by it
    assert f'"The " 500 {shown}\n' in usage or f"/ {shown}" in usage


def test_an_activation_that_pytorch_lacks_is_refused_with_the_formats_that_have_it() -> None:
    with pytest.raises(
        CharlmError, match=r"no activation sigmoid, only tanh and relu; the formats html, onnx, keras and c"
    ):
        export_torch(make_model(layers=1, activation="sigmoid"))
