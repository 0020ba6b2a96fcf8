"""YAML restricted to what JSON can express."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.config.yaml import MAX_CONFIG_BYTES, as_yaml, dump_yaml, parse_yaml
from charlm.errors import CharlmError


def parse(text: str) -> Any:
    return parse_yaml(text, origin="test")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("a: 1", {"a": 1}), ("[true, null, ~, 1.5, text]", [True, None, None, 1.5, "text"]), ("", None)),
        *(("[no, On]", [False, True]), ("-9223372036854775808", -(2**63)), ("9223372036854775807", 2**63 - 1)),
    ],
)
def test_plain_yaml_is_read(text: str, value: Any) -> None:
    assert parse(text) == value


@pytest.mark.parametrize("text", ["010", "0x1f", "1:30", "-1:30.5", "1_000", "1_0.5", "0b11", ".inf", ".nan"])
def test_what_not_every_reader_takes_for_a_number_is_a_text_which_a_setting_refuses(text: str) -> None:
    assert parse(f"seed: {text}") == {"seed": text}


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "1.0e-3", "+1e-3", "0.001", "1.e-3"])
def test_a_number_may_be_written_with_an_exponent(text: str) -> None:
    assert parse(text) == 0.001


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("seed: 1\nseed: 2", "line 2, column 1: not valid YAML: 'seed' occurs twice"),
        ("a: &x 1\nb: *x", "line 2, column 4: not valid YAML: aliases are not allowed"),
        ("[a]: 1", "line 1, column 1: not valid YAML: a key must be a word"),
        ("a: 9223372036854775808", "line 1, column 4: not valid YAML: a number is too large"),
        ("[" * 1000, "line 1, column 33: not valid YAML: nested more than 32 deep"),
        ("seed: !!int 1", "line 1, column 7: not valid YAML: tags are not allowed"),
        ("seed: 1e999", "not valid YAML: a number is not finite, or a text has an unpaired surrogate"),
    ],
    ids=lambda text: repr(text[:20]),
)
def test_the_problem_is_named_with_its_line_and_column(text: str, problem: str) -> None:
    with pytest.raises(CharlmError) as error:
        parse(text)
    assert str(error.value) == f"test: {problem}"


def test_a_text_longer_than_a_config_may_be_is_refused() -> None:
    parse(" " * MAX_CONFIG_BYTES)
    with pytest.raises(CharlmError, match="test: 100,001 characters; a config has at most 100,000"):
        parse(" " * (MAX_CONFIG_BYTES + 1))


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (b"x", "not valid YAML: tags are not allowed"),
        ({1}, "not valid YAML: tags are not allowed"),
        (object, "must be a text, a number, a list or a mapping"),
        (2**63, "a number is too large"),
        ("\ud800", "an unpaired surrogate"),
    ],
)
def test_a_value_of_a_program_that_could_not_be_read_back_is_refused(value: object, problem: str) -> None:
    with pytest.raises(CharlmError, match=rf"^override a: .*{problem}"):
        as_yaml([value], origin="override a")
    assert as_yaml({"a": (1, None, "x: y")}, origin="test") == {"a": [1, None, "x: y"]}


def test_a_mapping_that_is_there_twice_is_no_alias_and_one_that_holds_itself_is_refused() -> None:
    twice: dict[str, Any] = {"class_name": "L2"}
    assert as_yaml({"a": twice, "b": [twice]}, origin="test") == {"a": twice, "b": [twice]}
    twice["self"] = twice
    with pytest.raises(CharlmError, match=r"^test: found .*\.\.\..*; must be a text, a number"):
        as_yaml(twice, origin="test")


PARTS = [
    *("!!int ", "!!set ", "! ", "'", '"', "maybe", "true", "~", "0x", "_", "-", "+", ".", ".inf", "1:"),
    *("1e", "e9", "9", "9", "[", "]", "{", "}", ", ", ": ", "- ", "? ", "\n", " ", "&a ", "*a", "<<", "="),
    *("|", ">", "#", "%", "---", "...", "\\x", "\\ud800", "\x00", "\x85", "\u2028", "\ufeff", "[" * 40),
    "9" * 5000,
]
fragments = st.lists(st.sampled_from(PARTS), max_size=12).map("".join)


@settings(max_examples=300)
@given(st.text(max_size=50) | st.text("{}[]:,-?!&*#|>'\"%@`<= \n\tab1", max_size=50) | fragments)
def test_any_text_is_yaml_or_refused_in_one_line(text: str) -> None:
    try:
        parse(text)
    except CharlmError as error:
        message = str(error)
    else:
        message = "test: "
    assert message.startswith("test: ")
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("text", ["1e5", "1e-3", "no", "~", "null", "0x1", "=", "<<", "2001-01-01", "- x", "", "#"])
def test_a_text_that_looks_like_something_else_is_written_as_a_text(text: str) -> None:
    assert parse(dump_yaml({"prompt": text})) == {"prompt": text}
