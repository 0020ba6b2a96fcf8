"""What a run writes for people: event files for TensorBoard, and the same figures to metrics.jsonl.

Both are appended to. A checkpoint notes how long each file was, so that a resumed run can cut off what came
after it and go on without a hole and without a step twice. The events are written here and not by
`tf.summary`, which notices a full disk late, leaves half an event behind, and says so in its own way.
"""

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.histogram import metadata as histograms
from tensorboard.plugins.hparams import api as hparams
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto

from charlm import runs
from charlm.config import Config
from charlm.config_file import dump_config, flatten
from charlm.errors import CharlmError
from charlm.files import Log, sync_folder, writing
from charlm.training.model import CharacterRNN, named_weights, zero_state

BUCKETS = 30
"""Of a histogram, as many as TensorBoard's own."""
GRAPH_CHARACTERS = 3
"""The length of the window whose graph is shown: long enough to see the recurrence, short enough to read."""
SCALARS = ("learning_rate", "gradient_norm", "characters_per_second")


class Journal:
    """The log files of one run, open for writing; every method raises CharlmError where they cannot be written."""

    def __init__(self, run: Path) -> None:
        self._run, folder = run, run / runs.TENSORBOARD
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._metrics = Log(run / runs.METRICS)
        self._events = Log(folder / f"events.out.tfevents.{time.time_ns()}")
        self._write_event(Event(file_version="brain.Event:2"))

    def describe(self, config: Config, model: CharacterRNN) -> None:
        """Write what does not change: hyperparameters, the config as text, the graph."""
        values = {key: value for key, value in flatten(config).items() if isinstance(value, bool | int | float)}
        texts = {key: str(value) for key, value in flatten(config).items() if key not in values}
        self._show(hparams.hparams_pb({**values, **texts}), step=0)
        self._show(text_pb("config", _preformatted(dump_config(config))), step=0)
        graph = _forward_graph(model).as_graph_def(add_shapes=True)
        self._write_event(Event(graph_def=graph.SerializeToString()))

    def log(self, figures: dict[str, Any]) -> None:
        """Write one object to metrics.jsonl, and its figures to TensorBoard at its step.

        `figures` holds step, split and nats_per_char; bits_per_char follows from the latter.
        """
        figures = {**figures, "bits_per_char": figures["nats_per_char"] / math.log(2)}
        self._write_line(figures)
        scalars = {f"{name}/{figures['split']}": figures[name] for name in ("nats_per_char", "bits_per_char")}
        scalars |= {name: figures[name] for name in SCALARS if name in figures}
        for tag, value in scalars.items():
            self._show(scalar_pb(tag, value), step=figures["step"])

    def note(self, event: dict[str, Any]) -> None:
        """Write what happened at a step to metrics.jsonl, and to TensorBoard as text."""
        self._write_line(event)
        text = "\n".join(f"{key}: {value}" for key, value in event.items())
        self._show(text_pb(event["event"], _preformatted(text)), step=event["step"])

    def show(self, model: CharacterRNN, sample: str | None, *, step: int) -> None:
        """Write histograms of the weights and a sampled text at a step."""
        for name, variable in named_weights(model).items():
            self._show(_histogram_pb(f"weights/{name}", variable.numpy()), step=step)
        if sample is not None:
            self._show(text_pb("sample", _preformatted(sample)), step=step)

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each log file, all of them on the disk, by path inside the run."""
        self._metrics.sync()
        self._events.sync()
        with writing(self._run):
            sync_folder(self._run / runs.TENSORBOARD)
        return {str(path.relative_to(self._run)): path.stat().st_size for path in log_files(self._run)}

    def close(self) -> None:
        """Close the files."""
        self._events.close()
        self._metrics.close()

    def _write_line(self, figures: dict[str, Any]) -> None:
        """JSON has no infinity and no NaN: null."""
        finite = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in figures.items()
        }
        self._metrics.write((json.dumps(finite, allow_nan=False) + "\n").encode())

    def _show(self, summary: Summary, *, step: int) -> None:
        self._write_event(Event(step=step, summary=summary))

    def _write_event(self, event: Event) -> None:
        event.wall_time = time.time()
        RecordWriter(self._events).write(event.SerializeToString())


def log_files(run: Path) -> list[Path]:
    """Return the files of a run that are appended to."""
    return [run / runs.METRICS, *sorted((run / runs.TENSORBOARD).glob("*.tfevents.*"))]


def rewind(run: Path, sizes: dict[str, int]) -> None:
    """Cut the log files of a run to the given sizes, and remove event files that were not there yet.

    Raises CharlmError where that cannot be done, and before anything is cut where one is a link: it may lead
    out of the run.
    """
    for path in (run / runs.TENSORBOARD, *log_files(run)):
        if path.is_symlink():
            raise CharlmError(f"{path}: is a link; should be the log itself, which is cut when a run goes on")
    for path in log_files(run):
        size = sizes.get(str(path.relative_to(run)), 0)
        with writing(path):
            if not size and path.name != runs.METRICS:
                path.unlink()
            elif path.stat().st_size > size:
                os.truncate(path, size)


def _histogram_pb(tag: str, values: NDArray[np.float32]) -> Summary:
    """Return what TensorBoard itself makes of the finite values, in a thirtieth of the memory."""
    finite = values[np.isfinite(values)]
    ends = (np.float64(finite.min()), np.float64(finite.max())) if finite.size else None  # float32 may overflow
    counts, edges = np.histogram(finite, BUCKETS, range=ends)
    rows = np.stack([edges[:-1], edges[1:], counts], axis=1)
    summary = Summary()
    metadata = histograms.create_summary_metadata(display_name=None, description=None)
    summary.value.add(tag=tag, metadata=metadata, tensor=make_tensor_proto(rows, dtype=np.float64))
    return summary


def _preformatted(text: str) -> str:
    """Return a text as a Markdown code block, which TensorBoard shows letter by letter."""
    return "".join(f"    {line}\n" for line in text.splitlines())


def _forward_graph(model: CharacterRNN) -> Any:
    forward = tf.function(lambda ids, state: model((ids, state)))
    ids = tf.TensorSpec((GRAPH_CHARACTERS, 1), tf.int32, name="ids")
    return forward.get_concrete_function(ids, zero_state(model, 1)).graph
