"""The logs of a run: metrics.jsonl, and event files, read with TensorBoard's own reader."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from limits import file_size_limit
from run_folders import EVENT_FOLDERS, event_files, event_steps, names, read_events, read_metrics
from tensorboard.util.tensor_util import make_ndarray

from charlm.errors import CharlmError
from charlm.runs.logs import RunLog, description


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


AT_LOGS = [
    "train/loss",
    "./optimization/gradient_norm",
    "./optimization/learning_rate",
    "./speed/characters_per_second",
]
AT_EVALUATIONS = [
    "validation/loss",
    "8-gram/loss",
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
    expected = {"./config": [0]}
    expected |= {tag: [*range(6, 61, 6)] for tag in AT_LOGS}
    expected |= {tag: [30, 60] for tag in AT_EVALUATIONS}
    assert event_steps(trained_run) == expected


def test_each_chart_that_needs_it_is_explained(events: dict[str, Any]) -> None:
    explained = {
        f"{name}/{tag}": metadata.summary_description
        for name, folder in events.items()
        for tag in folder.Tags()["tensors"]
        if (metadata := folder.SummaryMetadata(tag)).summary_description
    }
    plain = ("./speed", "./optimization/learning_rate", "./sample", "./weights")
    charts = [tag for tag in (*AT_LOGS, *AT_EVALUATIONS) if not tag.startswith(plain)]
    assert explained.keys() == {*charts}
    assert explained["./state/layer_0"].startswith("Outputs h of the units")


def test_a_tag_without_an_explanation_has_none() -> None:
    assert description("weights/rnn.0.kernel") is None


def test_the_loss_is_the_first_group_of_charts(events: dict[str, Any]) -> None:
    """TensorBoard sorts groups by name."""
    tags = {tag for folder in events.values() for tag in folder.Tags()["tensors"]}
    assert min(tags - {"config", "sample"}) == "loss"


# Entries


@pytest.fixture
def log(tmp_path: Path) -> Any:
    """Open the logs of a run."""
    return RunLog(tmp_path, None)


def log_step(log: RunLog, step: int) -> None:
    """Log the losses of a step, and its learning rate."""
    log.log({"step": step, "split": "train", "nats_per_char": 1.5, "learning_rate": 0.5})
    log.log({"step": step, "split": "validation", "nats_per_char": 2.5})


def test_entries_are_written_with_the_state_that_they_describe(log: RunLog, tmp_path: Path) -> None:
    log_step(log, 5)
    log_step(log, 10)
    assert names(tmp_path) == []
    log.write()
    log_step(log, 15)
    log.write()
    assert [line["step"] for line in read_metrics(tmp_path)] == [5, 5, 10, 10, 15, 15]
    tags = ("train/loss", "validation/loss", "./optimization/learning_rate")
    assert event_steps(tmp_path) == {tag: [5, 10, 15] for tag in tags}
    events = read_events(tmp_path / "train").Tensors("loss")
    assert [event.step for event in events] == [5, 10, 15]
    assert {len(files) for files in event_files(tmp_path).values()} == {1}


def test_entries_are_on_the_disk_when_they_are_written(
    log: RunLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_size))
    log_step(log, 5)
    log.write()
    assert sorted(synced) == sorted(path.stat().st_size for path in tmp_path.rglob("*.*"))


def test_a_full_disk_is_reported_for_each_file(log: RunLog, tmp_path: Path) -> None:
    """The explanations in an event file make it larger than the line."""
    log_step(log, 5)
    for limit, path in ((10, tmp_path / "metrics.jsonl"), (250, tmp_path / "train")):
        with file_size_limit(limit), pytest.raises(CharlmError) as full:
            log.write()
        assert str(full.value).startswith(str(path))
        assert str(full.value).endswith(": cannot be written: File too large")


def test_a_log_without_events_has_no_event_file(log: RunLog, tmp_path: Path) -> None:
    log.write()
    assert names(tmp_path) == ["metrics.jsonl"]


@pytest.mark.parametrize(("nats", "expected"), [(np.log(2), 1.0), (np.inf, None), (0.0, 0.0)])
def test_a_line_has_the_loss_in_bits(
    nats: float, expected: float | None, log: RunLog, tmp_path: Path
) -> None:
    log.log({"step": 1, "split": "train", "nats_per_char": nats})
    log.write()
    (line,) = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["bits_per_char"] == expected


def test_a_histogram_leaves_out_values_that_are_not_finite(log: RunLog, tmp_path: Path) -> None:
    log.show_histogram("state/layer_0", np.array([[1, np.nan], [-np.inf, 3]], np.float32), step=1)
    log.write()
    (event,) = read_events(tmp_path).Tensors("state/layer_0")
    assert make_ndarray(event.tensor_proto)[:, 2].sum() == 2
