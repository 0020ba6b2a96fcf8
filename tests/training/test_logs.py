"""The event files of a run, read with TensorBoard's own reader."""

import contextlib
import io
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_folders import metrics_line, read_events, read_metrics
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_ndarray

from charlm.events import Event, LogDamaged
from charlm.network.model_file import read_model
from charlm.training.logs import RunLog, cut_events, new_event_file


def values_of(events: Any, tag: str) -> dict[int, float]:
    return {event.step: float(make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)}


@pytest.fixture(scope="module")
def events(trained_run: Path) -> Any:
    pytest.importorskip("tensorflow", reason="the engine writes what these tests read")
    return read_events(trained_run)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_scalars_are_the_figures_in_metrics_jsonl(split: str, events: Any, trained_run: Path) -> None:
    metrics = {line["step"]: line for line in read_metrics(trained_run) if line["split"] == split}
    for unit in ("nats_per_char", "bits_per_char"):
        expected = {step: line[unit] for step, line in metrics.items()}
        assert values_of(events, f"{unit}/{split}") == pytest.approx(expected)


def test_the_config_and_a_sample_are_shown_as_code_blocks(events: Any, trained_run: Path) -> None:
    config, sample = (events.Tensors(tag)[-1].tensor_proto.string_val[0].decode() for tag in ("config", "sample"))
    assert all(line.startswith("    ") for line in (*config.splitlines(), *sample.splitlines()))
    config, sample = ("\n".join(line[4:] for line in text.splitlines()) for text in (config, sample))
    assert config + "\n" == (trained_run / "config.yaml").read_text(encoding="utf-8")
    assert len(sample) == pytest.approx(80, abs=1)  # a last line break


AT_THE_BEGINNING = {"config", "custom_scalars__config__"}
AT_LOGS = {"nats_per_char/train", "bits_per_char/train", "learning_rate", "gradient_norm", "characters_per_second"}
AT_EVALUATIONS = {
    *("nats_per_char/validation", "bits_per_char/validation", "nats_per_char/5-gram", "best_nats_per_char"),
    *("spectral_radius/rnn.0", "saturated/rnn.0", "state/rnn.0", "gradient_reach/rnn.0", "sample"),
    *(f"weights/rnn.0.{name}" for name in ("kernel", "recurrent_kernel", "bias")),
    *("weights/logits.kernel", "weights/logits.bias"),
}


def test_each_tag_is_written_at_every_log_or_evaluation(events: Any) -> None:
    expected = {tag: [0] for tag in AT_THE_BEGINNING}
    expected |= {tag: [10, 20, 30, 40, 50, 60] for tag in AT_LOGS} | {tag: [30, 60] for tag in AT_EVALUATIONS}
    found = {tag: [event.step for event in events.Tensors(tag)] for tag in events.Tags()["tensors"]}
    assert found == expected


def test_the_spectral_radius_is_that_of_the_last_kernel(events: Any, trained_run: Path) -> None:
    kernel = read_model(trained_run / "last.safetensors").parameters.layers[0].recurrent_kernel
    found = values_of(events, "spectral_radius/rnn.0")[60]
    assert found == pytest.approx(np.abs(np.linalg.eigvals(kernel)).max(), rel=1e-2)


def test_the_charts_name_only_tags_that_exist(events: Any) -> None:
    tags = events.Tags()["tensors"]
    (layout,) = events.Tensors("custom_scalars__config__")
    found = layout_pb2.Layout.FromString(layout.tensor_proto.string_val[0])
    patterns = [tag for category in found.category for chart in category.chart for tag in chart.multiline.tag]
    assert len(patterns) >= 7
    for pattern in patterns:
        assert any(re.fullmatch(pattern, tag) for tag in tags), pattern


# The names of event files


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(100.0, id="a clock that begins in 1970"),
        pytest.param(time.time() - 3600, id="an hour behind"),
        pytest.param(time.time() + 3600, id="an hour ahead"),
    ],
)
def test_tensorboard_shows_the_events_of_a_resumed_run_whatever_the_clock_was(seconds: float, tmp_path: Path) -> None:
    for step in (5, 10):
        with contextlib.closing(RunLog(tmp_path, step=step - 5)) as log:
            log.show_scalar("learning_rate", 0.5, step=step)
        if step == 5:
            (first,) = tmp_path.glob("events.*")
            first.rename(tmp_path / f"events.out.tfevents.{int(1e9 * seconds):019}")
    assert values_of(read_events(tmp_path), "learning_rate") == {5: 0.5, 10: 0.5}


@pytest.mark.parametrize(
    ("existing", "expected"),
    [
        pytest.param([], "0000000100000000000", id="the first file"),
        pytest.param(["0000000099000000000"], "0000000100000000000", id="older"),
        pytest.param(["0000000100000000000"], "0000000100000000001", id="of the same moment"),
        pytest.param(["0000000300000000000", "0000000200000000000"], "0000000300000000001", id="ahead"),
        pytest.param(["0000000300000000000.copy", "x", ""], "0000000100000000000", id="names without a number"),
    ],
)
def test_an_event_file_is_named_by_the_time_and_sorts_last(
    existing: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 100_000_000_000)
    for number in existing:
        (tmp_path / f"events.out.tfevents.{number}").touch()
    assert new_event_file(tmp_path) == tmp_path / f"events.out.tfevents.{expected}"


