"""Messages: one line without control characters, short values, and similar words."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.errors import CharlmError
from charlm.wording import (
    duration,
    escape_controls,
    short_number,
    short_repr,
)

ESCAPED = {
    "\x1b[2J": r"\x1b[2J",
    "\x9b2J": r"\x9b2J",
    "a\r\nb": r"a\r\nb",
    "\x00\x07\x7f": r"\x00\x07\x7f",
    "\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe": r"\u202egpj.exe",
    "\N{FIRST STRONG ISOLATE}\N{ARABIC LETTER MARK}": r"\u2068\u061c",
    "\N{LINE SEPARATOR}\N{PARAGRAPH SEPARATOR}": r"\u2028\u2029",
    "\udcff": r"\udcff",
}
KEPT = ("plain, é, 中, 😀", "می\N{ZERO WIDTH NON-JOINER}خواهم", "👩\u200d🚀", "no\u00a0break")


@pytest.mark.parametrize(("text", "shown"), ESCAPED.items(), ids=ascii)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert escape_controls(text) == shown


@pytest.mark.parametrize("text", KEPT, ids=ascii)
def test_other_characters_are_not_escaped(text: str) -> None:
    assert escape_controls(text) == text


def test_some_control_characters_can_be_kept() -> None:
    assert escape_controls("a\x07\t", keep="\t") == "a\\x07\t"


@given(st.text())
def test_the_message_of_an_error_is_one_line_without_control_characters(text: str) -> None:
    message = str(CharlmError(text))
    assert len(message.splitlines()) <= 1
    assert not {unicodedata.category(c) for c in message} & {"Cc", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("value", "length"),
    [
        pytest.param("x" * 10**6, 100, id="text"),
        pytest.param(["x" * 10**6] * 10**6, 1000, id="list"),
        pytest.param(10**5000, 100, id="number"),
    ],
)
def test_a_long_value_is_shortened(value: object, length: int) -> None:
    assert len(short_repr(value)) <= length


def test_a_long_message_shows_its_start_and_its_end() -> None:
    shown = str(CharlmError("space.yaml: " + 5000 * "\x1b" + ": unknown key"))
    assert re.fullmatch(r"space.yaml: (\\x1b)+.* \.\.\. .*(\\x1b)+: unknown key", shown)
    assert [len(str(CharlmError(count * "x"))) for count in (1500, 1501)] == [1500, 1505]


def test_an_error_with_several_problems_is_one_line_for_programs() -> None:
    error = CharlmError("some.yaml: 2 errors", problems=["a: wrong", "b:\x1b wrong"])
    assert error.lines == ("some.yaml: 2 errors", "a: wrong", "b:\\x1b wrong")
    assert str(error) == "some.yaml: 2 errors: a: wrong; b:\\x1b wrong"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (307, "5m07s"),
        (3599, "59m"),
        (4980, "1h23m"),
        (36_000, "10h"),
        (2 * 86_400 + 4 * 3600 + 59, "2d04h"),
        (12.9 * 86_400, "12d"),
    ],
)
def test_a_duration_has_at_most_five_characters(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, "0"),
        (0.05854, "0.0585"),
        (8.016, "8.02"),
        (20, "20"),
        (216.4, "216"),
        (27_702.4, "27,702"),
    ],
)
def test_a_short_number_has_no_exponent(number: float, expected: str) -> None:
    assert short_number(number) == expected
