"""The layout of records, which depends on the width of the terminal."""

import pytest

from charlm.cli.layout import Record, lay_out
from charlm.cli.table import text_width

HEADS = Record("run", ["nats", "step"], ["model.units", "seed"])
FIRST = [Record("runs/first", ["1.5000", "1,000"], ["8", None]), Record("runs/b", ["2.0000", None], ["16", "3"])]
SECOND = [Record("runs/c", [None, None], ["16", "3"])]


def lines(width: int) -> list[str]:
    (group,) = lay_out(HEADS, [FIRST], width=width)
    return group


def test_everything_is_in_columns_if_there_is_room() -> None:
    assert lines(44) == [
        "run           nats   step  model.units  seed",
        "runs/first  1.5000  1,000  8            -",
        "runs/b      2.0000      -  16           3",
    ]


def test_settings_are_listed_below_the_figures_if_there_is_room_for_these() -> None:
    assert lines(43) == [
        "run           nats   step",
        "runs/first  1.5000  1,000",
        "  model.units 8",
        "runs/b      2.0000      -",
        "  model.units 16, seed 3",
    ]


def test_name_is_above_the_figures_if_there_is_no_room_beside_them() -> None:
    assert lines(24) == [
        "    nats   step",
        "runs/first",
        "  1.5000  1,000",
        "  model.units 8",
        "runs/b",
        "  2.0000      -",
        "  model.units 16, seed 3",
    ]


def test_everything_is_listed_if_there_is_no_room_for_columns() -> None:
    assert lines(14) == [
        "runs/first",
        "  nats 1.5000,",
        "  step 1,000,",
        "  model.units",
        "  8",
        "runs/b",
        "  nats 2.0000,",
        "  model.units",
        "  16, seed 3",
    ]


def test_name_that_is_wider_than_a_line_stays_whole() -> None:
    long = Record("runs/" + "x" * 50, ["1.5000", "1,000"], ["8", "3"])
    (group,) = lay_out(HEADS, [[long]], width=40)
    assert group == ["    nats   step", long.name, "  1.5000  1,000", "  model.units 8, seed 3"]


def test_record_without_settings_has_no_line_for_them() -> None:
    (group,) = lay_out(Record("run", ["nats"], []), [[Record("a" * 40, ["1.5"], [])]], width=40)
    assert group == ["  nats", "a" * 40, "   1.5"]


def test_all_groups_have_the_layout_that_the_widest_of_them_needs() -> None:
    (alone,) = lay_out(HEADS, [SECOND], width=43)
    _, beside = lay_out(HEADS, [FIRST, SECOND], width=43)
    assert alone == ["run     nats  step  model.units  seed", "runs/c     -     -  16           3"]
    assert beside == ["run     nats  step", "runs/c     -     -", "  model.units 16, seed 3"]


@pytest.mark.parametrize("width", range(4, 60))
def test_no_line_is_wider_than_the_terminal_but_for_names(width: int) -> None:
    groups = lay_out(HEADS, [FIRST, SECOND], width=width)
    names = {record.name for record in (*FIRST, *SECOND)}
    assert all(text_width(line) <= width for group in groups for line in group if line not in names)
