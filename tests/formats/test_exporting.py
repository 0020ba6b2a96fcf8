"""The table of formats, the files beside an export, and the comparison of another program's logits with charlm's."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.formats import FormatName
from charlm.formats.exporting import FORMATS, TOLERANCE, Check, Format, check_export, hub_files
from charlm.network.bundle import Bundle
from charlm.network.rnn import Floats

IDS = np.array([0, 1, 2, 3, 4])


def check(bundle: Bundle, *, error: float, time: int | None = None) -> Check:
    """Check an export whose program errs in one logit by `error`, and returns the logits of `time` ids."""

    def read_logits(folder: Path, ids: NDArray[Any]) -> Floats:
        assert (folder / "model").read_bytes() == b"weights"
        assert (folder / "model.json").is_file()
        parameters = bundle.parameters
        logits = parameters.unroll(ids[:time, None], parameters.zero_state(1))[0][:, 0]
        logits[1, 2] += error
        return logits

    found = Format("another program", lambda _, __: {}, read_logits, "")
    return check_export({"model": b"weights"}, IDS, bundle=bundle, found=found)


def test_every_name_of_a_format_has_one() -> None:
    assert tuple(FORMATS) == get_args(FormatName)


def test_the_largest_difference_of_a_logit_is_found(bundle: Bundle) -> None:
    found = check(bundle, error=-0.25)
    assert found.largest_difference == pytest.approx(0.25, rel=1e-6)
    assert (found.program, found.characters) == ("another program", 5)


@pytest.mark.parametrize("error", [TOLERANCE / 2, TOLERANCE * 2, np.nan, np.inf])
def test_only_a_difference_within_the_tolerance_passes(bundle: Bundle, error: float) -> None:
    assert check(bundle, error=error).has_passed == (error == TOLERANCE / 2)


def test_logits_of_another_shape_are_refused(bundle: Bundle) -> None:
    with pytest.raises(CharlmError, match=r"another program computes logits of shape \(4, 5\); must be \(5, 5\)"):
        check(bundle, error=0, time=4)


@pytest.mark.parametrize("temperature", ["0.5", "0.0", "0.25"])
@pytest.mark.parametrize("name", ["onnx", "torch", "keras", "c"])
def test_the_card_writes_at_the_temperature_of_the_recipe(bundle: Bundle, name: FormatName, temperature: str) -> None:
    own = replace(bundle, config=f"sampling: {{temperature: {temperature}}}")
    card = hub_files(own, FORMATS[name], {"x": b""}, title="plays")["README.md"].decode()
    usage = card[card.index("## Use") : card.index("## Score")]
    shown = "0.01" if temperature == "0.0" else temperature  # the programs divide by it
    assert f'"The " 500 {shown}\n' in usage or f"/ {shown}" in usage
