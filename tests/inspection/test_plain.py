"""The JSON of a report: its keys, and what becomes of numbers that JSON does not have."""

import json
from typing import Any

import numpy as np
import pytest
from inspection.reports import CHARACTERS, report

from charlm.inspection.plain import to_json, to_plain

CONTRACT = (
    *("surprise", "gradient_by_lag", "usable_context", "impulse_response", "lyapunov", "spectral_radius", "units"),
    *("calibration", "loss_by_class", "curves"),
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.array([1.0, np.nan, np.inf, -np.inf]), [1.0, None, None, None]),
        (np.float32(0.1), 0.1),
        (np.array([1 + 2j, complex(np.nan, 0)]), [[1.0, 2.0], [None, 0.0]]),
        (np.int64(3), 3),
        (True, True),
        ((1, "a", None, {2: np.zeros((1, 2))}), [1, "a", None, {"2": [[0.0, 0.0]]}]),
        (123456789.123, 123456800.0),
    ],
)
def test_a_value_becomes_plain(value: Any, expected: Any) -> None:
    found = to_plain(value)
    assert json.dumps(found, allow_nan=False) == json.dumps(expected)


def test_a_report_is_valid_json_with_the_promised_keys() -> None:
    found = json.loads(json.dumps(to_json(report()), allow_nan=False))
    assert set(CONTRACT) <= set(found)


def test_each_character_has_its_surprise_and_what_was_likelier() -> None:
    whole = report()
    assert whole.surprise is not None
    first = to_json(whole)["surprise"][0]
    assert first["position"] == 1
    assert first["character"] == CHARACTERS[whole.surprise.ids[0]]
    assert first["nats"] == pytest.approx(whole.surprise.nats[0], rel=1e-6)
    assert [guess["character"] for guess in first["likeliest"]] == [
        CHARACTERS[guess] for guess in whole.surprise.likeliest[0]
    ]


def test_each_layer_has_its_gradient_by_lag_and_its_radius() -> None:
    found = to_json(report(layers=3))
    assert [curve["layer"] for curve in found["gradient_by_lag"]] == [0, 1, 2]
    assert found["gradient_by_lag"][0]["median"][:2] == [1.0, 0.6]
    assert found["spectral_radius"] == [pytest.approx(layer["spectral_radius"]) for layer in found["spectrum"]]


def test_a_part_that_could_not_be_made_is_null() -> None:
    found = to_json(report(surprise=None, gradient_by_lag=None, spectrum=()))
    assert (found["surprise"], found["gradient_by_lag"], found["spectral_radius"]) == (None, None, [])
