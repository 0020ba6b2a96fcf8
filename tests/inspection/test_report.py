"""A whole report: which quantities it has, what its notes say, what is refused, and its JSON."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from blas import blas_threads
from inspection.networks import random_ids
from inspection.reports import SMALL, report
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from charlm.errors import CharlmError
from charlm.evaluation.scoring import mean_score, score_stream
from charlm.inspection.markup import to_plain
from charlm.inspection.reading import Limits, Reading, limits_for
from charlm.inspection.report import SECTIONS, inspect_text, to_json
from charlm.network.model_file import TrainedModel


def reading(trained: TrainedModel, *, length: int = 400, **changes: Any) -> Reading:
    """Return a random text that the random network reads."""
    return replace(Reading("trained", trained, "a text", random_ids(length), SMALL), **changes)


def test_a_report_has_every_part_that_can_be_made(trained: TrainedModel) -> None:
    named: list[str] = []
    found = inspect_text(reading(trained, training_text=random_ids(500, seed=9)), progress=named.append)
    assert named == [name.replace("_", " ") for name in SECTIONS]
    assert [*found.found] == [*SECTIONS]
    loss, context = found.get("loss_by_class"), found.get("usable_context")
    assert (len(found.get("surprise")), len(loss.positions), len(context.positions)) == (299, 299, 199)
    assert context.ngram_order.tolist() == [*range(2, 10)]
    assert found.notes == ("Text: the first 300 of 400 characters.",)


def test_what_is_left_out_is_noted(trained: TrainedModel) -> None:
    large = reading(trained, training_text=np.zeros(1_000_001, np.uint8), left_out={"X": 2})
    left_out, text, ngrams = large.notes()
    assert left_out == "Left out of the text, since the model does not know them: 'X' (U+0058) 2 times."
    assert text == "Text: the first 300 of 400 characters."
    assert ngrams == "N-grams: counted on the last 1,000,000 characters of the training text."


def test_a_text_has_one_loss_whatever_part_gives_it(trained: TrainedModel) -> None:
    whole = reading(trained, training_text=random_ids(500, seed=9), limits=Limits(400, 400, 20))
    found = inspect_text(whole)
    loss, context = found.get("loss_by_class"), found.get("usable_context")
    assert context.whole_nats == pytest.approx(loss.nats_per_char)
    assert loss.ngram_nats_per_char == pytest.approx(context.ngram_nats.min())  # beside the best of them
    assert loss.ngram_order == context.ngram_order[context.ngram_nats.argmin()]
    ids = random_ids(400)
    assert loss.nats_per_char == pytest.approx(mean_score(score_stream(trained.parameters, ids)).nats_per_char)
    assert to_json(found)["usable_context"]["positions"] == {"first": 1, "last": 399, "count": 399}


@pytest.mark.parametrize("ids", [np.array([0, 1]), np.zeros(50, np.int64), np.array([4, 3, 4, 3, 0])])
def test_a_text_that_is_short_or_of_one_character_still_has_a_report(
    trained: TrainedModel, ids: NDArray[np.int64]
) -> None:
    found = inspect_text(reading(trained, text=ids))
    assert len(found.get("surprise")) == len(ids) - 1
    assert np.isfinite(found.get("gradient_by_lag")[0].median[0])


def test_products_run_on_one_thread_while_a_report_is_made(trained: TrainedModel) -> None:
    seen: list[int] = []
    with threadpool_limits(2, "blas"):
        inspect_text(reading(trained), progress=lambda _: seen.extend(blas_threads()))
        assert {*blas_threads()} == {2}
    assert {*seen} == {1}


@pytest.mark.parametrize("length", [0, 1])
def test_a_text_without_a_prediction_is_refused(trained: TrainedModel, length: int) -> None:
    with pytest.raises(CharlmError, match=f"a text: {length} characters?: at least 2 are needed"):
        inspect_text(reading(trained, length=length))


def test_weights_that_are_too_large_are_refused(trained: TrainedModel) -> None:
    trained.parameters.logits_bias[...] = [3e38, -3e38, 3e38, 0, 0]
    with pytest.raises(CharlmError, match="the weights are too large"):
        inspect_text(reading(trained))


def test_the_more_parameters_the_fewer_characters_are_read(trained: TrainedModel) -> None:
    layer = trained.parameters.layers[0]
    large = replace(layer, kernel=np.zeros((1000, 1000)), recurrent_kernel=np.zeros((1000, 1000)))
    assert limits_for(trained.parameters) == Limits(100_000, 15_000, 400)
    assert limits_for(replace(trained.parameters, layers=(large,))) == Limits(34_999, 5_249, 139)
    assert limits_for(replace(trained.parameters, layers=(large,) * 9)).context == 1_000


def test_a_large_vocabulary_shortens_what_is_held_at_once(trained: TrainedModel) -> None:
    """The logits of every position are held: 20 million of them."""
    many = replace(trained.parameters, logits_kernel=np.zeros((4, 40_000), np.float32), logits_bias=np.zeros(40_000))
    read = reading(replace(trained, parameters=many), length=3000, limits=Limits(3000, 3000, 20))
    assert len(read.trace.ids) == 500
    assert limits_for(many).context == 1000


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
    found = to_json(report(only=()))
    assert (found["surprise"], found["gradient_by_lag"], found["spectral_radius"]) == (None, None, [])
