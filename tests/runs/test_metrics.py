"""Writing metrics.jsonl, and reading the speed of a run from it."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from limits import memory_limit
from run_folders import metrics_line

from charlm.runs.metrics import cut_metrics, read_position, to_line, to_number


def read(tmp_path: Path, *lines: str) -> tuple[float | None, float | None, float | None]:
    """Return how far a run is according to these contents of metrics.jsonl."""
    (tmp_path / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    return read_position(tmp_path / "metrics.jsonl")


def test_a_number_that_is_not_finite_is_null() -> None:
    metrics = {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 1.5}
    assert json.loads(to_line(metrics)) == {"a": None, "b": None, "c": None, "d": 1.5}
    assert to_line(metrics).endswith(b"}\n")


# Reading


def test_speed_is_that_of_the_last_line_with_a_time_and_the_step_that_of_the_last_whole_line(tmp_path: Path) -> None:
    lines = [metrics_line(characters=10, seconds=1.0), metrics_line(characters=30, seconds=2.0), '{"step": 5}\n']
    half = '{"characters": 90, "seconds": 9'
    assert read(tmp_path, *lines, half) == (5, 2.0, 15.0)
    assert read(tmp_path, metrics_line(step=3)) == (3, None, None)


def test_only_the_end_of_a_file_of_ten_gigabytes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with path.open("wb") as file:
        file.seek(10 << 30)  # takes no room on the disk
        file.write(b"\n" + metrics_line(characters=30, seconds=2.0).encode())
    with memory_limit(20_000_000):
        assert read_position(path) == (None, 2.0, 15.0)


def test_a_damaged_line_is_cut_with_those_after_it_and_a_file_that_is_missing_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    cut_metrics(path, step=9, evaluated_step=9)
    assert not path.exists()
    path.write_text(metrics_line(step=1) + "damaged\n" + metrics_line(step=2), encoding="utf-8")
    cut_metrics(path, step=9, evaluated_step=9)
    assert path.read_text(encoding="utf-8") == metrics_line(step=1)


@pytest.mark.parametrize("value", [None, "1", True, [1], math.nan, -math.inf, -3, 1e30, 10**18])
def test_value_that_is_not_a_number_from_0_to_below_1e18_is_none(value: Any) -> None:
    assert to_number(value) is None
    assert [to_number(each) for each in (0, 0.5, 10**18 - 1)] == [0, 0.5, 10**18 - 1]
