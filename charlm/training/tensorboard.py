"""What a run writes for people: event files for TensorBoard, and the same figures to metrics.jsonl.

Both are appended to. A checkpoint notes how long each file was, so that a resumed run can cut off what came
after it and go on without a hole and without a step twice.
"""

import json
import math
import os
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from charlm import runs
from charlm.config import Config, dump_config, flatten
from charlm.training.model import CharacterRNN, named_weights, zero_state

GRAPH_CHARACTERS = 3
"""The length of the window whose graph is shown: long enough to see the recurrence, short enough to read."""


class Journal:
    """The log files of one run, open for writing."""

    def __init__(self, run: Path) -> None:
        self._run = run
        (run / runs.TENSORBOARD).mkdir(parents=True, exist_ok=True)
        self._metrics = (run / runs.METRICS).open("a", encoding="utf-8")
        self._events = tf.summary.create_file_writer(str(run / runs.TENSORBOARD))

    def describe(self, config: Config, model: CharacterRNN) -> None:
        """Write what does not change: hyperparameters, the config as text, the graph."""
        values = {key: value for key, value in flatten(config).items() if isinstance(value, bool | int | float)}
        texts = {key: str(value) for key, value in flatten(config).items() if key not in values}
        with self._events.as_default(step=0):
            hparams.hparams({**values, **texts})
            tf.summary.text("config", _preformatted(dump_config(config)))
            tf.summary.graph(_forward_graph(model))

    def log(self, figures: dict[str, Any]) -> None:
        """Write one object to metrics.jsonl, and its figures to TensorBoard at its step.

        `figures` holds step, split and nats_per_char; bits_per_char follows from the latter.
        """
        figures = {**figures, "bits_per_char": figures["nats_per_char"] / math.log(2)}
        self._metrics.write(json.dumps(figures) + "\n")
        self._metrics.flush()
        split, step = figures["split"], figures["step"]
        with self._events.as_default(step=step):
            for name in ("nats_per_char", "bits_per_char"):
                tf.summary.scalar(f"{name}/{split}", figures[name])
            for name in ("learning_rate", "gradient_norm", "characters_per_second"):
                if name in figures:
                    tf.summary.scalar(name, figures[name])

    def show(self, model: CharacterRNN, sample: str | None, *, step: int) -> None:
        """Write histograms of the weights and a sampled text at a step."""
        with self._events.as_default(step=step):
            for name, variable in named_weights(model).items():
                tf.summary.histogram(f"weights/{name}", variable)
            if sample is not None:
                tf.summary.text("sample", _preformatted(sample))
        self._events.flush()

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each log file, all of them on their way to the disk, by path inside the run."""
        self._events.flush()
        self._metrics.flush()
        return {str(path.relative_to(self._run)): path.stat().st_size for path in log_files(self._run)}

    def close(self) -> None:
        """Finish the files."""
        self._events.close()
        self._metrics.close()


def log_files(run: Path) -> list[Path]:
    """Return the files of a run that are appended to."""
    return [run / runs.METRICS, *sorted((run / runs.TENSORBOARD).glob("*.tfevents.*"))]


def rewind(run: Path, sizes: dict[str, int]) -> None:
    """Cut the log files of a run to the given sizes, and remove those that were not there yet."""
    for path in log_files(run):
        size = sizes.get(str(path.relative_to(run)))
        if size is None:
            path.unlink()
        elif path.stat().st_size > size:
            os.truncate(path, size)


def _preformatted(text: str) -> str:
    """Return a text as a Markdown code block, which TensorBoard shows letter by letter."""
    return "".join(f"    {line}\n" for line in text.splitlines())


def _forward_graph(model: CharacterRNN) -> Any:
    forward = tf.function(lambda ids, state: model((ids, state)))
    ids = tf.TensorSpec((GRAPH_CHARACTERS, 1), tf.int32, name="ids")
    return forward.get_concrete_function(ids, zero_state(model, 1)).graph
