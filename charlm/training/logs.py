"""The logs of a run: metrics.jsonl, and an event file for TensorBoard, with more that is computed at an evaluation.

The event file is written without TensorFlow: `tf.summary` would notice a full disk late, leave half an event in the
file, and raise its own kind of error.
"""

import contextlib
import os
import re
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as custom_scalars
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto

from charlm.config.file import dump_config
from charlm.config.schema import Config
from charlm.evaluation.baselines import NGRAM
from charlm.evaluation.scoring import bits
from charlm.events import LogDamaged, OnEvent, ignore
from charlm.network.gradients import spectral_radius
from charlm.network.model_file import TrainedModel
from charlm.network.rnn import Floats
from charlm.runs.cutting import keep_spans
from charlm.runs.folder import METRICS_FILE
from charlm.runs.metrics import cut_metrics, to_line
from charlm.storage import Log, sync_folder, writing
from charlm.training.probes import probe, reach

DESCRIPTIONS: Mapping[str, str] = {
    "gradient_norm": "Norm of the gradient of the step that is logged, before clipping.",
    "spectral_radius": "Largest size of an eigenvalue of the recurrent kernel V.",
    "saturated": "Share of the units and positions at which the slope of the activation is below 0.19 of its largest: "
    "|h| > 0.9 for tanh, an output of 0 for relu.",
    "state": "Outputs h of the units while the network reads validation text.",
    "gradient_reach": "Lag k in characters at which |dL_t/dh_(t-k)| / |dL_t/dh_t|, the median of the windows, falls "
    "below a tenth: how far back the gradient of one prediction reaches; 48 = at least so far.",
    f"nats_per_char/{NGRAM}": "What a 5-gram model (interpolated modified Kneser-Ney) scores on the same text.",
    "best_nats_per_char": "The lowest loss of all evaluations so far.",
}
"""What a tag, or all tags that begin with it and a slash, mean; TensorBoard shows it beside the chart."""


def description(tag: str) -> str | None:
    """Return what a tag means, or None if that needs no words."""
    return DESCRIPTIONS.get(tag, DESCRIPTIONS.get(tag.partition("/")[0]))


EVENT_FILE = re.compile(r"events\.out\.tfevents\.([0-9]{1,19})")
"""The name of an event file; the group is its number."""
HEAD_BYTES = 12
"""Size of what comes before the data of an event: the length of the data, and a checksum of the length."""
CHECKSUM_BYTES = 4
"""Size of the checksum after the data of an event."""
SCALARS = ("learning_rate", "gradient_norm", "characters_per_second")
"""Optional figures of a log line."""
CHARTS = {
    "loss": {"nats per character, beside a 5-gram model": r"nats_per_char/.+", "best so far": r"best_nats_per_char"},
    "steps": {"norm of the gradient": r"gradient_norm", "learning rate": r"learning_rate"},
    "network": {
        "spectral radius of the recurrent kernel": r"spectral_radius/.+",
        "share of saturated units": r"saturated/.+",
        "lag at which the gradient falls below a tenth": r"gradient_reach/.+",
    },
}
"""The charts of the tab CUSTOM SCALARS: a pattern of tags by title, by category."""


def new_event_file(folder: Path) -> Path:
    """Return the path of a new event file, whose name sorts after those that are in the folder.

    TensorBoard reads the files in the order of their names and does not go back to one before the last. The number in
    the name is the time in nanoseconds. It has 19 digits from 2001 to 2286, so earlier times get leading zeros. If the
    clock was ahead when an older file was named, the new number is one more than the number of that file.

    Args:
        folder: The folder of a run.

    Raises:
        CharlmError: the folder cannot be read.

    """
    with writing(folder):
        names = [path.name for path in folder.iterdir()]
    matches = [EVENT_FILE.fullmatch(name) for name in names]
    numbers = [int(match[1]) for match in matches if match is not None]
    after_others = max(numbers, default=0) + 1
    number = max(time.time_ns(), after_others)
    return folder / f"events.out.tfevents.{number:019}"


