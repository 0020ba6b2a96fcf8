"""Checks of untrusted JSON and of arguments."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charlm.checks import (
    check_each,
    check_flag,
    check_json,
    check_not_read,
    check_number,
    check_path,
    check_text_path,
    check_whole,
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
            r"x: a\.b: found .*, which has an unpaired surrogate",
            id="surrogate",
        ),
        pytest.param(
            {"a": {"\udfff": 1}},
            "x: a: found .*, which has an unpaired surrogate",
            id="surrogate in a key",
        ),
        pytest.param(
            [0, 2**63], "x: 1: found a whole number of more than 64 bits", id="large number"
        ),
        pytest.param(
            [-(2**63) - 1],
            "x: 0: found a whole number of more than 64 bits",
            id="large negative number",
        ),
        pytest.param(
            {"a": math.nan}, "x: a: found nan; expected a finite number", id="not a number"
        ),
        pytest.param(math.inf, "x: found inf; expected a finite number", id="infinity"),
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


class UnshownKey(str):
    """A key that must not be shown in a message."""

    __slots__ = ()

    def __str__(self) -> str:
        raise AssertionError("the key was formatted")

    def __format__(self, _specification: str) -> str:
        raise AssertionError("the key was formatted")


def test_keys_are_joined_only_for_a_message() -> None:
    # A key of a megabyte with a million values would otherwise take hours.
    check_json({UnshownKey("a"): {UnshownKey("b"): [0, {}]}}, origin="x")


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, "9" * 5000, b"\xff"], ids=lambda text: str(text[:3])
)
def test_invalid_json_is_refused_in_a_short_line(text: str | bytes) -> None:
    with pytest.raises(CharlmError, match=r"^x: not valid JSON: .{1,200}$"):
        parse_json(text, origin="x")


@pytest.mark.parametrize("found", [1, np.int64(1), np.uint8(2)])
def test_whole_numbers_are_accepted(found: Any) -> None:
    assert check_whole("n", found, least=1, most=2) == int(found)


@pytest.mark.parametrize("found", [0, 3, 1.0, True, "1", None, [1], math.nan])
def test_a_wrong_whole_number_is_refused(found: Any) -> None:
    with pytest.raises(CharlmError, match=r"^n: found .*; must be a whole number, from 1 to 2$"):
        check_whole("n", found, least=1, most=2)


@pytest.mark.parametrize("found", [-0.1, 1.1, math.nan, math.inf, "1", None, True, 1j])
def test_a_wrong_number_is_refused(found: Any) -> None:
    with pytest.raises(CharlmError, match=r"^x: found .*; must be a number, from 0 to 1$"):
        check_number("x", found, least=0, most=1)


def test_a_range_can_start_above_its_lower_end() -> None:
    assert check_number("x", 0, least=0) == 0
    with pytest.raises(CharlmError, match=r"^x: found 0; must be a number, above 0$"):
        check_number("x", 0, least=0, above=True)


@pytest.mark.parametrize("found", [0, 1, "yes", None])
def test_a_flag_is_a_bool(found: Any) -> None:
    with pytest.raises(CharlmError, match=r"^flag: found .*; must be True or False$"):
        check_flag("flag", found)


@pytest.mark.parametrize(
    "found",
    ["a\nb", "x" * 256, "a/" * 2500, "nul\0"],
    ids=["two lines", "long name", "long path", "zero"],
)
def test_a_text_instead_of_a_path_is_recognized(found: str) -> None:
    with pytest.raises(
        CharlmError, match=r"^text: found '.*'\.\.\., which is a text, not the path of a file$"
    ):
        check_path("text", found)
    with pytest.raises(
        CharlmError, match=r"which is a text, .*, or use model\.score\(text\) in Python$"
    ):
        check_text_path("text", found, in_memory="model.score(text)")


@pytest.mark.parametrize("kind", [str, Path])
def test_several_words_without_a_file_may_be_a_text(kind: type) -> None:
    message = r"^text: found 'to be or not': no such file or folder; if this is a text, write it to"
    with pytest.raises(CharlmError, match=message):
        check_text_path("text", kind("to be or not"))


@pytest.mark.parametrize("found", [1, None, ["a"], "", b"x", "\ud800", "\ud800" * 100])
def test_a_wrong_path_is_refused(found: Any) -> None:
    with pytest.raises(
        CharlmError,
        match=r"^text: (found .*(must be the path of a file|surrogate)|the path is empty)$",
    ):
        check_path("text", found)


@pytest.mark.parametrize(
    "found", ["missing.txt", "a b c.txt", "folder/with some words", "./x", "-", "./-"]
)
def test_a_path_is_returned_unchanged(found: str) -> None:
    assert check_text_path("text", found) == check_path("text", found) == found


def test_a_name_of_several_words_is_a_path() -> None:
    assert check_path("out", "my new model page") == "my new model page"


def test_a_path_object_is_returned_as_text() -> None:
    assert check_path("out", Path("a/b")) == "a/b"


def test_a_path_of_words_is_accepted_if_the_file_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("to be or not").touch()
    assert check_text_path("text", "to be or not") == "to be or not"


@pytest.mark.parametrize(
    "found",
    [["a", "b"], ("a", "b"), {"a": 1, "b": 2}.keys(), iter("ab"), np.array(["a", "b"])],
    ids=["list", "tuple", "keys", "iterator", "array"],
)
def test_several_paths_may_come_in_any_iterable(found: Any) -> None:
    assert check_each("text", found, check_path) == ["a", "b"]


@pytest.mark.parametrize("found", ["ab", Path("ab")])
def test_a_single_path_is_a_list_of_one(found: Any) -> None:
    assert check_each("text", found, check_path) == ["ab"]


@pytest.mark.parametrize("found", [5, b"ab", {"a": 1}, None])
def test_a_wrong_list_of_paths_is_refused(found: Any) -> None:
    with pytest.raises(CharlmError, match=r"^text: found .*; must be the path of a file$"):
        check_each("text", found, check_path)


@pytest.mark.parametrize(
    "out",
    [
        pytest.param("model", id="the file"),
        pytest.param("link", id="link to the file"),
        pytest.param("hard link", id="hard link to the file"),
        pytest.param("texts/../model", id="another path"),
        pytest.param("texts/a.txt", id="in the folder"),
        pytest.param("texts/b/c.txt", id="in a folder in the folder"),
        pytest.param("elsewhere.txt", id="target of a link in the folder"),
        pytest.param("texts/b/linked.txt", id="link in the folder"),
    ],
)
def test_a_file_that_is_read_is_not_written(out: str, tmp_path: Path) -> None:
    (tmp_path / "texts/b").mkdir(parents=True)
    for name in ("model", "texts/a.txt", "texts/b/c.txt", "elsewhere.txt"):
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "model")
    (tmp_path / "hard link").hardlink_to(tmp_path / "model")
    (tmp_path / "texts/b/linked.txt").symlink_to("../../elsewhere.txt")
    (tmp_path / "texts/dangling.txt").symlink_to("nowhere")
    with pytest.raises(
        CharlmError, match=f"^{tmp_path / out}: (also an input file|in the input folder)"
    ):
        check_not_read(
            tmp_path / out, read=[tmp_path / "model", tmp_path / "texts", tmp_path / "missing"]
        )


@pytest.mark.parametrize("out", ["new", "other", "texts/new"])
def test_another_file_may_be_written(out: str, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    for name in ("model", "other"):
        (tmp_path / name).touch()
    check_not_read(tmp_path / out, read=[tmp_path / "model", tmp_path / "texts"])
