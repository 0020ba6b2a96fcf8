"""The files beside an export, and the comparison of the logits of another program with those of charlm."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import RandomParameters
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.formats.exporting import (
    TOLERANCE,
    Check,
    Format,
    check_export,
    escape_markdown,
    fenced,
    model_card,
)
from charlm.formats.html import known_score
from charlm.network.bundle import Bundle
from charlm.network.rnn import Floats, Parameters

IDS = np.array([0, 1, 2, 3, 4])


def check(parameters: Parameters, *, error: float, time: int | None = None) -> Check:
    """Check an export whose program errs in one logit by `error`, and returns the logits of `time` ids."""

    def read_logits(folder: Path, ids: NDArray[Any]) -> Floats:
        assert (folder / "model").read_bytes() == b"weights"
        logits = parameters.unroll(ids[:time, None], parameters.zero_state(1))[0][:, 0]
        logits[1, 2] += error
        return logits

    found = Format("another program", lambda _: {}, read_logits, "")
    return check_export({"model": b"weights"}, IDS, parameters=parameters, found=found)


def test_the_largest_difference_of_a_logit_is_found(random_parameters: RandomParameters) -> None:
    found = check(random_parameters(), error=-0.25)
    assert found.largest_difference == pytest.approx(0.25, rel=1e-6)
    assert (found.program, found.characters) == ("another program", 5)


@pytest.mark.parametrize("error", [TOLERANCE / 2, TOLERANCE * 2, np.nan, np.inf])
def test_only_a_difference_within_the_tolerance_passes(random_parameters: RandomParameters, error: float) -> None:
    assert check(random_parameters(), error=error).has_passed == (error == TOLERANCE / 2)


def test_logits_of_another_shape_are_refused(random_parameters: RandomParameters) -> None:
    with pytest.raises(CharlmError, match=r"another program computes logits of shape \(4, 5\); must be \(5, 5\)"):
        check(random_parameters(), error=0, time=4)


ROOT = Path(__file__).parents[2]
FORMAT = Format("C", lambda _: {}, lambda _, ids: np.zeros((len(ids), 5), np.float32), "./run $layers $units")


def test_the_card_has_the_score_the_settings_and_the_command(bundle: Bundle) -> None:
    scored = replace(bundle, facts={"score": {"split": "validation", "nats_per_char": 1.5}})
    card = model_card(scored, FORMAT, title="plays", names=["run.c", "model.bin"])
    assert card.startswith("---\nlicense: mit\n")
    assert "1.5000 nats per character (2.1640 bits) on the validation text." in card
    assert f"```yaml\n{bundle.config}```" in card
    assert "charlm train TEXT -c config.yaml" in card
    assert "./run 2 4" in card


def test_what_is_not_known_is_said(bundle: Bundle) -> None:
    card = model_card(replace(bundle, facts={"score": "good"}), FORMAT, title="plays", names=["run.c"])
    assert card.count("Not known") == 1


def test_names_become_no_markdown_and_no_html() -> None:
    assert escape_markdown("<b>[x](y)\n|`") == r"\<b\>\[x\]\(y\)\\n\|\`"


def test_a_text_cannot_end_its_code_block() -> None:
    assert fenced("a\n````\n# b", "text") == "`````text\na\n````\n# b\n`````"


@pytest.mark.parametrize(
    "score",
    [
        *(None, 3, [], {}, {"split": "<b>", "nats_per_char": 1.5}, {"split": "train", "nats_per_char": 1}),
        *({"split": "validation", "nats_per_char": nats} for nats in (None, "1.5", True, float("nan"), 10**400)),
    ],
)
def test_what_is_not_a_score_is_none(score: Any) -> None:
    assert known_score({"score": score}) is None
