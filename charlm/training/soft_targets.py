"""The soft targets of a run: what its teachers, and n-grams, give to each next character of the training text.

They are computed once, before training: the teachers read the text in segments side by side, and the n-grams of each part
are counted on the others, since what has counted a text is too sure of it. They are kept in the run as soft_targets.bin
(float16 [N, V], little-endian, then the SHA-256 of these bytes), so that a resumed run learns from the same bits. Row n
belongs to the character after position n of the training text.

Axes: N characters, V vocabulary.
"""

import hashlib
import itertools
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.config.file import load_config
from charlm.config.recipes import find_recipe
from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.evaluation.baselines import count_ngrams, predict_ngrams
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
"""The segments of the text that are read side by side, and how many characters are read before each of them."""
MEMORY_SHARE = 0.25
"""The share of the memory that the soft targets may take while they are computed."""
ROWS_AT_ONCE = 1 << 14
DIGEST_BYTES = hashlib.sha256().digest_size
"""The size of the digest at the end of the file."""
BLOCK_BYTES = 1 << 20
"""How much of the file is read at a time to verify it."""
NGRAM_PARTS, NGRAM_ORDER = 10, 12
"""The parts of the text that are predicted by the n-grams of the others, and the length of these. Prose gains little by
more than 6 characters, and loses nothing; source code, which repeats itself, gains."""

SoftTargets = NDArray[np.float16]
"""Probabilities of the next character, float16 [N, V]."""


def open_soft_targets(run: Run, *, on_event: OnEvent = ignore) -> SoftTargets | None:
    """Return the soft targets of a run; they are computed now if the run does not have them, or if they are damaged.

    Args:
        run: Its folder, config and corpus.
        on_event: Called with `SoftTargetsDamaged`, `TeachersReading` and each `NgramProgress`.

    Returns:
        float16 [N, V], memory-mapped, N = characters of the training text - 1; None if the config asks for none, or
        for no step.

    Raises:
        CharlmError: a teacher cannot be read or has another vocabulary than the text, or the file cannot be written.
        UnreadableError: the file is there and cannot be read.

    """
    settings = run.config.training
    if settings.is_untrained or not settings.soft_weight:
        return None
    path = run.folder / SOFT_TARGETS
    if not keeps_soft_targets(run):
        if path.exists():
            on_event(SoftTargetsDamaged(path))
        own = [run.folder / TEACHERS / str(seed) for seed in settings.used_teachers.seeds]
        teachers = _read_teachers([*map(Path, settings.used_teachers.models), *own], run.corpus)
        table = _compute(run, teachers, on_event=on_event)
        write_file(path, _contents(table))
    return np.memmap(path, DTYPE, "r", shape=_shape(run.corpus))


def _contents(table: SoftTargets) -> Iterator[bytes]:
    """Yield the contents of the file: the rows of a table, then their SHA-256."""
    digest = hashlib.sha256()
    for first in range(0, len(table), ROWS_AT_ONCE):
        rows = table[first : first + ROWS_AT_ONCE].tobytes()
        digest.update(rows)
        yield rows
    yield digest.digest()


def _compute(run: Run, teachers: Mapping[Path, TrainedModel], *, on_event: OnEvent) -> SoftTargets:
    """Return the mean of what the teachers and the n-grams predict, by their weights."""
    settings = run.config.training
    ids = run.corpus.split("train")
    if teachers:
        on_event(TeachersReading(len(teachers)))
        networks = [teacher.parameters for teacher in teachers.values()]
        table = compute_soft_targets(networks, ids)
    else:
        table = np.zeros(_shape(run.corpus), DTYPE)
    if settings.ngram_weight:
        share = np.float32(settings.ngram_weight / settings.soft_weight)
        predictions = cross_predict(
            ids, vocabulary_size=len(run.corpus.vocabulary), on_event=on_event
        )
        for rows, predicted in predictions:
            table[rows] = (1 - share) * table[rows] + share * predicted
    return table


