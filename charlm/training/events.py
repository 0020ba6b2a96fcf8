"""What TensorBoard shows of a training: what is computed at an evaluation, what each tag means, and the event file.

The file is written without TensorFlow: `tf.summary` would notice a full disk late, leave half an event in the file, and
raise its own kind of error.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as custom_scalars
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto

from charlm.config.file import dump_config
from charlm.config.schema import Config
from charlm.evaluation.baselines import NGRAM_ORDER
from charlm.network.gradients import LARGEST_SLOPES, SATURATED_BELOW, LagCurve, lag_curves, read_text, spectral_radius
from charlm.network.rnn import Floats, Parameters
from charlm.storage.files import Log, sync_folder, writing

NGRAM = f"{NGRAM_ORDER}-gram"
WINDOWS, WARM_UP, LAGS = 16, 32, 48
"""B windows of WARM_UP + LAGS characters; the state after the first ones is no longer that of the start."""
STRIDE = 6
"""Every so many characters, the states are counted in the histogram."""
REACHED = 0.1
"""The share of the gradient at lag 0 that counts as reached."""


@dataclass(frozen=True)
class Views:
    """What is shown of one evaluation, by tag."""

    scalars: Mapping[str, float] = field(default_factory=dict)
    histograms: Mapping[str, Floats] = field(default_factory=dict)
    """Values of any shape."""
    texts: Mapping[str, str] = field(default_factory=dict)


DESCRIPTIONS: Mapping[str, str] = {
    "gradient_norm": "Norm of the gradient of the step that is logged, before clipping.",
    "spectral_radius": "Largest size of an eigenvalue of the recurrent kernel V.",
    "saturated": "Share of the units and positions at which the slope of the activation is below 0.19 of its largest: "
    "|h| > 0.9 for tanh, an output of 0 for relu.",
    "state": "Outputs h of the units while the network reads validation text.",
    "gradient_reach": "Lag k in characters at which |dL_t/dh_(t-k)| / |dL_t/dh_t|, the median of the windows, falls "
    "below a tenth: how far back the gradient of one prediction reaches; 48 = at least so far.",
    "nats_per_char/5-gram": "What a 5-gram model (interpolated modified Kneser-Ney) scores on the same text.",
    "best_nats_per_char": "The lowest loss of all evaluations so far.",
}
"""What a tag, or all tags that begin with it and a slash, mean; TensorBoard shows it beside the chart."""


def description(tag: str) -> str | None:
    """Return what a tag means, or None if that needs no words."""
    return DESCRIPTIONS.get(tag, DESCRIPTIONS.get(tag.partition("/")[0]))


@dataclass(frozen=True, eq=False)
class LayerProbe:
    """What one layer did."""

    states: Floats
    """A sample of its outputs h, float32 of any shape."""
    saturated_share: float
    """The share of units and positions at which the slope of the activation is below 0.19 of its largest."""
    gradient: LagCurve


def choose_windows(ids: NDArray[Any]) -> NDArray[Any] | None:
    """Return evenly spaced windows of a text, integers [T + 1, B]; None if it has fewer than 2 ids."""
    length = min(WARM_UP + LAGS, len(ids) - 1)
    if length < 1:
        return None
    windows = sliding_window_view(ids, length + 1)
    starts = np.unique(np.linspace(0, len(windows) - 1, WINDOWS).astype(np.int64))
    return np.asarray(windows[starts].T, np.int64)


def probe(parameters: Parameters, windows: NDArray[Any]) -> list[LayerProbe]:
    """Read windows with a network, and follow the gradient of the last prediction of each back.

    Args:
        parameters: The weights.
        windows: What `choose_windows` returned.

    Returns:
        What each layer did, lowest first.

    """
    with np.errstate(all="ignore"):  # weights that are not finite show as NaN
        trace = read_text(parameters, windows)
        end = len(windows) - 1
        lags, texts = min(LAGS, end), np.arange(windows.shape[1])
        curves = lag_curves(trace, np.full(len(texts), end - 1), lags=lags, texts=texts)
        limit = SATURATED_BELOW * LARGEST_SLOPES.get(parameters.activation, 1.0)
        return [
            LayerProbe(output[end - lags : end : STRIDE], float((slope[end - lags : end] < limit).mean()), curve)
            for output, slope, curve in zip(trace.outputs, trace.slopes, curves, strict=True)
        ]


def reach(curve: LagCurve) -> int:
    """Return the lag at which the median of a gradient by lag has fallen to a tenth; its length if it has not."""
    below = np.flatnonzero(np.nan_to_num(curve.median, nan=0.0) < REACHED)
    return int(below[0]) if len(below) else len(curve.median)


def views_of(
    parameters: Parameters,
    windows: NDArray[Any] | None,
    *,
    weights: Mapping[str, Floats],
    sample: str,
    best_nats: float | None,
    ngram_nats: float | None,
) -> Views:
    """Return what is shown of an evaluation and of its network.

    Args:
        parameters: The network that is evaluated: the average of the weights if one is kept.
        windows: What `choose_windows` returned.
        weights: The trained weights by their names in a model file.
        sample: The sampled text, or "".
        best_nats: The lowest loss so far in nats per character, or None.
        ngram_nats: What a 5-gram model scores on the same text, or None.

    """
    scalars = dict[str, float]()
    histograms = {f"weights/{name}": values for name, values in weights.items()}
    if ngram_nats is not None:
        scalars[f"nats_per_char/{NGRAM}"] = ngram_nats
    if best_nats is not None:
        scalars["best_nats_per_char"] = best_nats
    for index, layer in enumerate(parameters.layers):
        scalars[f"spectral_radius/rnn.{index}"] = spectral_radius(layer.recurrent_kernel)
    for index, found in enumerate([] if windows is None else probe(parameters, windows)):
        scalars[f"saturated/rnn.{index}"] = found.saturated_share
        scalars[f"gradient_reach/rnn.{index}"] = float(reach(found.gradient))
        histograms[f"state/rnn.{index}"] = found.states
    return Views(scalars, histograms, {"sample": sample} if sample else {})


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
        "norm of the gradient": r"gradient_norm",
        "learning rate": r"learning_rate",
    },
    "network": {
        "spectral radius of the recurrent kernel": r"spectral_radius/.+",
        "share of saturated units": r"saturated/.+",
        "lag at which the gradient falls below a tenth": r"gradient_reach/.+",
    },
}
"""The charts of the tab CUSTOM SCALARS: a pattern of tags by title, by category."""


def cut_events(path: Path, *, step: int) -> None:
    """Cut an event file before the first event of a later step, and an event that was not written whole.

    A resumed run writes them again; TensorBoard's fast loader would show those of other tags until then.

    Raises:
        CharlmError: the file cannot be read or cut.

    """
    with writing(path), path.open("r+b") as file:
        size = 0
        while len(head := file.read(12)) == 12:  # the length of the event, and a checksum; another one comes after it
            length = int.from_bytes(head[:8], "little")
            record = file.read(length + 4)
            if len(record) < length + 4 or Event.FromString(record[:length]).step > step:
                break
            size = file.tell()
        file.truncate(size)


class EventLog:
    """A new event file in the folder of a run; its methods raise CharlmError if it cannot be written.

    Args:
        folder: That of the run.
        step: The first step that it tells of: TensorBoard forgets what earlier files say of this and later steps.

    """

    def __init__(self, folder: Path, *, step: int = 0) -> None:
        self._folder = folder
        self._log = Log(folder / f"events.out.tfevents.{time.time_ns()}")
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(step=step, session_log=SessionLog(status=SessionLog.START)))

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
            self._show(scalar_pb(tag, value, description=description(tag)), step=metrics["step"])

    def show_text(self, tag: str, text: str, *, step: int) -> None:
        """Write a text that TensorBoard shows as it is, not as Markdown."""
        self._show(text_pb(tag, _preformatted(text)), step=step)

    def show(self, views: Views, *, step: int) -> None:
        """Write what is shown of an evaluation."""
        for tag, value in views.scalars.items():
            self._show(scalar_pb(tag, value, description=description(tag)), step=step)
        for tag, values in views.histograms.items():
            finite = values[np.isfinite(values)].astype(np.float64)  # in float32, the width of a range may overflow
            self._show(histogram_pb(tag, finite, BUCKETS, description=description(tag)), step=step)
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
