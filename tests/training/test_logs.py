"""The event files of a run, read with TensorBoard's own reader."""

import contextlib
import io
import time
from pathlib import Path
from typing import Any

import pytest
from run_folders import (
    EVENT_FOLDERS,
    event_files,
    event_steps,
    flip_bit,
    metrics_line,
    names,
    read_events,
)
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.summary.writer.record_writer import RecordWriter

from charlm.evaluation.baselines import NGRAM
from charlm.events import Event, LogDamaged
from charlm.training.event_files import cut_events, new_event_file
from charlm.training.logs import LOSS_FOLDERS, RunLog, remove_events


@pytest.fixture(scope="module")
def events(trained_run: Path) -> dict[str, Any]:
    """Return everything that TensorBoard reads in each folder of a run."""
    pytest.importorskip("tensorflow", reason="the engine writes the events of these tests")
    return {name: read_events(trained_run / name) for name in EVENT_FOLDERS}


# The events of a trained run


def text_of(events: dict[str, Any], tag: str) -> str:
    """Return the last text of a tag, which is a code block."""
    block = events["."].Tensors(tag)[-1].tensor_proto.string_val[0].decode()
    lines = block.splitlines()
    assert all(line.startswith("    ") for line in lines)
    return "\n".join(line[4:] for line in lines)


def test_the_config_is_that_of_the_run(events: dict[str, Any], trained_run: Path) -> None:
    config = (trained_run / "config.yaml").read_text(encoding="utf-8")
    assert text_of(events, "config") + "\n" == config


def test_a_sample_has_its_whole_length(events: dict[str, Any]) -> None:
    assert len(text_of(events, "sample")) == pytest.approx(80, abs=1)  # a last line break


AT_LOGS = [
    "train/loss",
    "./optimization/gradient_norm",
    "./optimization/learning_rate",
    "./speed/characters_per_second",
]
AT_EVALUATIONS = [
    "validation/loss",
    "./sample",
    "./spectral_radius/layer_0",
    "./saturation/layer_0",
    "./state/layer_0",
    "./reach_of_gradient/layer_0",
    "./weights/rnn.0.kernel",
    "./weights/rnn.0.recurrent_kernel",
    "./weights/rnn.0.bias",
    "./weights/logits.kernel",
    "./weights/logits.bias",
]


@pytest.mark.usefixtures("events")
def test_each_tag_is_written_at_every_log_or_evaluation(trained_run: Path) -> None:
    expected = {"./config": [0], "5-gram/loss": [0, 30, 60]}
    expected |= {tag: [10, 20, 30, 40, 50, 60] for tag in AT_LOGS}
    expected |= {tag: [30, 60] for tag in AT_EVALUATIONS}
    assert event_steps(trained_run) == expected


def test_the_loss_is_the_first_group_of_charts() -> None:
    charts = {*AT_LOGS, *AT_EVALUATIONS} - {"./sample"}
    assert min(tag.split("/")[1] for tag in charts) == "loss"


# The folders


def log_losses(folder: Path, *steps: int, at: int = -1) -> None:
    """Continue the logs of a run at a step, and log its losses and learning rate at some steps."""
    with contextlib.closing(RunLog(folder, step=at, evaluated_step=at)) as log:
        for step in steps:
            log.log({"step": step, "split": "train", "nats_per_char": 1.5, "learning_rate": 0.5})
            log.log({"step": step, "split": "validation", "nats_per_char": 1.5})
            log.show_loss(NGRAM, 1.5, step=step)


def reopen_log(folder: Path, *, step: int, evaluated_step: int | None = None) -> list[Event]:
    """Continue the logs of a run at a step, without new lines; return the events."""
    happened: list[Event] = []
    evaluated_step = step if evaluated_step is None else evaluated_step
    RunLog(folder, step=step, evaluated_step=evaluated_step, on_event=happened.append).close()
    return happened


LOSSES = ("train/loss", "validation/loss", "5-gram/loss")
TAGS = (*LOSSES, "./optimization/learning_rate")


