"""Soft targets: predictions of teachers and n-grams for each character of the training text.

They are computed once, before training. The n-grams of each part of the text are counted on the
other parts, since a model is too sure of its own text. The run keeps the soft targets in
soft_targets.bin (float16 [N, V], little-endian), so that a resumed run learns from the same bits.
Row n predicts the character after position n.

Axes: N characters, V vocabulary.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.config.schema import Config, TrainingConfig
from charlm.errors import CharlmError
from charlm.evaluation.ngrams import count_ngrams, predict_ngrams
from charlm.events import Note, OnEvent, Progress, ignore
from charlm.hardware import memory_bytes
from charlm.network.model_file import TrainedModel, read_model
from charlm.network.reading import read_segments
from charlm.network.rnn import Parameters, probabilities
from charlm.runs.folder import SOFT_TARGETS, find_model
from charlm.storage import write_file
from charlm.text.corpus import Corpus
from charlm.wording import counted

DTYPE = np.dtype("<f2")
STREAMS, WARM_UP = 256, 512
"""Number of segments that are read in parallel, and of characters that are read before each."""
MEMORY_SHARE = 0.25
"""Largest share of the memory for soft targets while they are computed."""
TASK = "counting n-grams"
"""Name of the task in its progress."""
NGRAM_PARTS, NGRAM_ORDER = 10, 12
"""Number of parts of the text, and length of the n-grams. For prose, 12 characters are little
better than 6; for repetitive text such as source code, they are clearly better."""

SoftTargets = NDArray[np.float16]
"""Probabilities of the next character, float16 [N, V]."""


def open_soft_targets(
    folder: Path, config: Config, corpus: Corpus, *, on_event: OnEvent = ignore
) -> SoftTargets | None:
    """Return the soft targets of a run; compute them if their file is missing or cut.

    Args:
        folder: The folder of the run.
        config: Every setting of the run.
        corpus: The text of the run.
        on_event: Called with notes and the progress.

    Returns:
        float16 [N, V], memory-mapped, N = characters of the training text - 1; None if the run
        needs no soft targets.

    Raises:
        CharlmError: A teacher cannot be read or has a different vocabulary than the text, there is
            too little memory, or the file cannot be written.

    """
    settings = config.training
    if settings.is_untrained or not settings.soft_weight:
        return None
    path = folder / SOFT_TARGETS
    rows, columns = _shape(corpus)
    has_size = path.exists() and path.stat().st_size == rows * columns * DTYPE.itemsize
    if not has_size:
        problem = memory_problem(corpus, available_bytes=memory_bytes())
        if problem is not None:
            raise CharlmError(f"training.teachers: {problem}; use a shorter text, or no teachers")
        write_file(path, _compute(settings, corpus, on_event=on_event).data)
    return np.memmap(path, DTYPE, "r", shape=(rows, columns))


def _compute(settings: TrainingConfig, corpus: Corpus, *, on_event: OnEvent) -> SoftTargets:
    """Return the weighted mean of the predictions of the teachers and the n-grams."""
    ids = corpus.split("train")
    if settings.teachers and settings.teacher_weight:
        teachers = _read_teachers(settings.teachers, corpus)
        on_event(Note(f"{counted(len(teachers), 'teacher')}: reading the training text"))
        table = compute_soft_targets([teacher.parameters for teacher in teachers], ids)
    else:
        table = np.zeros(_shape(corpus), DTYPE)
    if settings.ngram_weight:
        share = np.float32(settings.ngram_weight / settings.soft_weight)
        predictions = cross_predict(ids, vocabulary_size=len(corpus.vocabulary), on_event=on_event)
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
        on_event: Called with the progress before the first part and after each.

    Yields:
        Consecutive rows of a table [N, V], and the predictions for them; all rows in order.

    """
    ids = ids.astype(np.int64)
    borders = np.linspace(0, len(ids), parts + 1).astype(int).tolist()
    on_event(Progress(TASK, 0, parts, "part"))
    for done, (start, end) in enumerate(itertools.pairwise(borders), start=1):
        others = np.concatenate([ids[:start], ids[end:]])
        model = count_ngrams(others, vocabulary_size=vocabulary_size, order=NGRAM_ORDER)
        row = max(start, 1) - 1
        for predicted in predict_ngrams(model, ids[:end], first=row + 1):
            yield slice(row, row + len(predicted)), predicted
            row += len(predicted)
        on_event(Progress(TASK, done, parts, "part"))


def memory_problem(corpus: Corpus, *, available_bytes: int | None) -> str | None:
    """Return why the soft targets of a text do not fit in memory (None = unknown), or None."""
    rows, columns = _shape(corpus)
    needed_bytes = rows * columns * DTYPE.itemsize
    if available_bytes is None or needed_bytes <= MEMORY_SHARE * available_bytes:
        return None
    return (
        f"the soft targets of {rows:,} characters, with a vocabulary of {columns:,} ids, take "
        f"{needed_bytes / 1e9:,.1f} GB, more than a quarter of the memory of this machine"
    )


def _shape(corpus: Corpus) -> tuple[int, int]:
    return len(corpus.split("train")) - 1, len(corpus.vocabulary)


def _read_teachers(names: Iterable[str], corpus: Corpus) -> list[TrainedModel]:
    """Read teachers, and check that they have the vocabulary of the text."""
    teachers = []
    for name in names:
        try:
            file = find_model(Path(name))
        except CharlmError as error:
            raise CharlmError(f"training.teachers: {error}") from None
        teacher = read_model(file)
        if teacher.vocabulary != corpus.vocabulary:
            raise CharlmError(
                f"{file}: has a different vocabulary from the text; use a teacher that was trained "
                "on the same text"
            )
        teachers.append(teacher)
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
