"""TensorBoard's event files, written without TensorFlow.

`tf.summary` would notice a full disk late, leave half an event in the file, and raise its own kind of error.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as custom_scalars
from tensorboard.plugins.histogram import metadata as histograms
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto

from charlm.config.file import dump_config
from charlm.config.schema import Config
from charlm.storage.atomic import sync_folder
from charlm.storage.files import Log, writing
from charlm.training.views import Views, description

BUCKETS = 30
"""The number of buckets of a histogram, as in TensorBoard."""
SCALARS = ("learning_rate", "gradient_norm", "characters_per_second")
"""Optional figures of a log line."""
CHARTS = {
    "loss": {
        "nats per character, beside a 5-gram model": r"nats_per_char/.+",
        "best so far": r"best_nats_per_char",
    },
    "steps": {
        "norm of the gradient": r"gradient_norm/.+",
        "gradient / weights": r"gradient_to_weights/.+",
        "update / weights": r"update_to_weights/.+",
        "learning rate": r"learning_rate",
    },
    "network": {
        "spectral radius of the recurrent kernel": r"spectral_radius/.+",
        "share of saturated units": r"saturated/.+",
        "lag at which the gradient falls below a tenth": r"gradient_reach/.+",
    },
}
"""The charts of the tab CUSTOM SCALARS: a pattern of tags by title, by category."""


class EventLog:
    """A new event file in the folder tensorboard/ of a run; its methods raise CharlmError if it cannot be written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._log = Log(folder / f"events.out.tfevents.{time.time_ns()}")
        self._write(Event(file_version="brain.Event:2"))

    def describe(self, config: Config) -> None:
        """Write what does not change during a run: the layout of the charts, and every setting as text."""
        self._show(layout_pb(), step=0)
        self._show(text_pb("config", _preformatted(dump_config(config))), step=0)

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Write a log line or an evaluation as scalars.

        Args:
            metrics: step, split, nats_per_char, bits_per_char, and any of SCALARS.

        """
        scalars = {f"{name}/{metrics['split']}": metrics[name] for name in ("nats_per_char", "bits_per_char")}
        scalars |= {name: metrics[name] for name in SCALARS if name in metrics}
        for tag, value in scalars.items():
            self._show(scalar_pb(tag, value), step=metrics["step"])

    def show_text(self, tag: str, text: str, *, step: int) -> None:
        """Write a text that TensorBoard shows as it is, not as Markdown."""
        self._show(text_pb(tag, _preformatted(text)), step=step)

    def show(self, views: Views, *, step: int) -> None:
        """Write what is shown of an evaluation."""
        for tag, value in views.scalars.items():
            self._show(scalar_pb(tag, value, description=description(tag)), step=step)
        for tag, values in views.histograms.items():
            self._show(histogram_pb(tag, values), step=step)
        for tag, text in views.texts.items():
            self.show_text(tag, text, step=step)

    def sync(self) -> None:
        """Return when all events and the name of the file are on the disk."""
        self._log.sync()
        with writing(self._folder):
            sync_folder(self._folder)

    def close(self) -> None:
        """Close the file."""
        self._log.close()

    def _show(self, summary: Summary, *, step: int) -> None:
        self._write(Event(step=step, summary=summary))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        RecordWriter(self._log).write(event.SerializeToString())


def histogram_pb(tag: str, values: NDArray[np.float32]) -> Summary:
    """Return the histogram that TensorBoard would make of the finite values, with a thirtieth of the memory.

    Args:
        tag: Its name in TensorBoard.
        values: float32 of any shape.

    """
    finite = values[np.isfinite(values)]
    ends = (np.float64(finite.min()), np.float64(finite.max())) if finite.size else None  # float32 may overflow
    counts, edges = np.histogram(finite, BUCKETS, range=ends)
    rows = np.stack([edges[:-1], edges[1:], counts], axis=1)
    summary = Summary()
    metadata = histograms.create_summary_metadata(display_name=None, description=description(tag))
    summary.value.add(tag=tag, metadata=metadata, tensor=make_tensor_proto(rows, dtype=np.float64))
    return summary


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


def _preformatted(text: str) -> str:
    """Return a text as a Markdown code block, which TensorBoard shows as it is."""
    return "".join(f"    {line}\n" for line in text.splitlines())