def cross_predict(
    ids: NDArray[Any], *, vocabulary_size: int, parts: int = NGRAM_PARTS, on_event: OnEvent = ignore
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Predict each part of a text by the n-grams of all the others.

    Args:
        ids: Integers [N + 1], N >= 1.
        vocabulary_size: V.
        parts: Of nearly the same length, 2 or more.
        on_event: Called with `NgramProgress` before the first part and after each.

    Yields:
        Neighbouring rows of a table [N, V], and what is predicted for the characters after them; all rows in order.

    """
    ids = ids.astype(np.int64)
    borders = np.linspace(0, len(ids), parts + 1).astype(int).tolist()
    on_event(NgramProgress(done=0, total=parts))
    for done, (start, end) in enumerate(itertools.pairwise(borders), start=1):
        others = np.concatenate([ids[:start], ids[end:]])
        model = count_ngrams(others, vocabulary_size=vocabulary_size, order=NGRAM_ORDER)
        row = max(start, 1) - 1
        for predicted in predict_ngrams(model, ids[:end], first=row + 1):
            yield slice(row, row + len(predicted)), predicted
            row += len(predicted)
        on_event(NgramProgress(done=done, total=parts))


def keeps_soft_targets(run: Run) -> bool:
    """Return whether a run has its soft targets, undamaged, so that its teachers are needed no more.

    Raises:
        UnreadableError: the file is there and cannot be read.

    """
    path = run.folder / SOFT_TARGETS
    with reading(path):
        is_there = path.exists()
    return is_there and _is_intact(path, size=_bytes(run.corpus))


def _is_intact(path: Path, *, size: int) -> bool:
    """Return whether a file has rows of some size, in bytes, and then their digest."""
    with open_file(path) as file:
        if os.fstat(file.fileno()).st_size != size + DIGEST_BYTES:
            return False
        digest = hashlib.sha256()
        rest = size
        while rest:
            block = file.read(min(rest, BLOCK_BYTES))
            if not block:
                return False
            digest.update(block)
            rest -= len(block)
        return file.read() == digest.digest()


def check_teachers(config: Config, corpus: Corpus, *, available_bytes: int | None) -> None:
    """Check, before a run begins, that it can learn from its teachers, and hold what they predict.

    Raises:
        CharlmError: one that is named cannot be read or has another vocabulary than the text, their recipe cannot be
            read or has teachers itself, or there is too little memory for the soft targets.

    """
    _read_teachers(map(Path, config.training.used_teachers.models), corpus)
    teachers, needed = config.training.teachers, _bytes(corpus)
    if teachers is not None and teachers.recipe is not None:
        recipe = load_config(find_recipe(teachers.recipe))
        if recipe.training.teachers is not None:
            raise CharlmError(
                f"training.teachers.recipe: {teachers.recipe} has teachers itself; name one without"
            )
    if (
        config.training.soft_weight
        and available_bytes is not None
        and needed > MEMORY_SHARE * available_bytes
    ):
        rows, width = _shape(corpus)
        raise CharlmError(
            f"training.teachers, ngram_weight: the soft targets of {rows:,} characters with {width:,} ids take "
            f"{needed / 1e9:,.1f} GB, more than a quarter of the memory of this machine: use a shorter text, "
            f"or none of them: training.ngram_weight=0, training.teacher_weight=0"
        )


def _bytes(corpus: Corpus) -> int:
    return math.prod(_shape(corpus)) * DTYPE.itemsize


def _shape(corpus: Corpus) -> tuple[int, int]:
    """Return the shape [N, V] of the soft targets for a text."""
    return len(corpus.split("train")) - 1, len(corpus.vocabulary)


def _read_teachers(paths: Iterable[Path], corpus: Corpus) -> dict[Path, TrainedModel]:
    """Return some teachers by their files; their vocabulary is that of the text."""
    try:
        files = [find_model(path) for path in paths]
    except CharlmError as error:
        raise CharlmError(f"training.teachers: {error}") from None
    teachers = {file: read_model(file) for file in files}
    for file, teacher in teachers.items():
        if teacher.vocabulary != corpus.vocabulary:
            raise CharlmError(
                f"{file}: has another vocabulary than the text; name a teacher that read the same text"
            )
    return teachers


def compute_soft_targets(
    networks: Sequence[Parameters],
    ids: NDArray[Any],
    *,
    streams: int = STREAMS,
    warm_up: int = WARM_UP,
) -> SoftTargets:
    """Return the probabilities of each next character of a text, softmax(mean of the logits).

    Args:
        networks: The weights of each network, one or more, with the same V.
        ids: Integers [N + 1], N >= 1.
        streams: See `charlm.network.reading.read_segments`.
        warm_up: See there.

    Returns:
        float16 [N, V], little-endian.

    """
    table = np.empty((len(ids) - 1, networks[0].vocabulary_size), DTYPE)
    width = max(network.width for network in networks)
    read = [
        read_segments(network, ids, streams=streams, warm_up=warm_up, width=width)
        for network in networks
    ]
    for segments in zip(*read, strict=True):
        positions, total = segments[0][1], segments[0][0]
        for logits, _ in segments[1:]:
            total += logits
        table[positions] = probabilities(total / np.float32(len(networks)))
    return table
