"""Soft targets: predictions of teachers and n-grams for each character of the training text.

They are computed once, before training. The n-grams of each part of the text are counted on the
other parts, since a model is too sure of its own text. The run keeps the soft targets in
soft_targets.bin (float16 [N, V], little-endian, then the SHA-256 of these bytes), so that a resumed
run learns from the same bits. Row n predicts the character after position n.

Axes: N characters, V vocabulary.
"""

import hashlib
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.config.file import load_config
from charlm.config.recipes import find_recipe
from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.evaluation.ngrams import count_ngrams, predict_ngrams
from charlm.events import NgramProgress, OnEvent, SoftTargetsDamaged, TeachersReading, ignore
from charlm.network.model_file import TrainedModel, read_model
from charlm.network.reading import read_segments
from charlm.network.rnn import Parameters, probabilities
from charlm.runs.folder import SOFT_TARGETS, TEACHERS, find_model
from charlm.runs.run import Run
from charlm.storage import open_file, reading, write_file
from charlm.text.corpus import Corpus

DTYPE = np.dtype("<f2")
STREAMS, WARM_UP = 256, 512
"""Number of segments that are read in parallel, and of characters that are read before each."""
MEMORY_SHARE = 0.25
"""Largest share of the memory for soft targets while they are computed."""
ROWS_AT_ONCE = 1 << 14
"""Number of rows that are written at a time."""
BLOCK_BYTES = 1 << 20
"""Number of bytes of the file that are verified at a time."""
NGRAM_PARTS, NGRAM_ORDER = 10, 12
"""Number of parts of the text, and length of the n-grams. For prose, 12 characters are little
better than 6; for repetitive text such as source code, they are clearly better."""

SoftTargets = NDArray[np.float16]
"""Probabilities of the next character, float16 [N, V]."""


def open_soft_targets(run: Run, *, on_event: OnEvent = ignore) -> SoftTargets | None:
    """Return the soft targets of a run; compute them if they are missing or damaged.

    Returns:
        float16 [N, V], memory-mapped, N = characters of the training text - 1; None if the run
        needs no soft targets.

    Raises:
        CharlmError: A teacher cannot be read or has a different vocabulary than the text, or the
            file cannot be written.
        UnreadableError: The file exists and cannot be read.

    """
    settings = run.config.training
    if settings.is_untrained or not settings.soft_weight:
        return None
    path = run.folder / SOFT_TARGETS
    if not keeps_soft_targets(run):
        if path.exists():
            on_event(SoftTargetsDamaged(path))
        teachers = settings.used_teachers
        trained = [run.folder / TEACHERS / str(seed) for seed in teachers.seeds]
        models = _read_teachers([*map(Path, teachers.models), *trained], run.corpus)
        write_file(path, _contents(_compute(run, models, on_event=on_event)))
    return np.memmap(path, DTYPE, "r", shape=_shape(run.corpus))


def _contents(table: SoftTargets) -> Iterator[bytes]:
    """Yield the contents of the file: the rows of a table, then their SHA-256."""
    digest = hashlib.sha256()
    for first in range(0, len(table), ROWS_AT_ONCE):
        rows = table[first : first + ROWS_AT_ONCE].tobytes()
        digest.update(rows)
        yield rows
    yield digest.digest()


def _compute(run: Run, teachers: Sequence[TrainedModel], *, on_event: OnEvent) -> SoftTargets:
    """Return the weighted mean of the predictions of the teachers and the n-grams."""
    settings = run.config.training
    ids = run.corpus.split("train")
    if teachers:
        on_event(TeachersReading(len(teachers)))
        table = compute_soft_targets([teacher.parameters for teacher in teachers], ids)
    else:
        table = np.zeros(_shape(run.corpus), DTYPE)
    if settings.ngram_weight:
        share = np.float32(settings.ngram_weight / settings.soft_weight)
        vocabulary_size = len(run.corpus.vocabulary)
        predictions = cross_predict(ids, vocabulary_size=vocabulary_size, on_event=on_event)
        for rows, predicted in predictions:
            table[rows] = (1 - share) * table[rows] + share * predicted
    return table


