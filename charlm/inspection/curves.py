"""How a run learnt: its losses step by step, simple models to compare with, and its samples as they got better.

The samples are read from the TensorBoard events of the run, without TensorFlow. An event file is a row of records: the
size of the data (8 bytes, little-endian), a checksum (4), the data, a checksum (4). The file may be growing, so that
the last record may be cut; it may come from a stranger, so that what is not understood is skipped, and memory is
bounded.
"""

import math
import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.evaluation.baselines import NGRAM_ORDER, compressed_nats, unigram_nats
from charlm.runs.folder import METRICS_FILE, TENSORBOARD
from charlm.runs.metrics import read_metrics, to_number
from charlm.storage.files import open_file
from charlm.text.vocabulary import Vocabulary

Values = NDArray[np.float64]

MAX_POINTS = 1000
TAG = "sample"
"""What the tags of sampled texts begin with."""
MAX_SAMPLES = 6
MAX_CHARACTERS = 400
MAX_RECORD_BYTES = 1 << 20
"""The largest record that is read; a longer one, such as a graph, is skipped."""
INDENT = "    "
"""In front of each line: Markdown shows the text as it is."""


@dataclass(frozen=True, eq=False)
class Curve:
    """The loss on one part of the text over a run."""

    steps: NDArray[np.int64]
    """[points], ascending."""
    epochs: NDArray[np.float64]
    """[points]: passes over the training text."""
    nats_per_char: NDArray[np.float64]
    """[points]."""


@dataclass(frozen=True)
class Level:
    """The loss of a simple model on the validation text."""

    name: str
    """uniform, unigram, 5-gram or bz2."""
    nats_per_char: float


@dataclass(frozen=True)
class RunSample:
    """A text that the network wrote during training."""

    step: int
    text: str


@dataclass(frozen=True)
class Curves:
    """The learning curves of a run."""

    training: Curve
    """The mean loss of the steps before each point, with dropout if the run has it."""
    validation: Curve
    levels: tuple[Level, ...]
    """Simple models, highest loss first."""
    best_step: int | None
    """The step of the lowest validation loss; None if the run was not evaluated."""
    best_nats_per_char: float | None
    gap_nats: float | None
    """The validation loss less the training loss at the last evaluation; None if one of them is not known."""
    samples: tuple[RunSample, ...]
    """In order of their steps; empty if the run wrote none."""


def read_curves(run: Path, *, levels: tuple[Level, ...] = (), max_points: int = MAX_POINTS) -> Curves:
    """Read the learning curves of a run, which may be in training.

    Args:
        run: The folder of the run.
        levels: Simple models to compare with, from `measure_levels`.
        max_points: If a curve has more points, only so many are kept, evenly spread, the last one among them.

    Raises:
        CharlmError: metrics.jsonl is missing, too large, damaged or a link, or an event file cannot be read.

    """
    lines = read_metrics(run / METRICS_FILE)
    training, validation = (_curve(lines, split) for split in ("train", "validation"))
    best = int(validation.nats_per_char.argmin()) if len(validation.steps) else None
    return Curves(
        training=_thin(training, max_points),
        validation=_thin(validation, max_points),
        levels=levels,
        best_step=None if best is None else int(validation.steps[best]),
        best_nats_per_char=None if best is None else float(validation.nats_per_char[best]),
        gap_nats=_gap(training, validation),
        samples=read_samples(run),
    )


def measure_levels(
    ids: NDArray[Any], vocabulary: Vocabulary, training: NDArray[Any] | None, ngram_nats: Callable[[int], Values]
) -> tuple[Level, ...]:
    """Score a text with simple models: uniform, unigram, 5-gram and bz2.

    Args:
        ids: The text, integers [T], T >= 2.
        vocabulary: The characters by id.
        training: The training text, integers [M]; None = it is not known, and there are no n-gram models.
        ngram_nats: Returns the nats of ids 1 to T - 1 by the n-grams of an order, counted on the training text.

    Returns:
        Highest loss first.

    """
    found = {"uniform": math.log(len(vocabulary))}
    known = ids[:0] if training is None else training
    found["bz2"] = compressed_nats(ids, vocabulary, known, names=("bz2",))["bz2"]
    if len(known):
        found["unigram"] = unigram_nats(ids, known, vocabulary_size=len(vocabulary))
        found[f"{NGRAM_ORDER}-gram"] = float(ngram_nats(NGRAM_ORDER).mean())
    levels = [Level(name, nats) for name, nats in found.items()]
    return tuple(sorted(levels, key=lambda level: -level.nats_per_char))


