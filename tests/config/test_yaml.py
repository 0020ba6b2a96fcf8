"""YAML restricted to what JSON can express."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charlm.config.file import as_json, dump_yaml, parse_yaml
from charlm.errors import CharlmError


def parse(text: str) -> Any:
    return parse_yaml(text, origin="test")


def test_plain_yaml_is_read() -> None:
    for text, value in (
        *(("a: 1", {"a": 1}), ("[true, null, ~, 1.5, text]", [True, None, None, 1.5, "text"]), ("", None)),
        *(("[no, On]", [False, True]), ("-9223372036854775808", -(2**63)), ("1: 2", {"1": 2})),
        *((" " * 99_999 + "1", 1), ("[" * 32 + "]" * 32, json.loads("[" * 32 + "]" * 32))),
        *((text, 0.001) for text in ("1e-3", "1E-3", "1.0e-3", "+1e-3", "0.001", "1.e-3", ".1e-2")),
    ):
        assert parse(text) == value


def test_the_problem_is_named_with_its_line_and_column() -> None:
    for text, problem in (
        ("seed: 1\nseed: 2", "line 2, column 1: not valid YAML: 'seed' occurs twice"),
        ("1: 1\n'1': 2", "line 2, column 1: not valid YAML: '1' occurs twice"),
        ("a: &x 1\nb: *x", "line 2, column 4: not valid YAML: aliases and tags"),
        ("seed: !!int 1", "line 1, column 7: not valid YAML: aliases and tags"),
        ("[" * 1000, "not valid YAML: maximum recursion depth exceeded"),
        ("[a]: 1", "line 1, column 1: not valid YAML: found unhashable key"),
        *(
            (f"a: {number}", f"line 1, column 4: not valid YAML: '{number}' is not a decimal number; put a text")
            for number in ("010", "0x1f", "1:30", "1_000", "0b11")
        ),
        ("a: " + "9" * 5000, "not valid YAML: Exceeds the limit"),
        ("a: 1e999", "found {'a': inf}; must be what JSON can express"),
        ("a: 2001-01-01", "found {'a': datetime.date(2001, 1, 1)}; must be what JSON can express; put a date"),
        ("a: 2001-13-01", "not valid YAML: month must be in 1..12"),
        ('a: "\\ud800"', r"found {'a': '\ud800'}; must be what JSON can express"),
        (" " * 100_001, "100,001 characters; a config has at most 100,000"),
    ):
        with pytest.raises(CharlmError) as error:
            parse(text)
        assert str(error.value).startswith(f"test: {problem}")


def test_a_value_of_a_program_is_taken_as_json_has_it_or_refused() -> None:
    twice: dict[str, Any] = {"a": (1, None, "x: y")}
    assert as_json([twice, twice], origin="test") == parse(dump_yaml([twice, twice])) == 2 * [{"a": [1, None, "x: y"]}]
    twice["self"] = twice
    for value in (b"x", {1}, object, float("nan"), twice):
        with pytest.raises(CharlmError, match=r"^override a: found .*; must be what JSON can express"):
            as_json(value, origin="override a")


def test_keys_are_written_in_their_order_and_letters_as_they_are() -> None:
    assert dump_yaml({"b": "\u00e9", "a": "x"}) == "b: \u00e9\na: x\n"


PARTS = [
    *("!!int ", "!!set ", "! ", "'", '"', "maybe", "true", "~", "0x", "_", "-", "+", ".", ".inf", "1:"),
    *("1e", "e9", "9", "9", "[", "]", "{", "}", ", ", ": ", "- ", "? ", "\n", " ", "&a ", "*a", "<<", "="),
    *("|", ">", "#", "%", "---", "...", "\\x", "\\ud800", "\x00", "\x85", "\u2028", "\ufeff", "[" * 40),
    *("9" * 5000, "2001-01-01", ": {a: 1}", "010"),
]
fragments = st.lists(st.sampled_from(PARTS), max_size=12).map("".join)
texts = st.text(max_size=50) | st.text("{}[]:,-?!&*#|>'\"%@`<= \n\tab1", max_size=50) | fragments


@settings(max_examples=300)
@given(texts)
def test_any_text_is_yaml_or_refused_in_one_line(text: str) -> None:
    try:
        parse(text)
    except CharlmError as error:
        message = str(error)
    else:
        message = "test: "
    assert message.startswith("test: ")
    assert len(message.splitlines()) == 1


@settings(max_examples=150)
@example({text: text for text in ("1e5", "no", "~", "null", "0x1", "=", "<<", "2001-01-01", "1:30", "- x", "", "\x85")})
@given(st.dictionaries(texts, texts | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans()))
def test_what_is_written_is_read_back(values: dict[str, Any]) -> None:
    text = dump_yaml(values)
    if len(text) <= 100_000:
        assert parse(text) == values
