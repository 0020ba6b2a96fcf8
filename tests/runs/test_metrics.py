"""Which lines of a metrics.jsonl stay when a run goes on."""

from pathlib import Path

import pytest
from limits import file_size_limit
from run_folders import contents, metrics_line

from charlm.errors import CharlmError
from charlm.runs.metrics import cut_metrics

FIRST = metrics_line(step=1)
SECOND = metrics_line(step=2)
EVALUATION = metrics_line(step=2, split="validation")
LATER = metrics_line(step=3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a metrics.jsonl is; it is missing."""
    return tmp_path / "metrics.jsonl"


@pytest.mark.parametrize(
    ("step", "evaluated_step", "kept"),
    [
        pytest.param(9, 9, [FIRST, SECOND, EVALUATION, LATER], id="none is later"),
        pytest.param(2, 2, [FIRST, SECOND, EVALUATION], id="one is later"),
        pytest.param(2, 1, [FIRST, SECOND], id="the evaluation is repeated"),
        pytest.param(0, 0, [], id="all are later"),
        pytest.param(-1, -1, [], id="nothing has been logged"),
    ],
)
def test_lines_of_later_steps_are_removed(
    step: int, evaluated_step: int, kept: list[str], path: Path
) -> None:
    path.write_text("".join([FIRST, SECOND, EVALUATION, LATER]), encoding="utf-8")
    assert cut_metrics(path, step=step, evaluated_step=evaluated_step) == 0
    assert path.read_text(encoding="utf-8") == "".join(kept)


@pytest.mark.parametrize(
    ("lines", "kept", "damaged"),
    [
        pytest.param([FIRST, "damaged\n", SECOND], [FIRST, SECOND], 1, id="no JSON"),
        pytest.param([FIRST, "\n", SECOND], [FIRST, SECOND], 1, id="empty"),
        pytest.param([FIRST, "[1]\n", SECOND], [FIRST, SECOND], 1, id="no object"),
        pytest.param([FIRST, "\0" * 9 + "\n", SECOND], [FIRST, SECOND], 1, id="zeros"),
        pytest.param([FIRST, 9999 * "[" + "\n", SECOND], [FIRST, SECOND], 1, id="deep"),
        pytest.param(["x\n", FIRST, "x\n", "x\n", SECOND], [FIRST, SECOND], 3, id="several"),
        pytest.param([FIRST, SECOND, "x\n"], [FIRST, SECOND], 1, id="last"),
        pytest.param(["x\n"], [], 1, id="only"),
        pytest.param([FIRST, LATER, "x\n"], [FIRST], 0, id="after a later step"),
        pytest.param([FIRST, SECOND, '{"step": 2, "spl'], [FIRST, SECOND], 0, id="without an end"),
        pytest.param(
            [FIRST, SECOND, '{"step": 2}'], [FIRST, SECOND], 0, id="without its line break"
        ),
        pytest.param(
            [FIRST, "x\n", SECOND, "{"], [FIRST, SECOND], 1, id="damaged, then one without an end"
        ),
        pytest.param([], [], 0, id="empty file"),
    ],
)
def test_damaged_lines_are_removed_alone(
    lines: list[str], kept: list[str], damaged: int, path: Path
) -> None:
    path.write_text("".join(lines), encoding="utf-8")
    assert cut_metrics(path, step=2, evaluated_step=2) == damaged
    assert path.read_text(encoding="utf-8") == "".join(kept)


def test_a_line_that_is_no_text_is_removed_alone(path: Path) -> None:
    path.write_bytes(FIRST.encode() + b"\xff\xfe\n" + SECOND.encode())
    assert cut_metrics(path, step=2, evaluated_step=2) == 1
    assert path.read_text(encoding="utf-8") == FIRST + SECOND


def test_a_file_that_is_missing_is_not_made(path: Path) -> None:
    assert cut_metrics(path, step=9, evaluated_step=9) == 0
    assert not path.exists()


def test_a_full_disk_leaves_a_damaged_file_as_it_was(path: Path) -> None:
    path.write_text(FIRST + "x\n" + SECOND, encoding="utf-8")
    before = contents(path.parent)
    with (
        file_size_limit(len(FIRST)),
        pytest.raises(CharlmError, match=r"metrics\.jsonl: cannot be written: File too"),
    ):
        cut_metrics(path, step=9, evaluated_step=9)
    assert contents(path.parent) == before