@dataclass(frozen=True)
class Record:
    """A record of an event file."""

    span: range
    """The positions of its bytes in the file."""
    event: Event | None
    """The event in it; None if the record is damaged."""


def read_records(file: BinaryIO) -> Iterator[Record]:
    """Read the records of an event file, but not one at its end that was not written whole.

    A record is the length of its data (8 bytes), a checksum of these bytes, the data, and a checksum of the data. If
    the length is damaged, nothing tells where the next record begins, so the rest of the file is one damaged record.

    Args:
        file: An event file, open at its beginning.

    """
    start = 0
    end = os.fstat(file.fileno()).st_size
    while start + HEAD_BYTES <= end:
        head = file.read(HEAD_BYTES)
        length, checksum = struct.unpack("<QI", head)
        if masked_crc32c(head[:8]) != checksum:
            yield Record(range(start, end), None)
            return
        stop = start + HEAD_BYTES + length + CHECKSUM_BYTES
        if stop > end:
            return
        data = file.read(length)
        checksum = int.from_bytes(file.read(CHECKSUM_BYTES), "little")
        yield Record(range(start, stop), _parse_event(data, checksum))
        start = stop


def _parse_event(data: bytes, checksum: int) -> Event | None:
    if masked_crc32c(data) != checksum:
        return None
    try:
        return Event.FromString(data)
    except DecodeError:
        return None


def cut_events(path: Path, *, step: int) -> int:
    """Remove from an event file the events of later steps, damaged records, and an end that was not written whole.

    A resumed run writes the events of later steps again; TensorBoard's fast loader would show the old ones until then.
    TensorBoard's other loader reads no further than a damaged record.

    Args:
        path: The event file.
        step: The last step whose events stay.

    Returns:
        The number of bytes that were lost to damage. An end that was not written whole is what a killed process leaves,
        and does not count.

    Raises:
        CharlmError: the file cannot be read or written.

    """
    kept: list[range] = []
    lost_bytes = 0
    with writing(path), path.open("rb") as file:
        for record in read_records(file):
            if record.event is None:
                lost_bytes += len(record.span)
            elif record.event.step > step:
                break
            else:
                kept.append(record.span)
    keep_spans(path, kept)
    return lost_bytes