def test_a_log_without_events_leaves_no_folder(tmp_path: Path) -> None:
    log_losses(tmp_path)
    assert names(tmp_path) == ["metrics.jsonl"]


def test_a_run_without_validation_text_has_no_folder_for_it(tmp_path: Path) -> None:
    with contextlib.closing(RunLog(tmp_path)) as log:
        log.log({"step": 5, "split": "train", "nats_per_char": 1.5})
    assert [*event_files(tmp_path)] == ["train"]


def test_a_resumed_run_has_each_step_once_in_every_folder(tmp_path: Path) -> None:
    log_losses(tmp_path, 5, 10, 15)
    log_losses(tmp_path, 15, 20, at=10)
    assert event_steps(tmp_path) == {tag: [5, 10, 15, 20] for tag in TAGS}


def test_an_evaluation_that_is_repeated_is_removed(tmp_path: Path) -> None:
    log_losses(tmp_path, 5, 10)
    reopen_log(tmp_path, step=10, evaluated_step=5)
    steps = event_steps(tmp_path)
    assert [steps[tag] for tag in LOSSES] == [[5, 10], [5], [5]]


@pytest.mark.parametrize("folder", [".", *LOSS_FOLDERS])
def test_damage_in_an_event_file_is_reported(folder: str, tmp_path: Path) -> None:
    log_losses(tmp_path, 5, 10)
    (path,) = (tmp_path / folder).glob("events.*")
    span = spans_of(path)[2]
    flip_bit(path, span[DATA])
    assert reopen_log(tmp_path, step=10) == [LogDamaged(path, len(span), "byte")]


def test_all_events_of_a_run_are_removed(tmp_path: Path) -> None:
    log_losses(tmp_path, 5)
    remove_events(tmp_path)
    assert names(tmp_path) == ["metrics.jsonl"]


# The names of event files


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(100.0, id="a clock that begins in 1970"),
        pytest.param(time.time() - 3600, id="an hour behind"),
        pytest.param(time.time() + 3600, id="an hour ahead"),
    ],
)
def test_tensorboard_reads_the_events_of_a_resumed_run_whatever_the_clock_was(
    seconds: float,
    tmp_path: Path,
) -> None:
    log_losses(tmp_path, 5)
    for path in tmp_path.rglob("events.*"):
        path.rename(path.with_name(f"events.out.tfevents.{int(1e9 * seconds):019}"))
    log_losses(tmp_path, 10, at=5)
    assert event_steps(tmp_path) == {tag: [5, 10] for tag in TAGS}


@pytest.mark.parametrize(
    ("existing", "number"),
    [
        pytest.param("", "0000000100000000000", id="the first file"),
        pytest.param("0000000099000000000", "0000000100000000000", id="older"),
        pytest.param("0000000100000000000", "0000000100000000001", id="of the same moment"),
        pytest.param("0000000300000000000 0000000200000000000", "0000000300000000001", id="ahead"),
        pytest.param(
            "0000000300000000000.copy x",
            "0000000100000000000",
            id="names without a number",
        ),
    ],
)
def test_an_event_file_is_named_by_the_time_but_sorts_last(
    existing: str,
    number: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 100_000_000_000)
    for suffix in existing.split():
        (tmp_path / f"events.out.tfevents.{suffix}").touch()
    assert new_event_file(tmp_path) == tmp_path / f"events.out.tfevents.{number}"


# Cutting


@pytest.fixture
def event_file(tmp_path: Path) -> Path:
    """Write an event file with events of steps 0, 0, 5, 10 and 15; the first two begin the file."""
    with contextlib.closing(RunLog(tmp_path)) as log:
        for step in (5, 10, 15):
            log.show_text("sample", "x", step=step)
    (path,) = tmp_path.glob("events.*")
    return path


def spans_of(path: Path) -> list[range]:
    """Return the span of each event of a file, by TensorFlow's description of the format."""
    data = path.read_bytes()
    spans: list[range] = []
    start = 0
    while start < len(data):
        stop = start + 8 + 4 + int.from_bytes(data[start : start + 8], "little") + 4
        spans.append(range(start, stop))
        start = stop
    return spans


