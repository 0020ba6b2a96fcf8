"""Tables in plain text."""

from charlm.cli.table import align


def test_figures_are_aligned_to_the_right_and_text_to_the_left() -> None:
    rows = [["run", "loss"], ["a", "1.50"], ["longer", "12.00"]]
    assert align(rows, text_columns={0}) == ["run      loss", "a        1.50", "longer  12.00"]


def test_all_columns_hold_figures_by_default() -> None:
    assert align([["a", "b"], ["100", "1"]]) == ["  a  b", "100  1"]


def test_a_line_has_no_spaces_at_its_end() -> None:
    assert align([["a", "long text"], ["b", "short"]], text_columns={0, 1}) == ["a  long text", "b  short"]
