"""metrics.jsonl: the lines that a resumed run keeps, and how far a run is according to it."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from run_folders import metrics_line

from charlm.checks import to_number
from charlm.runs.logs import keep_lines, to_line
from charlm.runs.summary import read_position

FIRST = metrics_line(step=1)
SECOND = metrics_line(step=2)
EVALUATION = metrics_line(step=2, split="validation")
LATER = metrics_line(step=3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a metrics.jsonl that does not exist."""
    return tmp_path / "metrics.jsonl"


@pytest.mark.parametrize(
    ("step", "kept"),
    [
        pytest.param(9, [FIRST, SECOND, EVALUATION, LATER], id="none is later"),
        pytest.param(2, [FIRST, SECOND, EVALUATION], id="one is later"),
        pytest.param(0, [], id="all are later"),
    ],
)
def test_lines_of_later_steps_are_removed(step: int, kept: list[str], path: Path) -> None:
    path.write_text("".join([FIRST, SECOND, EVALUATION, LATER]), encoding="utf-8")
    keep_lines(path, step=step)
    assert path.read_text(encoding="utf-8") == "".join(kept)


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([FIRST, "damaged\n", SECOND], id="no JSON"),
        pytest.param([FIRST, "[1]\n", SECOND], id="no object"),
        pytest.param([FIRST, "\xff\xfe\n", SECOND], id="no UTF-8"),
        pytest.param([FIRST, 9999 * "[" + "\n", SECOND], id="deep"),
        pytest.param([FIRST, SECOND, '{"step": 2, "spl'], id="without an end"),
        pytest.param([FIRST, SECOND, '{"step": 2}'], id="without its line break"),
    ],
)
def test_damaged_lines_are_removed(lines: list[str], path: Path) -> None:
    path.write_text("".join(lines), encoding="latin-1")
    keep_lines(path, step=2)
    assert path.read_text(encoding="utf-8") == FIRST + SECOND


# Lines


def test_a_number_that_is_not_finite_is_written_as_null() -> None:
    line = to_line({"a": math.nan, "b": math.inf, "c": -math.inf, "d": 1.5})
    assert json.loads(line) == {"a": None, "b": None, "c": None, "d": 1.5}
    assert line.endswith(b"}\n")


@pytest.mark.parametrize("value", [0, 0.5, 10**18 - 1])
def test_a_number_from_0_to_below_1e18_is_read(value: float) -> None:
    assert to_number(value) == value


@pytest.mark.parametrize("value", [None, "1", True, [1], math.nan, -math.inf, -3, 1e30, 10**18])
def test_any_other_value_is_read_as_none(value: Any) -> None:
    assert to_number(value) is None


# The position


@pytest.mark.parametrize(
    ("lines", "position"),
    [
        pytest.param(
            [
                metrics_line(characters=10, seconds=1.0),
                metrics_line(characters=30, seconds=2.0),
                "3\n",
                '{"characters": 90, "seconds": 9',
            ],
            (None, 2.0),
            id="whole lines",
        ),
        pytest.param([metrics_line(step=3)], (3, None), id="no time"),
    ],
)
def test_the_position_is_that_of_the_last_whole_line(
    lines: list[str],
    position: tuple[float | None, ...],
    path: Path,
) -> None:
    path.write_text("".join(lines), encoding="utf-8")
    assert read_position(path) == position
