"""The log files of a run: their contents, and how they are cut to the sizes in a checkpoint."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from fake_engine import interrupt_after
from fake_runs import resume, train
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from charlm.errors import CharlmError
from charlm.network.bundle import read_bundle
from charlm.training.logs import RunLogs, rewind

SIZES = {"metrics.jsonl": 5, "tensorboard/events.out.tfevents.1": 7}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", ["metrics.jsonl", "tensorboard/events.out.tfevents.1", "tensorboard"])
def test_a_link_among_the_log_files_is_refused_and_nothing_is_cut(name: str, tmp_path: Path) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    (run / "tensorboard").mkdir(parents=True)
    for log in SIZES:
        (run / log).write_text("0123456789")
    (run / name).rename(elsewhere)
    (run / name).symlink_to(elsewhere)
    with pytest.raises(CharlmError, match=f"{name}: is a link"):
        rewind(run, SIZES)
    assert {(run / log).read_text() for log in SIZES} == {"0123456789"}


def test_rewinding_cuts_log_files_and_removes_later_event_files(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").mkdir()
    for name in ("metrics.jsonl", "tensorboard/events.out.tfevents.1", "tensorboard/events.out.tfevents.2"):
        (tmp_path / name).write_text("0123456789")
    (tmp_path / "tensorboard/notes.txt").write_text("mine")
    rewind(tmp_path, SIZES)
    assert (tmp_path / "metrics.jsonl").read_text() == "01234"
    assert (tmp_path / "tensorboard/events.out.tfevents.1").read_text() == "0123456"
    assert names(tmp_path / "tensorboard") == ["events.out.tfevents.1", "notes.txt"]


def test_rewinding_to_the_start_leaves_an_empty_metrics_file_and_no_event_file(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").mkdir()
    for name in ("metrics.jsonl", "tensorboard/events.out.tfevents.1"):
        (tmp_path / name).write_text("0123456789")
    rewind(tmp_path, {})
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""
    assert names(tmp_path / "tensorboard") == []


def test_rewinding_never_makes_a_file_longer(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("012")
    rewind(tmp_path, SIZES)
    assert (tmp_path / "metrics.jsonl").read_text() == "012"


def read_events(run: Path) -> Any:
    events = event_accumulator.EventAccumulator(str(run / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    return events


def read_metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def steps_of(run: Path, tag: str) -> list[int]:
    return [event.step for event in read_events(run).Tensors(tag)]


def test_a_figure_that_is_not_finite_is_null_in_metrics_jsonl(tmp_path: Path) -> None:
    logs = RunLogs(tmp_path)
    logs.log({"step": 3, "split": "validation", "nats_per_char": math.nan, "gradient_norm": math.inf})
    logs.close()
    assert read_metrics(tmp_path) == [
        {"step": 3, "split": "validation", "nats_per_char": None, "gradient_norm": None, "bits_per_char": None}
    ]


def test_an_event_is_written_to_both_logs(tmp_path: Path) -> None:
    logs = RunLogs(tmp_path)
    logs.note({"event": "rollback", "step": 20, "from_step": 25})
    logs.close()
    assert read_metrics(tmp_path) == [{"event": "rollback", "step": 20, "from_step": 25}]
    assert steps_of(tmp_path, "rollback") == [20]
    assert b"    from_step: 25" in read_events(tmp_path).Tensors("rollback")[0].tensor_proto.string_val[0]


def test_a_resumed_run_logs_every_step_once(tmp_path: Path) -> None:
    alone = train(tmp_path / "run", "sampling.length=8")
    metrics = read_metrics(alone.folder)
    shutil.rmtree(alone.folder / "checkpoints/step-000000050")  # as if it had crashed before
    resume(alone.folder)
    assert steps_of(alone.folder, "nats_per_char/train") == [*range(5, 51, 5)]
    assert steps_of(alone.folder, "nats_per_char/validation") == [*range(10, 51, 10)]
    assert steps_of(alone.folder, "sample") == [*range(10, 51, 10)]
    assert [line["step"] for line in read_metrics(alone.folder)] == [line["step"] for line in metrics]


def test_a_continued_run_appends_to_its_logs(tmp_path: Path) -> None:
    trained = train(tmp_path / "run")
    resume(trained.folder, "training.steps=70")
    assert steps_of(trained.folder, "nats_per_char/train") == [*range(5, 71, 5)]
    assert read_bundle(trained.folder / "last").facts["step"] == 70


def test_sampling_can_be_turned_off_on_resume(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", "sampling.length=8")
    resume(trained.folder, "training.steps=70", "sampling.length=0")
    assert steps_of(trained.folder, "sample") == [*range(10, 51, 10)]


def row_of(run: Path) -> Any:
    content = read_events(run).summary_metadata["_hparams_/session_start_info"].plugin_data.content
    return plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info


def test_a_run_resumed_with_other_steps_shows_them_and_is_complete_again(tmp_path: Path) -> None:
    trained = train(tmp_path / "run")
    assert row_of(trained.folder).hparams["training.steps"].number_value == 50
    interrupted = resume(trained.folder, "training.steps=70", faults=interrupt_after(60))
    assert interrupted.outcome.signal is not None
    assert row_of(trained.folder).hparams["training.steps"].number_value == 70
    assert "_hparams_/session_end_info" not in read_events(trained.folder).summary_metadata
    resume(trained.folder)
    assert "_hparams_/session_end_info" in read_events(trained.folder).summary_metadata


def test_the_change_of_a_step_is_logged_at_every_evaluation_however_calls_are_grouped(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", "training.steps_per_call=7", "training.evaluate_every=9")
    assert steps_of(trained.folder, "update_norm/logits") == [9, 18, 27, 36, 45, 50]