def _curve(lines: Sequence[Mapping[str, Any]], split: str) -> Curve:
    """Return the losses on a split; a loss of a later line with the same step replaces an earlier one."""
    points: dict[int, tuple[float, float]] = {}
    for line in lines:
        step, epoch, nats = (to_number(line.get(key)) for key in ("step", "epoch", "nats_per_char"))
        if line.get("split") == split and step is not None and nats is not None:
            points[int(step)] = float(epoch or 0), float(nats)
    steps = sorted(points)
    values = np.array([points[step] for step in steps], np.float64).reshape(-1, 2)
    return Curve(np.array(steps, np.int64), values[:, 0], values[:, 1])


def _thin(curve: Curve, points: int) -> Curve:
    if len(curve.steps) <= points:
        return curve
    kept = np.round(np.linspace(0, len(curve.steps) - 1, points)).astype(np.int64)
    return Curve(curve.steps[kept], curve.epochs[kept], curve.nats_per_char[kept])


def _gap(training: Curve, validation: Curve) -> float | None:
    """Return the last validation loss less the training loss at the step nearest to it."""
    if not (len(training.steps) and len(validation.steps)):
        return None
    nearest = np.abs(training.steps - validation.steps[-1]).argmin()
    return float(validation.nats_per_char[-1] - training.nats_per_char[nearest])


def read_samples(
    run: Path, *, max_samples: int = MAX_SAMPLES, max_characters: int = MAX_CHARACTERS
) -> tuple[RunSample, ...]:
    """Return samples of a run, evenly spread over it, from the first to the last.

    If the run wrote several texts at each evaluation, for instance at several temperatures, those with the tag that
    came first are returned.

    Args:
        run: The folder of the run.
        max_samples: How many to return, at most; 1 or more.
        max_characters: Where each text is cut.

    Returns:
        In order of their steps; none if the run has no samples.

    Raises:
        CharlmError: an event file cannot be read, or is a link.

    """
    folder = run / TENSORBOARD
    if folder.is_symlink():
        raise CharlmError(f"{folder}: is a link; must be the folder itself")
    found: dict[str, dict[int, str]] = {}
    for path in sorted(folder.glob("*.tfevents.*")):
        with open_file(path, follow_links=False) as file:
            for tag, step, text in _texts(file):
                found.setdefault(tag, {})[step] = text[:max_characters]
    if not found:
        return ()
    by_step = sorted(found[TAG if TAG in found else next(iter(found))].items())
    count = min(max_samples, len(by_step))
    chosen = {round(index * (len(by_step) - 1) / max(count - 1, 1)) for index in range(count)}
    return tuple(RunSample(*by_step[index]) for index in sorted(chosen))


def _texts(file: BinaryIO) -> Iterator[tuple[str, int, str]]:
    """Yield the tag, step and text of each sample in an event file."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorboard.compat.proto.event_pb2 import Event

    for data in _records(file):
        if TAG.encode() not in data:  # most records are numbers and histograms
            continue
        try:
            event = Event.FromString(data)
        except DecodeError:
            continue
        for value in event.summary.value:
            if value.tag.startswith(TAG) and value.tensor.string_val:
                text = value.tensor.string_val[0].decode("utf-8", "replace")
                lines = (line.removeprefix(INDENT) for line in text.removesuffix("\n").split("\n"))
                yield value.tag, event.step, "\n".join(lines)


def _records(file: BinaryIO) -> Iterator[bytes]:
    """Yield the data of the whole records of a file, except very large ones."""
    end = os.fstat(file.fileno()).st_size
    place = 0
    while place + 16 <= end:
        file.seek(place)
        (size,) = struct.unpack("<Q", file.read(8))
        place += size + 16
        if place <= end and size <= MAX_RECORD_BYTES:
            file.seek(4, os.SEEK_CUR)
            yield file.read(size)
