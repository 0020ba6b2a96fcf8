"""The event files of a run, read with TensorBoard's own reader."""

import contextlib
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_folders import read_events, read_metrics
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.util.tensor_util import make_ndarray

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


def test_an_event_file_is_cut_before_a_later_step_and_before_what_is_damaged(tmp_path: Path) -> None:
    with contextlib.closing(RunLog(tmp_path)) as log:
        for step in (5, 10, 15):
            log.show_text("sample", "x", step=step)
    (path,) = tmp_path.glob("events.*")
    whole, steps = path.read_bytes(), [0, 0, 5, 10, 15]
    for data, step, kept in (
        *((whole, 12, 4), (whole, 99, 5), (whole, -1, 0)),
        *((whole[:-size], 99, 4) for size in (1, 9)),
        *((whole + more, 99, 5) for more in (b"\xff" * 40, (9).to_bytes(8, "little") + b"\xff" * 17)),  # no event
    ):
        path.write_bytes(data)
        cut_events(path, step=step)
        assert whole.startswith(path.read_bytes())
        assert [event.step for event in EventFileLoader(str(path)).Load()] == steps[:kept]