def cross_predict(
    ids: NDArray[Any], *, vocabulary_size: int, parts: int = NGRAM_PARTS, on_event: OnEvent = ignore
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Predict each part of a text with the n-grams of all other parts.

    Args:
        ids: Integers [N + 1], N >= 1.
        vocabulary_size: V.
        parts: Number of parts, 2 or more.
        on_event: Called with `NgramProgress` before the first part and after each.

    Yields:
        Consecutive rows of a table [N, V], and the predictions for them; all rows in order.

    """
    ids = ids.astype(np.int64)
    borders = np.linspace(0, len(ids), parts + 1).astype(int).tolist()
    on_event(NgramProgress(done=0, total=parts))
    for done, (start, end) in enumerate(itertools.pairwise(borders), start=1):
        counted = np.concatenate([ids[:start], ids[end:]])
        model = count_ngrams(counted, vocabulary_size=vocabulary_size, order=NGRAM_ORDER)
        row = max(start, 1) - 1
        for predicted in predict_ngrams(model, ids[:end], first=row + 1):
            yield slice(row, row + len(predicted)), predicted
            row += len(predicted)
        on_event(NgramProgress(done=done, total=parts))


def keeps_soft_targets(run: Run) -> bool:
    """Return whether a run has undamaged soft targets.

    Raises:
        UnreadableError: The file exists and cannot be read.

    """
    path = run.folder / SOFT_TARGETS
    with reading(path):
        exists = path.exists()
    if not exists:
        return False
    size = _size_bytes(run.corpus)
    digest = hashlib.sha256()
    with open_file(path) as file:
        for start in range(0, size, BLOCK_BYTES):
            digest.update(file.read(min(BLOCK_BYTES, size - start)))
        return file.read(digest.digest_size + 1) == digest.digest()


def check_teachers(config: Config, corpus: Corpus, *, available_bytes: int | None) -> None:
    """Check that the teachers of a new run are usable and its soft targets fit in memory.

    Raises:
        CharlmError: A teacher or its recipe cannot be read, a teacher has a different vocabulary
            than the text, a recipe has teachers itself, or there is too little memory.

    """
    settings = config.training
    _read_teachers(map(Path, settings.used_teachers.models), corpus)
    recipe = None if settings.teachers is None else settings.teachers.recipe
    if recipe is not None and load_config(find_recipe(recipe)).training.teachers is not None:
        raise CharlmError(f"training.teachers.recipe: {recipe} has teachers itself; choose another")
    if not settings.soft_weight or available_bytes is None:
        return
    needed_bytes = _size_bytes(corpus)
    if needed_bytes > MEMORY_SHARE * available_bytes:
        rows, columns = _shape(corpus)
        raise CharlmError(
            f"training.teachers, ngram_weight: the soft targets of {rows:,} characters, with a "
            f"vocabulary of {columns:,} ids, take {needed_bytes / 1e9:,.1f} GB, more than a "
            "quarter of the memory of this machine; use a shorter text, or no soft targets: "
            "training.ngram_weight=0, training.teacher_weight=0"
        )


def _size_bytes(corpus: Corpus) -> int:
    return math.prod(_shape(corpus)) * DTYPE.itemsize


def _shape(corpus: Corpus) -> tuple[int, int]:
    return len(corpus.split("train")) - 1, len(corpus.vocabulary)


def _read_teachers(paths: Iterable[Path], corpus: Corpus) -> list[TrainedModel]:
    """Read teachers, and check that they have the vocabulary of the text."""
    try:
        files = [find_model(path) for path in paths]
    except CharlmError as error:
        raise CharlmError(f"training.teachers: {error}") from None
    teachers = {file: read_model(file) for file in files}
    for file, teacher in teachers.items():
        if teacher.vocabulary != corpus.vocabulary:
            raise CharlmError(
                f"{file}: has a different vocabulary from the text; use a teacher that was trained "
                "on the same text"
            )
    return [*teachers.values()]


def compute_soft_targets(
    networks: Sequence[Parameters],
    ids: NDArray[Any],
    *,
    streams: int = STREAMS,
    warm_up: int = WARM_UP,
) -> SoftTargets:
    """Return the probabilities of each next character of a text, softmax(mean of the logits).

    Args:
        networks: Weights of each network, one or more, with the same V.
        ids: Integers [N + 1], N >= 1.
        streams: Number of segments that are read in parallel.
        warm_up: Number of characters that are read before each segment.

    Returns:
        float16 [N, V], little-endian.

    """
    table = np.empty((len(ids) - 1, networks[0].vocabulary_size), DTYPE)
    width = max(network.width for network in networks)
    readings = [
        read_segments(network, ids, streams=streams, warm_up=warm_up, width=width)
        for network in networks
    ]
    for segments in zip(*readings, strict=True):
        total, positions = segments[0]
        for logits, _ in segments[1:]:
            total += logits
        table[positions] = probabilities(total / np.float32(len(networks)))
    return table