def steps_in(path: Path) -> list[int]:
    """Return the steps of the events that TensorBoard reads in an event file."""
    return [event.step for event in EventFileLoader(str(path)).Load()]


@pytest.mark.parametrize(
    ("step", "kept"),
    [
        pytest.param(99, [0, 0, 5, 10, 15], id="none"),
        pytest.param(15, [0, 0, 5, 10, 15], id="none after the last"),
        pytest.param(12, [0, 0, 5, 10], id="the last"),
        pytest.param(0, [0, 0], id="all with a step"),
        pytest.param(-1, [], id="all"),
    ],
)
def test_events_of_later_steps_are_removed(step: int, kept: list[int], event_file: Path) -> None:
    assert cut_events(event_file, step=step) == 0
    assert steps_in(event_file) == kept


@pytest.mark.parametrize(
    "kept_bytes",
    [
        pytest.param(0, id="nothing of it"),
        pytest.param(1, id="a byte"),
        pytest.param(11, id="part of its head"),
        pytest.param(12, id="its head"),
        pytest.param(40, id="part of its data"),
        pytest.param(-1, id="all but a byte"),
    ],
)
def test_an_unfinished_event_is_removed_without_a_report(kept_bytes: int, event_file: Path) -> None:
    data = event_file.read_bytes()
    last = spans_of(event_file)[-1]
    event_file.write_bytes(data[: last.start + kept_bytes % len(last)])
    assert cut_events(event_file, step=99) == 0
    assert event_file.read_bytes() == data[: last.start]


DATA = 15
"""Position in a record of a byte of its data."""


@pytest.mark.parametrize(
    "position",
    [pytest.param(DATA, id="data"), pytest.param(-1, id="checksum")],
)
@pytest.mark.parametrize(
    ("damaged", "kept"),
    [
        pytest.param([1], [0, 5, 10, 15], id="second"),
        pytest.param([3], [0, 0, 5, 15], id="in the middle"),
        pytest.param([2, 3], [0, 0, 15], id="two in a row"),
        pytest.param([2, 4], [0, 0, 10], id="two apart"),
        pytest.param([4], [0, 0, 5, 10], id="last"),
    ],
)
def test_only_damaged_events_are_removed(
    position: int,
    damaged: list[int],
    kept: list[int],
    event_file: Path,
) -> None:
    spans = [spans_of(event_file)[index] for index in damaged]
    for span in spans:
        flip_bit(event_file, span[position])
    assert cut_events(event_file, step=99) == sum(map(len, spans))
    assert steps_in(event_file) == kept


def test_a_record_that_is_no_event_is_removed(event_file: Path) -> None:
    whole = event_file.read_bytes()
    middle = spans_of(event_file)[3].start
    foreign = io.BytesIO()
    RecordWriter(foreign).write(b"\xff" * 9)
    event_file.write_bytes(whole[:middle] + foreign.getvalue() + whole[middle:])
    assert cut_events(event_file, step=99) == 8 + 4 + 9 + 4
    assert event_file.read_bytes() == whole


@pytest.mark.parametrize(
    "position",
    [pytest.param(0, id="length"), pytest.param(11, id="checksum of the length")],
)
def test_a_damaged_length_loses_the_rest_of_the_file(position: int, event_file: Path) -> None:
    spans = spans_of(event_file)
    flip_bit(event_file, spans[3][position])
    assert cut_events(event_file, step=99) == len(spans[3]) + len(spans[4])
    assert steps_in(event_file) == [0, 0, 5]


def test_damage_after_a_later_step_is_not_reported(event_file: Path) -> None:
    flip_bit(event_file, spans_of(event_file)[4][DATA])
    assert cut_events(event_file, step=7) == 0
    assert steps_in(event_file) == [0, 0, 5]


def test_a_resume_does_not_report_sound_event_files(event_file: Path) -> None:
    assert reopen_log(event_file.parent, step=5) == []


def test_a_resume_reports_damaged_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(metrics_line(step=1) + "damaged\n[]\n" + metrics_line(step=2), encoding="utf-8")
    assert reopen_log(tmp_path, step=2) == [LogDamaged(path, 2, "line")]
