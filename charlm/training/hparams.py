"""TensorBoard's table of runs: one row a run, with the settings that are not the defaults, and the best score.

The messages are filled here; TensorBoard's own functions for them import TensorFlow. The row of a run is in a file of
its own, which is written anew when the run is resumed with other settings: TensorBoard takes the first row it finds.
"""

import io
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from charlm.config.resume import changed_settings
from charlm.config.schema import Config
from charlm.storage.atomic import write_file

FILE = "events.hparams.tfevents"
"""Before the other event files in alphabetical order: TensorBoard may read only the last one again."""
Value = bool | float | str
TEXT = "text"
"""The name of the text, beside the settings: losses on other texts do not compare."""
METRICS = ("best_nats_per_char", "nats_per_char/validation", "nats_per_char/train", "characters_per_second")
"""The tags of the figures in the table, in order."""
_LEFT_OUT = {"training.parts"}  # the number of cores of a machine


def settings_beyond_defaults(config: Config, *, text: str) -> dict[str, Value]:
    """Return the settings that are not the defaults, by dotted keys, and the name of the text."""
    defaults = Config()
    changes = {key: new for key, (_, new) in changed_settings(defaults, config).items() if key not in _LEFT_OUT}
    found = {key: value if isinstance(value, bool | int | float) else str(value) for key, value in changes.items()}
    return {TEXT: text, **found}


def write_row(folder: Path, settings: Mapping[str, Value], *, run: str) -> None:
    """Write the row of a run, replacing the one before.

    Args:
        folder: The folder of its event files, which exists.
        settings: What `settings_beyond_defaults` returned.
        run: The name of the run, which is the id of the row.

    Raises:
        CharlmError: the file cannot be written, or is a link.

    """
    start = plugin_data_pb2.SessionStartInfo(group_name=run, start_time_secs=time.time())
    for key, value in settings.items():
        if isinstance(value, bool):
            start.hparams[key].bool_value = value
        elif isinstance(value, str):
            start.hparams[key].string_value = value
        else:
            start.hparams[key].number_value = value
    content = plugin_data_pb2.HParamsPluginData(session_start_info=start)
    write_file(folder / FILE, event_file(_summary(metadata.SESSION_START_INFO_TAG, content)))


def session_end() -> Summary:
    """Return the message that a run is complete."""
    end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=time.time())
    return _summary(metadata.SESSION_END_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_end_info=end))


def experiment(runs: Iterable[Mapping[str, Value]]) -> Summary:
    """Return the columns of a table of several runs: the score first, and every setting that one of them has.

    Args:
        runs: The settings of each run, as `settings_beyond_defaults` returns them.

    """
    values: dict[str, list[Value]] = {}
    rows = list(runs)
    for settings in rows:
        for key, value in settings.items():
            values.setdefault(key, []).append(value)
    message = api_pb2.Experiment()
    for key, found in values.items():
        info = message.hparam_infos.add(name=key, type=_common_type(found))
        info.differs = len({*found}) > 1 or len(found) < len(rows)
        if info.type != api_pb2.DATA_TYPE_FLOAT64:
            is_text = info.type == api_pb2.DATA_TYPE_STRING
            info.domain_discrete.extend(dict.fromkeys(str(value) if is_text else value for value in found))
    for tag in METRICS:
        message.metric_infos.add(name=api_pb2.MetricName(tag=tag))
    return _summary(metadata.EXPERIMENT_TAG, plugin_data_pb2.HParamsPluginData(experiment=message))


def _common_type(values: Sequence[Value]) -> int:
    """Return TensorBoard's type for the values of a column: text if they are of several types."""
    types = {bool: api_pb2.DATA_TYPE_BOOL, str: api_pb2.DATA_TYPE_STRING}
    found = {int(types.get(type(value), api_pb2.DATA_TYPE_FLOAT64)) for value in values}
    return found.pop() if len(found) == 1 else int(api_pb2.DATA_TYPE_STRING)


def event_file(summary: Summary) -> bytes:
    """Return the bytes of an event file that holds one summary."""
    file = io.BytesIO()
    writer = RecordWriter(file)
    for event in (Event(file_version="brain.Event:2"), Event(summary=summary)):
        event.wall_time = time.time()
        writer.write(event.SerializeToString())
    return file.getvalue()


def _summary(tag: str, content: plugin_data_pb2.HParamsPluginData) -> Summary:
    summary = Summary()
    summary.value.add(tag=tag, metadata=metadata.create_summary_metadata(content), tensor=metadata.NULL_TENSOR)
    return summary