class RunLog:
    """The log files of a run, open to be written; its methods raise CharlmError if one cannot be.

    What was written of later steps is removed: a resumed run writes it again. So are damaged lines and events.

    Args:
        folder: The folder of the run.
        step: The step that the run is at; -1 = nothing has been logged.
        evaluated_step: The last step whose evaluation counts.
        on_event: Called with a `LogDamaged` for each file that was damaged.

    """

    def __init__(
        self,
        folder: Path,
        *,
        step: int = -1,
        evaluated_step: int = -1,
        on_event: OnEvent = ignore,
    ) -> None:
        metrics = folder / METRICS_FILE
        lost_lines = cut_metrics(metrics, step=step, evaluated_step=evaluated_step)
        if lost_lines:
            on_event(LogDamaged(metrics, lost_lines, "line"))
        for path in sorted(folder.glob("events.*")):
            lost_bytes = cut_events(path, step=step)
            if lost_bytes:
                on_event(LogDamaged(path, lost_bytes, "byte"))
        self._folder = folder
        with contextlib.ExitStack() as stack:
            self._metrics = stack.enter_context(contextlib.closing(Log(metrics)))
            self._events = stack.enter_context(contextlib.closing(Log(new_event_file(folder))))
            self._write(Event(file_version="brain.Event:2"))
            # TensorBoard forgets what earlier files say of this and later steps
            self._write(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))
            self._files = stack.pop_all()

    def describe(self, config: Config) -> None:
        """Write what does not change during a run: the layout of the charts, and every setting as text."""
        self._show(layout_pb(), step=0)
        self.show_text("config", dump_config(config), step=0)

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Write a log line or an evaluation, with its loss in bits as well.

        Args:
            metrics: step, split, nats_per_char, any of SCALARS, and what else metrics.jsonl is to have.

        """
        metrics = {**metrics, "bits_per_char": bits(metrics["nats_per_char"])}
        self._metrics.write(to_line(metrics))
        scalars = {f"{name}/{metrics['split']}": metrics[name] for name in ("nats_per_char", "bits_per_char")}
        for tag, value in (scalars | {name: metrics[name] for name in SCALARS if name in metrics}).items():
            self.show_scalar(tag, value, step=metrics["step"])

    def log_changes(self, changes: Mapping[str, tuple[Any, Any]], *, step: int) -> None:
        """Write which settings a resume has changed, from what to what."""
        event = {"event": "settings", "step": step, "split": None, "nats_per_char": None}
        found = {key: {"from": old, "to": new} for key, (old, new) in changes.items()}
        self._metrics.write(to_line({**event, "changes": found}))

    def show_scalar(self, tag: str, value: float, *, step: int) -> None:
        """Show TensorBoard a number."""
        self._show(scalar_pb(tag, value, description=description(tag)), step=step)

    def show_histogram(self, tag: str, values: Floats, *, step: int) -> None:
        """Show TensorBoard how values of any shape are distributed."""
        finite = values[np.isfinite(values)].astype(np.float64)  # in float32, the width of a range may overflow
        self._show(histogram_pb(tag, finite, description=description(tag)), step=step)

    def show_text(self, tag: str, text: str, *, step: int) -> None:
        """Show TensorBoard a text as it is: as a code block of Markdown."""
        self._show(text_pb(tag, "".join(f"    {line}\n" for line in text.splitlines())), step=step)

    def sync(self) -> None:
        """Return when all lines, all events and the name of the event file are on the disk."""
        self._metrics.sync()
        self._events.sync()
        with writing(self._folder):
            sync_folder(self._folder)

    def close(self) -> None:
        """Close the files."""
        self._files.close()

    def _show(self, summary: Summary, *, step: int) -> None:
        self._write(Event(step=step, summary=summary))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        RecordWriter(self._events).write(event.SerializeToString())


def show_evaluation(
    log: RunLog,
    model: TrainedModel,
    windows: NDArray[Any] | None,
    *,
    weights: Mapping[str, Floats],
    numbers: Mapping[str, float | None],
    sample: str,
) -> None:
    """Show TensorBoard what a network that is evaluated is like.

    Args:
        log: Where to.
        model: The network: with the average of the weights if one is kept.
        windows: What `choose_windows` returned.
        weights: The trained weights by their names in a model file.
        numbers: What is shown beside them, by tag; None = it is not known.
        sample: The text that it writes, or "".

    """
    parameters, step = model.parameters, model.facts["step"]
    for tag, value in numbers.items():
        if value is not None:
            log.show_scalar(tag, value, step=step)
    if sample:
        log.show_text("sample", sample, step=step)
    for name, values in weights.items():
        log.show_histogram(f"weights/{name}", values, step=step)
    for index, layer in enumerate(parameters.layers):
        log.show_scalar(f"spectral_radius/rnn.{index}", spectral_radius(layer.recurrent_kernel), step=step)
    for index, found in enumerate([] if windows is None else probe(parameters, windows)):
        log.show_scalar(f"saturated/rnn.{index}", found.saturated_share, step=step)
        log.show_scalar(f"gradient_reach/rnn.{index}", float(reach(found.gradient)), step=step)
        log.show_histogram(f"state/rnn.{index}", found.states, step=step)


def layout_pb() -> Summary:
    """Return the charts of the tab CUSTOM SCALARS, the same for every run."""
    layout = layout_pb2.Layout()
    for title, charts in CHARTS.items():
        category = layout.category.add(title=title)
        for name, pattern in charts.items():
            category.chart.add(title=name, multiline=layout_pb2.MultilineChartContent(tag=[pattern]))
    summary = Summary()
    summary.value.add(
        tag=custom_scalars.CONFIG_SUMMARY_TAG,
        metadata=custom_scalars.create_summary_metadata(),
        tensor=make_tensor_proto([layout.SerializeToString()], dtype=np.object_),
    )
    return summary
