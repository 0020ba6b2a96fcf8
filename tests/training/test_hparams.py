"""TensorBoard's table of runs, read with TensorBoard's own parsers."""

from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.hparams import api_pb2, metadata

from charlm.config.file import parse_config
from charlm.config.schema import Config
from charlm.training.hparams import FILE, METRICS, Value, experiment, session_end, settings_beyond_defaults, write_row


def config(**values: Any) -> Config:
    return parse_config(values, origin="test")


def read_row(folder: Path) -> Any:
    """Return the session_start_info in the row of a folder."""
    events = [Event.FromString(record) for record in RawEventFileLoader(str(folder / FILE)).Load()]
    (value,) = [value for event in events for value in event.summary.value]
    assert value.tag == metadata.SESSION_START_INFO_TAG
    return metadata.parse_session_start_info_plugin_data(value.metadata.plugin_data.content)


def test_only_settings_that_are_not_the_defaults_are_shown_and_the_text() -> None:
    found = settings_beyond_defaults(
        config(model={"units": 7, "skip_connections": True}, training={"epochs": 10, "parts": 4}), text="a.txt"
    )
    assert found == {"text": "a.txt", "model.units": 7, "model.skip_connections": True}


def test_arguments_of_an_optimizer_and_mappings_are_shown() -> None:
    found = settings_beyond_defaults(
        config(
            training={"steps": 5, "optimizer": {"name": "adamw", "weight_decay": 0.1}},
            model={"rnn": {"kernel_regularizer": {"class_name": "L2"}}},
        ),
        text="a.txt",
    )
    assert found["training.optimizer.weight_decay"] == 0.1
    assert found["training.epochs"] == "None"
    assert found["model.rnn.kernel_regularizer"] == "{'class_name': 'L2'}"


def test_a_row_has_the_name_of_its_run_and_is_replaced(tmp_path: Path) -> None:
    write_row(tmp_path, {"text": "a", "model.units": 7, "training.shuffle": True}, run="first")
    row = read_row(tmp_path)
    assert row.group_name == "first"
    assert row.hparams["model.units"].number_value == 7
    assert row.hparams["training.shuffle"].bool_value is True
    assert row.hparams["text"].string_value == "a"
    write_row(tmp_path, {"text": "a"}, run="first")
    assert list(read_row(tmp_path).hparams) == ["text"]


def test_the_end_says_that_the_run_is_complete() -> None:
    (value,) = session_end().value
    end = metadata.parse_session_end_info_plugin_data(value.metadata.plugin_data.content)
    assert end.status == api_pb2.STATUS_SUCCESS
    assert end.end_time_secs > 1e9


def test_the_columns_are_those_of_all_runs_with_the_score_first() -> None:
    runs: list[dict[str, Value]] = [
        {"text": "a", "model.units": 7, "x": 1},
        {"text": "a", "model.units": 8, "x": "none"},
        {"text": "a"},
    ]
    (value,) = experiment(runs).value
    found = metadata.parse_experiment_plugin_data(value.metadata.plugin_data.content)
    assert [metric.name.tag for metric in found.metric_infos] == [*METRICS]
    assert METRICS[0] == "best_nats_per_char"
    columns = {info.name: (info.type, info.differs) for info in found.hparam_infos}
    assert columns == {
        "text": (api_pb2.DATA_TYPE_STRING, False),
        "model.units": (api_pb2.DATA_TYPE_FLOAT64, True),
        "x": (api_pb2.DATA_TYPE_STRING, True),
    }
