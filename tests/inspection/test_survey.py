"""A whole report: which parts it has, what its notes say, and what is refused."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from inspection.networks import random_ids
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.evaluation.scoring import mean_score, score_stream
from charlm.inspection.limits import Limits, limits_for
from charlm.inspection.parts import Subject
from charlm.inspection.report import Report
from charlm.inspection.survey import PARTS, inspect_run
from charlm.network.bundle import Bundle

SMALL = Limits(300, 120, 20, 20, 2, 3000, 400, np.float64)


def subject(bundle: Bundle, *, length: int = 400, **changes: Any) -> Subject:
    """Return a random text that the random bundle reads."""
    return replace(Subject("bundle", bundle, "a text", random_ids(length)), **changes)


def test_the_parts_are_the_fields_of_a_report() -> None:
    rest = {"name", "text_name", "characters", "activation", "notes", "level"}
    assert {*PARTS} == {field.name for field in fields(Report)} - rest


def test_a_report_has_every_part_that_can_be_made(bundle: Bundle) -> None:
    named: list[str] = []
    made = subject(bundle, training_ids=random_ids(500, seed=9))
    found = inspect_run(made, limits=SMALL, progress=named.append)
    assert named == [name.replace("_", " ") for name in PARTS]
    missing = [name for name in PARTS if getattr(found, name) is None]
    assert missing == ["curves"]
    assert found.surprise is not None
    assert len(found.surprise.nats) == 119
    assert found.usable_context is not None
    assert len(found.usable_context.ngram_order) > 1
    assert found.notes == (
        "Losses by class and baselines: the first 300 of 400 characters.",
        "Surprise, gradients, impulse response, exponents: the first 120 characters.",
        "N-grams: counted on the last 400 characters of the training text.",
        "Curves: missing: a bundle without its run has no learning curves.",
    )


def test_what_other_limits_leave_out_is_noted(bundle: Bundle) -> None:
    found = inspect_run(subject(bundle, length=5001), limits=replace(SMALL, characters=9999), parts=[])
    assert found.notes[1:] == (
        "Units, calibration: the first 5,000 characters.",
        "Saturation, trajectory, fixed points: the first 2,000 characters.",
    )


def test_the_loss_by_class_adds_up_to_that_of_the_evaluation(bundle: Bundle) -> None:
    found = inspect_run(subject(bundle), limits=SMALL, parts=["loss_by_class"])
    expected = mean_score(score_stream(bundle.parameters, random_ids(400)[:300])).nats_per_char
    assert found.loss_by_class is not None
    assert found.loss_by_class.nats_per_char == pytest.approx(expected)


@pytest.mark.parametrize("ids", [np.array([0, 1]), np.zeros(50, np.int64), np.array([4, 3, 4, 3, 0])])
def test_a_text_that_is_short_or_of_one_character_still_has_a_report(bundle: Bundle, ids: NDArray[np.int64]) -> None:
    found = inspect_run(subject(bundle, ids=ids), limits=SMALL)
    assert found.surprise is not None
    assert len(found.surprise.nats) == len(ids) - 1
    assert found.gradient_by_lag is not None


@pytest.mark.parametrize("length", [0, 1])
def test_a_text_without_a_prediction_is_refused(bundle: Bundle, length: int) -> None:
    with pytest.raises(CharlmError, match=f"a text: {length} characters: at least 2 are needed"):
        inspect_run(subject(bundle, length=length))


def test_weights_that_are_too_large_are_refused(bundle: Bundle) -> None:
    bundle.parameters.logits_bias[...] = [3e38, -3e38, 3e38, 0, 0]
    with pytest.raises(CharlmError, match="the weights are too large"):
        inspect_run(subject(bundle), parts=["surprise"])


def test_an_edit_outside_the_text_that_is_read_is_refused(bundle: Bundle) -> None:
    with pytest.raises(CharlmError, match="edit at 120: the position must be from 0 to 119"):
        inspect_run(subject(bundle, edits=((120, 1),)), limits=SMALL, parts=["edits"])


def test_an_edit_has_its_ripple(bundle: Bundle) -> None:
    found = inspect_run(subject(bundle, edits=((7, 2), (9, 0))), parts=["edits"])
    assert [(edit.position, edit.after) for edit in found.edits] == [(7, 2), (9, 0)]


def test_a_config_that_cannot_be_drawn_anew_leaves_out_the_initial_network_alone(bundle: Bundle) -> None:
    unreadable = replace(bundle, config="model: {units: none}")
    parts = ["initial_gradient_by_lag", "initial_lyapunov", "initial_spectrum", "units"]
    found = inspect_run(subject(unreadable, length=100), limits=SMALL, parts=parts)
    assert found.initial_spectrum == ()
    assert found.units is not None
    assert sum("Initial" in note for note in found.notes) == 3


@pytest.mark.parametrize("units", [1, 3])
def test_large_networks_are_read_less(bundle: Bundle, units: int) -> None:
    small = limits_for(bundle.parameters)
    layer = bundle.parameters.layers[0]
    wide = replace(layer, recurrent_kernel=np.zeros((units * 600, units * 600), np.float32))
    large = limits_for(replace(bundle.parameters, layers=(wide, wide)))
    assert large.context_positions <= small.context_positions == 600
    assert large.spectrum_positions < small.spectrum_positions == 16
    assert small.characters == 100_000


def test_a_large_vocabulary_shortens_what_is_followed(bundle: Bundle) -> None:
    """The logits of every position are held: 20 million of them."""
    many = replace(bundle.parameters, logits_kernel=np.zeros((4, 40_000), np.float32))
    assert limits_for(bundle.parameters).positions == 2000
    assert limits_for(many).positions == 500
