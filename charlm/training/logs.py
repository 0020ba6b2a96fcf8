"""The logs of a run: metrics.jsonl, and event files for TensorBoard, which show more.

The losses are in the folders train, validation and 5-gram, all with the tag `loss`, so that
TensorBoard draws them in one chart in different colours. Everything else is in the folder of the
run itself.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb

from charlm.config.file import dump_config
from charlm.config.schema import Config
from charlm.evaluation.baselines import NGRAM
from charlm.evaluation.scoring import bits
from charlm.events import LogDamaged, OnEvent, ignore
from charlm.network.gradients import spectral_radius
from charlm.network.model_file import TrainedModel
from charlm.network.rnn import Floats
from charlm.runs.folder import METRICS_FILE
from charlm.runs.metrics import cut_metrics, to_line
from charlm.storage import Log, remove, sync_folder, writing
from charlm.training.event_files import EventLog, event_files
from charlm.training.probes import probe, reach

LOSS = "loss"
"""Tag of the loss, the first in the alphabet and thus in TensorBoard."""
LOSS_FOLDERS = ("train", "validation", NGRAM)
"""Folders of a run with its losses, and with the loss of a 5-gram model on the validation text."""
DESCRIPTIONS: Mapping[str, str] = {
    LOSS: "Nats per character. train: mean of the steps since the previous point. validation: the "
    "network on the validation text. 5-gram: a 5-gram model (interpolated modified Kneser-Ney) on "
    "the validation text.",
    "optimization/gradient_norm": "Norm of the gradient at the logged step, before clipping.",
    "reach_of_gradient": "How far the gradient of a prediction reaches: the first lag k, in "
    "characters, at which |dL_t/dh_(t-k)| / |dL_t/dh_t| (median over windows) is below a tenth. "
    "48 means 48 or more.",
    "saturation": "Share of outputs at which the slope of the activation is below 0.19 times its "
    "maximum: |h| > 0.9 for tanh, an output of 0 for relu.",
    "spectral_radius": "Largest absolute eigenvalue of the recurrent kernel V.",
    "state": "Outputs h of the units while the network reads validation text.",
}
"""Meaning of a tag, or of all tags that begin with it and a slash, shown next to the chart."""
SCALARS: Mapping[str, str] = {
    "gradient_norm": "optimization/gradient_norm",
    "learning_rate": "optimization/learning_rate",
    "characters_per_second": "speed/characters_per_second",
}
"""Tags of the optional fields of a log line."""


def description(tag: str) -> str | None:
    """Return the meaning of a tag; None if it needs no explanation."""
    return DESCRIPTIONS.get(tag, DESCRIPTIONS.get(tag.partition("/")[0]))


def remove_events(folder: Path) -> None:
    """Remove all event files of a run, and the folders with its losses."""
    with writing(folder):
        for path in (*event_files(folder), *(folder / name for name in LOSS_FOLDERS)):
            remove(path)


class RunLog:
    """The open log files of a run; its methods raise CharlmError if a file cannot be written.

    Logs of later steps are removed, since a resumed run writes them again. Damaged lines and events
    are removed, too.

    Args:
        folder: Folder of the run.
        step: Present step of the run; -1 = nothing has been logged.
        evaluated_step: Step of the last evaluation to keep.
        on_event: Called with a `LogDamaged` for each damaged file.
        clock: Function that returns the time of an event in seconds since 1970.

    """

    def __init__(
        self,
        folder: Path,
        *,
        step: int = -1,
        evaluated_step: int = -1,
        on_event: OnEvent = ignore,
        clock: Callable[[], float] = time.time,
    ) -> None:
        metrics = folder / METRICS_FILE
        lost_lines = cut_metrics(metrics, step=step, evaluated_step=evaluated_step)
        if lost_lines:
            on_event(LogDamaged(metrics, lost_lines, "line"))
        self._folder = folder
        self._events = EventLog(folder, step=step, on_event=on_event, clock=clock)
        last_steps = {"train": step, "validation": evaluated_step, NGRAM: evaluated_step}
        self._losses = {
            name: EventLog(folder / name, step=last, on_event=on_event, clock=clock)
            for name, last in last_steps.items()
        }
        self._metrics = Log(metrics)

    def describe(self, config: Config, *, ngram_nats: float | None) -> None:
        """Show TensorBoard the config and the loss of the 5-gram model (None = unknown)."""
        self.show_text("config", dump_config(config), step=0)
        if ngram_nats is not None:
            self.show_loss(NGRAM, ngram_nats, step=0)

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Write a line with step, split, nats_per_char and more; TensorBoard shows SCALARS."""
        step, split, nats = metrics["step"], metrics["split"], metrics["nats_per_char"]
        self._metrics.write(to_line({**metrics, "bits_per_char": bits(nats)}))
        self.show_loss(split, nats, step=step)
        for name, tag in SCALARS.items():
            if name in metrics:
                self.show_scalar(tag, metrics[name], step=step)

    def log_changes(self, changes: Mapping[str, tuple[Any, Any]], *, step: int) -> None:
        """Write the old and the new value of each setting that a resume has changed."""
        event = {"event": "settings", "step": step, "split": None, "nats_per_char": None}
        values = {key: {"from": old, "to": new} for key, (old, new) in changes.items()}
        self._metrics.write(to_line({**event, "changes": values}))

    def show_loss(self, name: str, nats: float, *, step: int) -> None:
        """Show TensorBoard a loss in nats per character; the name is one of LOSS_FOLDERS."""
        self._losses[name].write(scalar_pb(LOSS, nats, description=description(LOSS)), step=step)

    def show_scalar(self, tag: str, value: float, *, step: int) -> None:
        """Show TensorBoard a number."""
        self._events.write(scalar_pb(tag, value, description=description(tag)), step=step)

    def show_histogram(self, tag: str, values: Floats, *, step: int) -> None:
        """Show TensorBoard the distribution of values of any shape."""
        finite = values[np.isfinite(values)]
        finite = finite.astype(np.float64)  # in float32, the width of a range may overflow
        self._events.write(histogram_pb(tag, finite, description=description(tag)), step=step)

    def show_text(self, tag: str, text: str, *, step: int) -> None:
        """Show TensorBoard a text as it is, as a code block of Markdown."""
        lines = [f"    {line}\n" for line in text.splitlines()]
        self._events.write(text_pb(tag, "".join(lines)), step=step)

    def sync(self) -> None:
        """Wait until all lines, all events and the names of their files are on the disk."""
        self._metrics.sync()
        for events in self._event_logs:
            events.sync()
        with writing(self._folder):
            sync_folder(self._folder)

    def close(self) -> None:
        """Close the files."""
        self._metrics.close()
        for events in self._event_logs:
            events.close()

    @property
    def _event_logs(self) -> list[EventLog]:
        """The logs for TensorBoard."""
        return [self._events, *self._losses.values()]


