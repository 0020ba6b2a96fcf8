"""Checks of untrusted JSON and of arguments."""

import math
from typing import Any

import pytest

from charlm.checks import (
    check_json,
    check_path,
    check_range,
    parse_json,
)
from charlm.errors import CharlmError


def nested(depth: int) -> Any:
    """Return lists inside each other."""
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param(
            {"a": {"b": "\ud800"}},
            "x: found .*, which has an unpaired surrogate",
            id="surrogate",
        ),
        pytest.param(
            {"a": {"\udfff": 1}},
            "x: found .*, which has an unpaired surrogate",
            id="surrogate in a key",
        ),
        pytest.param([0, 2**63], "x: found a whole number of more than 64 bits", id="large number"),
        pytest.param({"a": math.nan}, "x: found nan; expected a finite number", id="not a number"),
        pytest.param(
            nested(33), "lists or mappings nested more than 32 levels deep", id="33 lists"
        ),
    ],
)
def test_unusual_json_is_refused(value: Any, message: str) -> None:
    with pytest.raises(CharlmError, match=message):
        check_json(value, origin="x")


@pytest.mark.parametrize(
    "value",
    [None, True, "\U0010ffff", 2**63 - 1, -(2**63), -1.5, {"": []}, nested(32)],
    ids=lambda value: repr(value)[:20],
)
def test_usual_json_is_accepted(value: Any) -> None:
    check_json(value, origin="x")


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, "9" * 5000, b"\xff"], ids=lambda text: str(text[:3])
)
def test_invalid_json_is_refused_in_a_short_line(text: str | bytes) -> None:
    with pytest.raises(CharlmError, match=r"^x: not valid JSON: .{1,200}$"):
        parse_json(text, origin="x")


@pytest.mark.parametrize("found", [0, 1, 0.5])
def test_a_number_in_the_range_is_accepted(found: float) -> None:
    check_range("x", found, 0, 1)


@pytest.mark.parametrize("found", [-0.1, 1.1, math.nan, math.inf])
def test_a_number_out_of_range_is_refused(found: float) -> None:
    with pytest.raises(CharlmError, match=r"^x: found .*; must be 0 to 1$"):
        check_range("x", found, 0, 1)


@pytest.mark.parametrize(
    ("above", "most", "allowed"),
    [
        (True, math.inf, "above 0"),
        (True, 1, "above 0 and at most 1"),
        (False, math.inf, "0 or more"),
    ],
)
def test_a_range_is_described(above: bool, most: float, allowed: str) -> None:
    with pytest.raises(CharlmError) as error:
        check_range("x", 0 if above else -1, 0, most, above=above)
    assert str(error.value).endswith(f"; must be {allowed}")


@pytest.mark.parametrize(
    "found", ["missing.txt", "folder/with some words", "./x", "-", "./-", 255 * "x"]
)
def test_a_path_is_returned_unchanged(found: str) -> None:
    assert check_path("text", found) == found
