"""The comparison of the logits of another program with those of charlm."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import RandomParameters
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.formats.html import round_weights
from charlm.formats.registry import TOLERANCE, Check, check_export
from charlm.network.rnn import Floats, Parameters

IDS = np.array([0, 1, 2, 3, 4])


def check(parameters: Parameters, *, error: float, stored: Parameters | None = None, time: int | None = None) -> Check:
    """Check an export whose program errs in one logit by `error`, and returns the logits of `time` ids."""
    used = stored or parameters

    def read_logits(folder: Path, ids: NDArray[Any]) -> Floats:
        assert (folder / "model").read_bytes() == b"weights"
        logits = used.unroll(ids[:time, None], used.zero_state(1))[0][:, 0]
        logits[1, 2] += error
        return logits

    return check_export(
        {"model": b"weights"},
        IDS,
        parameters=parameters,
        stored=used,
        program="another program",
        read_logits=read_logits,
    )


def test_the_largest_difference_of_a_logit_is_found(random_parameters: RandomParameters) -> None:
    found = check(random_parameters(), error=-0.25)
    assert found.largest_difference == pytest.approx(0.25, rel=1e-6)
    assert (found.program, found.characters, found.rounding_difference) == ("another program", 5, 0)
    assert not found.has_passed


def test_a_difference_within_the_tolerance_passes(random_parameters: RandomParameters) -> None:
    assert check(random_parameters(), error=TOLERANCE / 2).has_passed


@pytest.mark.parametrize("error", [np.nan, np.inf])
def test_a_logit_that_is_not_finite_does_not_pass(random_parameters: RandomParameters, error: float) -> None:
    assert not check(random_parameters(), error=error).has_passed


def test_what_rounding_the_weights_changes_is_told_apart(random_parameters: RandomParameters) -> None:
    parameters = random_parameters()
    found = check(parameters, error=0, stored=round_weights(parameters, "float16"))
    assert found.largest_difference == 0
    assert 1e-5 < found.rounding_difference < 1e-2


def test_logits_of_another_shape_are_refused(random_parameters: RandomParameters) -> None:
    with pytest.raises(CharlmError, match=r"another program computes logits of shape \(4, 5\); must be \(5, 5\)"):
        check(random_parameters(), error=0, time=4)