# Cutting


STEPS = (0, 0, 5, 10, 15)
"""The steps of the events of `event_file`; the first two mark the beginning of the file."""


@pytest.fixture
def event_file(tmp_path: Path) -> Path:
    """Write an event file with an event at each of STEPS."""
    with contextlib.closing(RunLog(tmp_path)) as log:
        for step in STEPS[2:]:
            log.show_text("sample", "x", step=step)
    (path,) = tmp_path.glob("events.*")
    return path


def spans_of(path: Path) -> list[range]:
    """Return where each event of an event file begins and ends, by TensorFlow's description of the format."""
    data = path.read_bytes()
    spans: list[range] = []
    start = 0
    while start < len(data):
        stop = start + 8 + 4 + int.from_bytes(data[start : start + 8], "little") + 4
        spans.append(range(start, stop))
        start = stop
    return spans


def flip(path: Path, position: int) -> None:
    """Change a bit of a byte of a file."""
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(data)


def steps_in(path: Path) -> list[int]:
    """Return the steps of the events that TensorBoard reads in an event file."""
    return [event.step for event in EventFileLoader(str(path)).Load()]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        pytest.param(99, [0, 0, 5, 10, 15], id="none"),
        pytest.param(15, [0, 0, 5, 10, 15], id="none after the last"),
        pytest.param(12, [0, 0, 5, 10], id="the last"),
        pytest.param(0, [0, 0], id="all with a step"),
        pytest.param(-1, [], id="all"),
    ],
)
def test_events_of_later_steps_are_removed(step: int, expected: list[int], event_file: Path) -> None:
    assert cut_events(event_file, step=step) == 0
    assert steps_in(event_file) == expected


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
def test_an_event_that_was_not_written_whole_is_removed_and_no_damage(kept_bytes: int, event_file: Path) -> None:
    data = event_file.read_bytes()
    last = spans_of(event_file)[-1]
    stop = last.start + kept_bytes % len(last)
    event_file.write_bytes(data[:stop])
    assert cut_events(event_file, step=99) == 0
    assert event_file.read_bytes() == data[: last.start]


DATA = 15
"""The position in a record of a byte of its data."""
CHECKSUM = -1
"""The position in a record of the last byte of its checksum."""


@pytest.mark.parametrize("position", [pytest.param(DATA, id="data"), pytest.param(CHECKSUM, id="checksum")])
@pytest.mark.parametrize(
    ("damaged", "expected"),
    [
        pytest.param([1], [0, 5, 10, 15], id="second"),
        pytest.param([3], [0, 0, 5, 15], id="in the middle"),
        pytest.param([2, 3], [0, 0, 15], id="two in a row"),
        pytest.param([2, 4], [0, 0, 10], id="two apart"),
        pytest.param([4], [0, 0, 5, 10], id="last"),
    ],
)
def test_a_damaged_event_is_removed_alone(
    position: int, damaged: list[int], expected: list[int], event_file: Path
) -> None:
    spans = spans_of(event_file)
    for index in damaged:
        flip(event_file, spans[index][position])
    assert cut_events(event_file, step=99) == sum(len(spans[index]) for index in damaged)
    assert steps_in(event_file) == expected


def test_a_record_that_is_no_event_is_removed_alone(event_file: Path) -> None:
    whole = event_file.read_bytes()
    middle = spans_of(event_file)[3].start
    foreign = io.BytesIO()
    RecordWriter(foreign).write(b"\xff" * 9)
    event_file.write_bytes(whole[:middle] + foreign.getvalue() + whole[middle:])
    assert cut_events(event_file, step=99) == 8 + 4 + 9 + 4
    assert event_file.read_bytes() == whole


@pytest.mark.parametrize("position", [pytest.param(0, id="length"), pytest.param(11, id="checksum of the length")])
def test_a_damaged_length_loses_the_rest(position: int, event_file: Path) -> None:
    spans = spans_of(event_file)
    flip(event_file, spans[3][position])
    assert cut_events(event_file, step=99) == len(spans[3]) + len(spans[4])
    assert steps_in(event_file) == [0, 0, 5]


def test_damage_after_a_later_step_does_not_count(event_file: Path) -> None:
    flip(event_file, spans_of(event_file)[4][DATA])
    assert cut_events(event_file, step=7) == 0
    assert steps_in(event_file) == [0, 0, 5]


def test_a_run_that_goes_on_tells_of_damaged_event_files(event_file: Path) -> None:
    span = spans_of(event_file)[3]
    flip(event_file, span[DATA])
    happened: list[Event] = []
    RunLog(event_file.parent, step=15, on_event=happened.append).close()
    assert happened == [LogDamaged(event_file, len(span), "byte")]


def test_a_run_that_goes_on_is_silent_about_sound_event_files(event_file: Path) -> None:
    happened: list[Event] = []
    RunLog(event_file.parent, step=5, on_event=happened.append).close()
    assert happened == []


def test_a_run_that_goes_on_tells_of_damaged_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(metrics_line(step=1) + "damaged\n[]\n" + metrics_line(step=2), encoding="utf-8")
    happened: list[Event] = []
    RunLog(tmp_path, step=2, on_event=happened.append).close()
    assert happened == [LogDamaged(path, 2, "line")]
