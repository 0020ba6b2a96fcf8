"""Values from outside: untrusted JSON and arguments are refused in a line that names the key or the argument."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charlm.checks import check_flag, check_json, check_not_read, check_number, check_path, check_whole, parse_json
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
        pytest.param({"a": {"b": "\ud800"}}, r"x: a\.b: found .*, which has an unpaired surrogate", id="surrogate"),
        pytest.param({"a": {"\udfff": 1}}, "x: a: found .*, which has an unpaired surrogate", id="surrogate in a key"),
        pytest.param([0, 2**63], "x: 1: found a whole number of more than 64 bits", id="large number"),
        pytest.param([-(2**63) - 1], "x: 0: found a whole number of more than 64 bits", id="large negative number"),
        pytest.param({"a": math.nan}, "x: a: found nan; expected a finite number", id="not a number"),
        pytest.param(math.inf, "x: found inf; expected a finite number", id="infinity"),
        pytest.param(nested(33), "more than 32 lists or mappings inside each other", id="33 lists"),
    ],
)
def test_json_that_later_code_cannot_handle_is_refused_by_its_key(value: Any, message: str) -> None:
    with pytest.raises(CharlmError, match=message):
        check_json(value, origin="x")


@pytest.mark.parametrize(
    "value",
    [None, True, "\U0010ffff", 2**63 - 1, -(2**63), -1.5, {"": []}, nested(32)],
    ids=lambda value: repr(value)[:20],
)
def test_usual_json_is_accepted(value: Any) -> None:
    check_json(value, origin="x")


class UnshownKey(str):
    """A key that must not be shown in a message."""

    __slots__ = ()

    def __str__(self) -> str:
        raise AssertionError("the key was formatted")

    def __format__(self, _specification: str) -> str:
        raise AssertionError("the key was formatted")


def test_keys_are_only_joined_for_a_message() -> None:
    # With a key of a megabyte and a million values in it, joining the keys of each value would take hours.
    check_json({UnshownKey("a"): {UnshownKey("b"): [0, {}]}}, origin="x")


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "9" * 5000, b"\xff"], ids=lambda text: str(text[:3]))
def test_what_is_not_json_is_refused_in_a_short_line(text: str | bytes) -> None:
    with pytest.raises(CharlmError, match=r"^x: not valid JSON: .{1,200}$"):
        parse_json(text, origin="x")


@pytest.mark.parametrize("found", [1, np.int64(1), np.uint8(2)])
def test_whole_numbers_are_accepted(found: Any) -> None:
    assert check_whole("n", found, least=1, most=2) == int(found)


@pytest.mark.parametrize("found", [0, 3, 1.0, True, "1", None, [1], math.nan])
def test_what_is_not_a_whole_number_in_range_is_refused(found: Any) -> None:
    with pytest.raises(CharlmError, match=r"^n: found .*; must be a whole number, from 1 to 2$"):
        check_whole("n", found, least=1, most=2)


@pytest.mark.parametrize("found", [-0.1, 1.1, math.nan, math.inf, "1", None, True, 1j])
def test_what_is_not_a_number_in_range_is_refused(found: Any) -> None:
    with pytest.raises(CharlmError, match=r"^x: found .*; must be a number, from 0 to 1$"):
        check_number("x", found, least=0, most=1)


def test_the_lower_end_of_a_range_can_be_left_out() -> None:
    assert check_number("x", 0, least=0) == 0
    with pytest.raises(CharlmError, match=r"^x: found 0; must be a number, above 0$"):
        check_number("x", 0, least=0, above=True)


@pytest.mark.parametrize("found", [0, 1, "yes", None])
def test_a_flag_is_a_bool(found: Any) -> None:
    with pytest.raises(CharlmError, match=r"^flag: found .*; must be True or False$"):
        check_flag("flag", found)


@pytest.mark.parametrize(
    "found",
    ["a\nb", "x" * 256, "a/" * 2500, "to be or not to be", "nul\0"],
    ids=["two lines", "long name", "long path", "words", "zero"],
)
def test_a_text_where_a_path_is_expected_is_recognized(found: str) -> None:
    with pytest.raises(
        CharlmError, match=r"^text: found '.*'\.\.\., which is a text, .*, or use model\.score\(text\) in Python$"
    ):
        check_path("text", found, instead="model.score(text)")


@pytest.mark.parametrize("found", [1, None, ["a"], "", b"x", "\ud800", "\ud800" * 100])
def test_what_is_no_path_is_refused(found: Any) -> None:
    with pytest.raises(
        CharlmError, match=r"^text: (found .*(must be the path of a file|surrogate)|the path is empty)$"
    ):
        check_path("text", found)


@pytest.mark.parametrize("found", ["missing.txt", "a b c.txt", "folder/with some words", Path("x")])
def test_any_other_path_is_accepted(found: Any) -> None:
    assert check_path("text", found) == Path(found)


def test_a_path_of_words_is_accepted_if_the_file_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("to be or not").touch()
    assert check_path("text", "to be or not") == Path("to be or not")


@pytest.mark.parametrize("out", ["model", "link", "texts/a.txt", "texts/b/c.txt"])
def test_a_file_that_is_read_is_not_written(out: str, tmp_path: Path) -> None:
    (tmp_path / "texts/b").mkdir(parents=True)
    for name in ("model", "texts/a.txt", "texts/b/c.txt"):
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "model")
    with pytest.raises(CharlmError, match=f"^{tmp_path / out}: is read by this command"):
        check_not_read(tmp_path / out, read=[tmp_path / "model", tmp_path / "texts", tmp_path / "missing"])


@pytest.mark.parametrize("out", ["new", "other", "texts/new"])
def test_another_file_may_be_written(out: str, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    for name in ("model", "other"):
        (tmp_path / name).touch()
    check_not_read(tmp_path / out, read=[tmp_path / "model", tmp_path / "texts"])
