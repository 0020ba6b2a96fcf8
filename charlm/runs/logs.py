"""The logs of a run: metrics.jsonl, and event files for TensorBoard, which show more.

The losses are in the folders train, validation and 8-gram, all with the tag `loss`, so that
TensorBoard draws them in one chart in different colours. Everything else is in the folder of the
run itself.
"""

import io
import json
import math
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event as EventMessage
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from charlm.checks import to_number
from charlm.config.file import dump_config
from charlm.core.engine import StepMetrics
from charlm.core.evaluating import Evaluation, TrainingText
from charlm.core.loop import Callback, Training
from charlm.core.reading import one_thread
from charlm.core.rnn import Floats
from charlm.core.scoring import Score, bits
from charlm.measures.baselines import MAX_TRAINING_CHARACTERS, NGRAM
from charlm.measures.gradients import choose_windows, probe, reach, spectral_radius
from charlm.runs.summary import parse_line
from charlm.storage import METRICS_FILE, write_file, writing

LOSS = "loss"
"""Tag of the loss, the first in the alphabet and thus in TensorBoard."""
DESCRIPTIONS: Mapping[str, str] = {
    LOSS: "Nats per character. train: mean of the steps since the previous point. validation: the "
    f"network on the validation text. {NGRAM}: an n-gram model (interpolated modified Kneser-Ney) "
    "on the validation text. A network that began with another model has read its text too.",
    "optimization/gradient_norm": "Norm of the gradient at the logged step, before clipping.",
    "reach_of_gradient": "How far the gradient of a prediction reaches: the last lag k, in "
    "characters, with at least a tenth of |dL_t/dh_t| in |dL_t/dh_(t-k)| (median over 16 windows "
    "of the validation text). 47 means 47 or more.",
    "saturation": "Share of outputs at which the slope of the activation is below 0.19 times its "
    "maximum, in 16 windows of the validation text: |h| > 0.9 for tanh, 0 for relu.",
    "spectral_radius": "Largest absolute eigenvalue of the recurrent kernel V.",
    "state": "Outputs h of the units while the network reads validation text.",
}
"""Meaning of a tag, or of all tags that begin with it and a slash, shown next to the chart."""
TAGS: Mapping[str, str] = {
    "gradient_norm": "optimization/gradient_norm",
    "learning_rate": "optimization/learning_rate",
    "characters_per_second": "speed/characters_per_second",
}
"""Tags of fields of a log line that differ from their names."""
POSITION = {"step", "epoch", "characters", "seconds", "split", "nats_per_char"}
"""Fields of a log line that get no chart, except for the loss, which has its own."""
EVENT_VERSION = "brain.Event:2"
"""Version of the format of event files, in their first record."""


def description(tag: str) -> str | None:
    """Return the meaning of a tag; None if it needs no explanation."""
    return DESCRIPTIONS.get(tag, DESCRIPTIONS.get(tag.partition("/")[0]))