def show_evaluation(
    log: RunLog,
    model: TrainedModel,
    windows: NDArray[Any] | None,
    *,
    weights: Mapping[str, Floats],
    ngram_nats: float | None,
    sample: str,
) -> None:
    """Show TensorBoard the state of a network at an evaluation.

    Args:
        log: Logs of the run.
        model: The network, with the average of the weights if one is kept.
        windows: Ids from `choose_windows`.
        weights: Trained weights by name.
        ngram_nats: Loss of the 5-gram model; None = unknown.
        sample: Text generated by the network, or "".

    """
    parameters, step = model.parameters, model.facts["step"]
    if ngram_nats is not None and step > 0:  # the line has begun at step 0
        log.show_loss(NGRAM, ngram_nats, step=step)
    if sample:
        log.show_text("sample", sample, step=step)
    for name, values in weights.items():
        log.show_histogram(f"weights/{name}", values, step=step)
    for index, layer in enumerate(parameters.layers):
        radius = spectral_radius(layer.recurrent_kernel)
        log.show_scalar(f"spectral_radius/layer_{index}", radius, step=step)
    if windows is None:
        return
    for index, layer_probe in enumerate(probe(parameters, windows)):
        gradient_reach = float(reach(layer_probe.gradient))
        log.show_scalar(f"saturation/layer_{index}", layer_probe.saturated_share, step=step)
        log.show_scalar(f"reach_of_gradient/layer_{index}", gradient_reach, step=step)
        log.show_histogram(f"state/layer_{index}", layer_probe.states, step=step)
