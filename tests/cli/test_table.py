"""Tables in plain text."""

import pytest

from charlm.cli.table import align, cut, fill, terminal_width, text_width


def test_figures_are_aligned_to_the_right_and_text_to_the_left() -> None:
    rows = [["run", "loss"], ["a", "1.50"], ["longer", "12.00"]]
    assert align(rows, text_columns={0}) == ["run      loss", "a        1.50", "longer  12.00"]


def test_all_columns_hold_figures_by_default() -> None:
    assert align([["a", "b"], ["100", "1"]]) == ["  a  b", "100  1"]


def test_a_line_has_no_spaces_at_its_end() -> None:
    assert align([["a", "long text"], ["b", "short"]], text_columns={0, 1}) == ["a  long text", "b  short"]


def test_wide_characters_and_combining_marks_are_aligned_by_their_columns() -> None:
    rows = [["日本", "1"], ["e\u0301te\u0301", "22"], ["abcd", "3"]]
    assert align(rows, text_columns={0}) == ["日本   1", "e\u0301te\u0301   22", "abcd   3"]


@pytest.mark.parametrize(("columns", "width"), [("200", 200), ("80", 80), ("40", 40), ("39", 40), ("1", 40)])
def test_width_is_that_of_the_terminal_but_40_at_least(
    columns: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert terminal_width() == width


@pytest.mark.parametrize(
    ("text", "width"), [("", 0), ("abc", 3), ("日本", 4), ("e\u0301", 1), ("a\u200db", 2), ("é", 1)]
)
def test_width_of_a_text_is_in_columns(text: str, width: int) -> None:
    assert text_width(text) == width


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("abcd", 4, "abcd"),
        ("abcde", 4, "abc…"),
        ("日本語", 6, "日本語"),
        ("日本語", 5, "日本…"),
        ("日本語", 4, "日…"),
        ("ab", 1, "…"),
    ],
)
def test_text_that_is_too_wide_is_cut(text: str, width: int, expected: str) -> None:
    assert cut(text, width) == expected


def test_items_fill_lines_and_are_separated_by_commas() -> None:
    assert fill(["a 1", "b 2", "c 3"], width=9) == ["a 1, b 2,", "c 3"]


def test_lines_are_indented() -> None:
    assert fill(["a 1", "b 2"], width=6, indent=2) == ["  a 1,", "  b 2"]


def test_no_item_is_no_line() -> None:
    assert fill([], width=9) == []


def test_item_that_is_wider_than_a_line_is_broken_between_words() -> None:
    assert fill(["a 1", "long_key 2345", "b 2"], width=9) == ["a 1,", "long_key", "2345, b 2"]


def test_word_that_is_wider_than_a_line_is_broken() -> None:
    assert fill(["abcdefgh", "日本語"], width=5) == ["abcde", "fgh,", "日本", "語"]