@dataclass
class RunLog(Callback):
    """The logs of a run. Entries are held until the state that they describe is saved.

    A run that resumes writes the same events again. TensorBoard lets them replace those of a killed
    process, so event files need no repair.
    """

    folder: Path
    """Folder of the run."""
    ngram: Score | None
    """Score of the 8-gram model on the validation text; None = unknown."""

    def __post_init__(self) -> None:
        self._norm = math.nan
        self._lines: list[bytes] = []
        self._events: dict[str, list[EventMessage]] = {}
        self._event_file = f"events.out.tfevents.{time.time():.0f}.{platform.node()}.{os.getpid()}"

    def on_start(self, training: Training) -> None:
        """Remove the lines that a killed process has written after the last checkpoint."""
        keep_lines(self.folder / METRICS_FILE, step=training.saved_step)
        if training.saved_step < 0:
            self.show_text("config", dump_config(training.config), step=0)

    def on_steps(self, training: Training, metrics: StepMetrics) -> None:
        """Keep the gradient norm of the last step."""
        self._norm = metrics.norms[-1]

    def on_log(self, training: Training) -> None:
        """Log the training loss since the last entry, and the rate and speed of the last step."""
        state = training.state
        characters = training.schedule.batches.characters_per_step
        line = _line(training, "train", state.train_nats)
        line["learning_rate"] = float(training.schedule.rates(state.step - 1, 1)[0])
        line["gradient_norm"] = self._norm
        line["characters_per_second"] = characters / training.step_seconds
        self.log(line)

    def on_evaluation(self, training: Training, evaluation: Evaluation) -> None:
        """Log the validation loss, and show the sample and the weights."""
        step, score = training.state.step, evaluation.score
        if training.text.validation is not None or step == 0:
            self.log(_line(training, training.text.split, score.nats_per_char))
        if self.ngram is not None:
            self.show_loss(NGRAM, self.ngram.nats_per_char, step=step)
        if evaluation.sample:
            self.show_text("sample", evaluation.sample, step=step)
        for name, values in training.engine.weights().items():
            self.show_histogram(f"weights/{name}", values, step=step)

    def on_save(self, training: Training) -> None:
        """Write the entries up to the checkpoint."""
        self.write()

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Add a line with the fields of POSITION and more; every other field gets a chart."""
        step, split, nats = metrics["step"], metrics["split"], metrics["nats_per_char"]
        self._lines.append(to_line({**metrics, "bits_per_char": bits(nats)}))
        self.show_loss(split, nats, step=step)
        for name, value in metrics.items():
            if name not in POSITION:
                self.show_scalar(TAGS.get(name, name), value, step=step)

    def show_loss(self, name: str, nats: float, *, step: int) -> None:
        """Show TensorBoard a loss in nats per character, in a folder: train, validation, 8-gram."""
        self._show(scalar_pb(LOSS, nats, description=description(LOSS)), step=step, folder=name)

    def show_scalar(self, tag: str, value: float, *, step: int) -> None:
        """Show TensorBoard a number."""
        self._show(scalar_pb(tag, value, description=description(tag)), step=step)

    def show_histogram(self, tag: str, values: Floats, *, step: int) -> None:
        """Show TensorBoard the distribution of values of any shape."""
        finite = values[np.isfinite(values)]
        finite = finite.astype(np.float64)  # in float32, the width of a range may overflow
        self._show(histogram_pb(tag, finite, description=description(tag)), step=step)

    def show_text(self, tag: str, text: str, *, step: int) -> None:
        """Show TensorBoard a text as it is, as a code block of Markdown."""
        lines = [f"    {line}\n" for line in text.splitlines()]
        self._show(text_pb(tag, "".join(lines)), step=step)

    def _show(self, summary: Summary, *, step: int, folder: str = "") -> None:
        event = EventMessage(step=step, summary=summary, wall_time=time.time())
        self._events.setdefault(folder, []).append(event)

    def write(self) -> None:
        """Write all entries to the disk; raises CharlmError if that fails."""
        _append(self.folder / METRICS_FILE, b"".join(self._lines))
        for name, events in self._events.items():
            path = self.folder / name / self._event_file
            with writing(path):
                path.parent.mkdir(exist_ok=True)
                is_new = not path.exists()
            first = [EventMessage(file_version=EVENT_VERSION, wall_time=time.time())]
            records = io.BytesIO()
            writer = RecordWriter(records)
            for event in [*(first if is_new else []), *events]:
                writer.write(event.SerializeToString())
            _append(path, records.getvalue())
        self._lines.clear()
        self._events.clear()


def _append(path: Path, data: bytes) -> None:
    """Write data at the end of a file; raises CharlmError if that fails."""
    with writing(path), path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _line(training: Training, split: str, nats: float) -> dict[str, Any]:
    """Return the fields that every line of metrics.jsonl has."""
    return {
        "step": training.state.step,
        "epoch": training.epochs,
        "characters": training.characters,
        "seconds": training.state.seconds,
        "split": split,
        "nats_per_char": nats,
    }


@dataclass
class Probes(Callback):
    """Shows TensorBoard the activity of each layer at each evaluation."""

    log: RunLog
    text: TrainingText
    """Text of the run; a few windows of it are read."""

    def __post_init__(self) -> None:
        ids = self.text.validation
        if ids is None:
            ids = self.text.training[:MAX_TRAINING_CHARACTERS]
        self._windows = choose_windows(ids)

    def on_evaluation(self, training: Training, evaluation: Evaluation) -> None:
        """Show the spectral radius, the saturation, the states and the reach of the gradient."""
        step, parameters = training.state.step, evaluation.model.parameters
        with one_thread():
            probes = probe(parameters, self._windows)
            radii = [spectral_radius(layer.recurrent_kernel) for layer in parameters.layers]
        for index, (radius, layer) in enumerate(zip(radii, probes, strict=True)):
            gradient_reach = float(reach(layer.gradient.median))
            self.log.show_scalar(f"spectral_radius/layer_{index}", radius, step=step)
            self.log.show_scalar(f"saturation/layer_{index}", layer.saturated_share, step=step)
            self.log.show_scalar(f"reach_of_gradient/layer_{index}", gradient_reach, step=step)
            self.log.show_histogram(f"state/layer_{index}", layer.states, step=step)


def to_line(metrics: Mapping[str, Any]) -> bytes:
    """Return an object as a line; numbers that are not finite become null, as JSON lacks them."""
    finite = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in metrics.items()
    }
    return (json.dumps(finite, allow_nan=False) + "\n").encode()


def keep_lines(path: Path, *, step: int) -> None:
    """Remove the lines of later steps, and damaged lines, from a metrics.jsonl.

    A run that continues at the step writes the lines of later steps again.

    Raises:
        CharlmError: The file cannot be read or written.

    """
    with writing(path):
        before = path.read_bytes()
    lines = before.splitlines(keepends=True)
    kept = b"".join(line for line in lines if _is_kept(line, step=step))
    if kept != before:
        write_file(path, kept)


def _is_kept(line: bytes, *, step: int) -> bool:
    metrics = parse_line(line)
    if metrics is None or not line.endswith(b"\n"):
        return False
    return (to_number(metrics.get("step")) or 0) <= step
