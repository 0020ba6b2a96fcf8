"""A whole report: which quantities it has, what its notes say, what is refused, and its JSON."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from blas import blas_threads
from inspection.networks import random_ids
from inspection.reports import SMALL, bare, report
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from charlm.errors import CharlmError
from charlm.evaluation.scoring import mean_score, score_stream
from charlm.inspection.markup import to_plain
from charlm.inspection.report import ORDER, inspect_run, to_json
from charlm.inspection.section import Limits, Reading, Subject, limits_for
from charlm.network.model_file import TrainedModel


def subject(trained: TrainedModel, *, length: int = 400, **changes: Any) -> Subject:
    """Return a random text that the random trained reads."""
    return replace(Subject("trained", trained, "a text", random_ids(length)), **changes)


def test_a_report_has_every_part_that_can_be_made(trained: TrainedModel) -> None:
    named: list[str] = []
    made = subject(trained, training_ids=random_ids(500, seed=9))
    found = inspect_run(made, limits=SMALL, progress=named.append)
    assert named == [section.name.replace("_", " ") for section in ORDER]
    assert {section.name for section in ORDER} == {*found.found}
    assert len(found.get("surprise").nats) == 119
    loss, context = found.get("loss_by_class"), found.get("usable_context")
    assert (len(loss.positions), len(context.positions)) == (299, 199)
    assert context.ngram_order.tolist() == [2, 3, 5, 9]
    assert found.notes == ("Text: the first 300 of 400 characters.",)


def test_what_other_limits_leave_out_is_noted(trained: TrainedModel) -> None:
    large = subject(trained, length=5001, training_ids=np.zeros(1_000_001, np.uint8))
    found = Reading(large, replace(SMALL, characters=9999)).left_out()
    assert found[-1] == "N-grams: counted on the last 1,000,000 characters of the training text."


def test_a_text_has_one_loss_whatever_part_gives_it(trained: TrainedModel) -> None:
    limits = replace(SMALL, characters=400, context_positions=400)
    found = inspect_run(subject(trained, training_ids=random_ids(500, seed=9)), limits=limits)
    loss, context = found.get("loss_by_class"), found.get("usable_context")
    assert context.whole_nats == pytest.approx(loss.nats_per_char)
    assert context.ngram_nats[2] == pytest.approx(loss.ngram_nats_per_char)
    ids = random_ids(400)
    assert loss.nats_per_char == pytest.approx(mean_score(score_stream(trained.parameters, ids)).nats_per_char)
    assert to_json(found)["usable_context"]["positions"] == {"first": 1, "last": 399, "count": 399}


@pytest.mark.parametrize("ids", [np.array([0, 1]), np.zeros(50, np.int64), np.array([4, 3, 4, 3, 0])])
def test_a_text_that_is_short_or_of_one_character_still_has_a_report(
    trained: TrainedModel, ids: NDArray[np.int64]
) -> None:
    found = inspect_run(subject(trained, ids=ids), limits=SMALL)
    assert len(found.get("surprise").nats) == len(ids) - 1
    assert np.isfinite(found.get("gradient_by_lag")[0].median[0])


def test_products_run_on_one_thread_while_a_report_is_made(trained: TrainedModel) -> None:
    seen: list[int] = []
    with threadpool_limits(2, "blas"):
        inspect_run(subject(trained), limits=SMALL, progress=lambda _: seen.extend(blas_threads()))
        assert {*blas_threads()} == {2}
    assert {*seen} == {1}


@pytest.mark.parametrize("length", [0, 1])
def test_a_text_without_a_prediction_is_refused(trained: TrainedModel, length: int) -> None:
    with pytest.raises(CharlmError, match=f"a text: {length} characters?: at least 2 are needed"):
        inspect_run(subject(trained, length=length))


def test_weights_that_are_too_large_are_refused(trained: TrainedModel) -> None:
    trained.parameters.logits_bias[...] = [3e38, -3e38, 3e38, 0, 0]
    with pytest.raises(CharlmError, match="the weights are too large"):
        inspect_run(subject(trained))


def test_the_more_weights_the_fewer_characters_are_read(trained: TrainedModel) -> None:
    layer = trained.parameters.layers[0]
    large = replace(layer, kernel=np.zeros((1000, 1000)), recurrent_kernel=np.zeros((1000, 1000)))
    limits = limits_for(replace(trained.parameters, layers=(large,)))
    assert limits == Limits(40_000, 2000, 300, 4000, 2, np.float32)
    assert limits_for(trained.parameters) == Limits(100_000, 2000, 400, 100_000, 16, np.float64)


def test_a_large_vocabulary_shortens_what_is_followed(trained: TrainedModel) -> None:
    """The logits of every position are held: 20 million of them."""
    many = replace(trained.parameters, logits_kernel=np.zeros((4, 40_000), np.float32))
    assert limits_for(trained.parameters).positions == 2000
    assert limits_for(many).positions == 500
    assert limits_for(many).context_positions == 1000


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.array([1.0, np.nan, np.inf, -np.inf]), [1.0, None, None, None]),
        (np.float32(0.1), 0.1),
        (np.array([1 + 2j, complex(np.nan, 0)]), [[1.0, 2.0], [None, 0.0]]),
        (np.int64(3), 3),
        (True, True),
        (range(3, 9), {"first": 3, "last": 8, "count": 6}),
        (range(0), None),
        ((1, "a", None, {2: np.zeros((1, 2))}), [1, "a", None, {"2": [[0.0, 0.0]]}]),
        (123456789.123, 123456800.0),
    ],
)
def test_a_value_becomes_plain(value: Any, expected: Any) -> None:
    found = to_plain(value)
    assert json.dumps(found, allow_nan=False) == json.dumps(expected)


def test_each_layer_has_its_gradient_by_lag_and_its_radius() -> None:
    found = to_json(report(layers=3))
    assert [curve["layer"] for curve in found["gradient_by_lag"]] == [0, 1, 2]
    assert found["gradient_by_lag"][0]["median"][0] == 1
    assert found["spectral_radius"] == [pytest.approx(layer["spectral_radius"]) for layer in found["spectrum"]]


def test_a_part_that_could_not_be_made_is_null() -> None:
    found = to_json(bare())
    assert (found["surprise"], found["gradient_by_lag"], found["spectral_radius"]) == (None, None, [])
