"""The log files of a run: metrics.jsonl, and the same figures as TensorBoard events.

The files are append-only. A checkpoint records the size of each. A resumed run cuts off what was written after the
checkpoint, so that no step is missing or occurs twice.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charlm.config.schema import Config
from charlm.network.rnn import Floats
from charlm.runs.comparison import text_name
from charlm.runs.folder import ENDED_FILE, METRICS_FILE, TENSORBOARD
from charlm.runs.metrics import MetricsLog, with_bits
from charlm.storage.atomic import write_file
from charlm.storage.files import open_for_writing, refuse_links, writing
from charlm.text.corpus import Corpus
from charlm.training import projector
from charlm.training.events import EventLog
from charlm.training.hparams import settings_beyond_defaults, write_row
from charlm.training.views import Views


class RunLogs:
    """The log files of a run, open for writing; its methods raise CharlmError if they cannot be written."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._metrics = MetricsLog(run / METRICS_FILE)
        self._events = EventLog(run / TENSORBOARD)

    def describe(self, config: Config, graph: bytes) -> None:
        """Write what does not change during a run: the layout of the charts, the config as text, and the graph."""
        self._events.describe(config, graph)

    def describe_settings(self, config: Config, corpus: Corpus) -> None:
        """Write the row of the table of runs and the labels of the characters, at the start and at each resumption."""
        folder = self._run / TENSORBOARD
        text = text_name([source.name for source in corpus.manifest.sources])
        settings = settings_beyond_defaults(config, text=text)
        write_row(folder, settings, run=self._run.resolve().name)
        model = config.model
        name = "embedding" if model.embedding else "rows of rnn.0.kernel"
        projector.write_config(folder, corpus.vocabulary, name=name, width=model.embedding or model.units)

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Write a log line or an evaluation; `metrics` holds step, split and nats_per_char."""
        metrics = with_bits(metrics)
        self._metrics.write(metrics)
        self._events.log(metrics)

    def note(self, event: Mapping[str, Any]) -> None:
        """Write an event; its keys include step, and event, which is its name."""
        self._metrics.write(event)
        text = "\n".join(f"{key}: {value}" for key, value in event.items())
        self._events.show_text(event["event"], text, step=event["step"])

    def show(self, views: Views, *, step: int) -> None:
        """Write what TensorBoard shows of an evaluation."""
        self._events.show(views, step=step)

    def show_weights(self, weights: Mapping[str, Floats], *, step: int) -> None:
        """Write histograms of the weights, float32 of any shape, by their names."""
        self._events.show(Views(histograms={f"weights/{name}": values for name, values in weights.items()}), step=step)

    def show_characters(self, points: Floats) -> None:
        """Write a point for each character, float32 [V, width], for the projector."""
        projector.write_points(self._run / TENSORBOARD, points)

    def end(self, step: int) -> None:
        """Write that the run is complete at a step. A resumed run takes this back: it is later than its checkpoint."""
        write_file(self._run / ENDED_FILE, (json.dumps({"step": step}) + "\n").encode())
        self._events.end()

    def sizes(self) -> dict[str, int]:
        """Return the number of bytes of each log file, by path inside the run, when all of them are on the disk."""
        self._metrics.sync()
        self._events.sync()
        return {str(path.relative_to(self._run)): path.stat().st_size for path in log_files(self._run)}

    def close(self) -> None:
        """Close the files."""
        self._events.close()
        self._metrics.close()


def log_files(run: Path) -> list[Path]:
    """Return the paths of metrics.jsonl and of all event files of a run."""
    return [run / METRICS_FILE, *sorted((run / TENSORBOARD).glob("*.tfevents.*"))]


def rewind(run: Path, sizes: Mapping[str, int]) -> None:
    """Cut the log files of a run to the sizes that they had before, and remove those that did not exist.

    Args:
        run: The folder of the run.
        sizes: The number of bytes of each file, by path inside the run.

    Raises:
        CharlmError: a file is a link, which could lead out of the run (then nothing is cut); or it cannot be cut.

    """
    names = [str(path.relative_to(run)) for path in log_files(run)]
    refuse_links(run, TENSORBOARD, *names)
    for name in names:
        size = sizes.get(name, 0)
        if not size and name != METRICS_FILE:
            _remove(run / name)
        else:
            _cut(run / name, size)
    _remove(run / ENDED_FILE)


def _remove(path: Path) -> None:
    with writing(path):
        path.unlink(missing_ok=True)


def _cut(path: Path, size: int) -> None:
    """Cut a file that is longer than `size` bytes."""
    descriptor = open_for_writing(path, os.O_WRONLY)
    try:
        with writing(path):
            if os.fstat(descriptor).st_size > size:
                os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)
