"""Soft targets: predictions of n-grams for each character of the training text.

They are computed once, before training. The n-grams of each part of the text are counted on the
other parts, since a model is too sure of its own text. The run keeps the soft targets in
soft_targets.bin (float16 [N, V], little-endian), so that a resumed run learns from the same bits.
Row n predicts the character after position n.

Axes: N characters, V vocabulary.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from charlm.config.schema import Config
from charlm.core.engine import SoftTargets
from charlm.core.rnn import Values
from charlm.core.vocabulary import Ids
from charlm.events import OnEvent, Progress, ignore
from charlm.measures.ngrams import count_ngrams, predict_ngrams
from charlm.runs.folder import SOFT_TARGETS
from charlm.storage import write_file
from charlm.text.corpus import Corpus

DTYPE = np.dtype("<f2")
MEMORY_SHARE = 0.25
"""Largest share of the memory for soft targets while they are computed."""
TASK = "counting n-grams"
"""Name of the task in its progress."""
NGRAM_PARTS, NGRAM_ORDER = 10, 12
"""Number of parts of the text, and length of the n-grams. For prose, 12 characters are little
better than 6; for repetitive text such as source code, they are clearly better."""


def open_soft_targets(
    folder: Path, config: Config, corpus: Corpus, *, on_event: OnEvent = ignore
) -> SoftTargets | None:
    """Return the soft targets of a run; compute them if their file is missing or cut.

    Args:
        folder: The folder of the run.
        config: Every setting of the run.
        corpus: The text of the run.
        on_event: Called with the progress.

    Returns:
        float16 [N, V], memory-mapped, N = characters of the training text - 1; None if the run
        needs no soft targets.

    Raises:
        CharlmError: The file cannot be written.

    """
    settings = config.training
    if settings.is_untrained or not settings.ngram_weight:
        return None
    path = folder / SOFT_TARGETS
    shape = rows, columns = _shape(corpus)
    has_size = path.exists() and path.stat().st_size == rows * columns * DTYPE.itemsize
    if not has_size:
        table = np.empty(shape, DTYPE)
        ids = corpus.split("train")
        for part, predicted in cross_predict(ids, vocabulary_size=columns, on_event=on_event):
            table[part] = predicted
        write_file(path, table.data)
    return np.memmap(path, DTYPE, "r", shape=shape)


def cross_predict(
    ids: Ids, *, vocabulary_size: int, on_event: OnEvent = ignore
) -> Iterator[tuple[slice, Values]]:
    """Predict each part of a text with the n-grams of all other parts.

    Args:
        ids: Integers [N + 1], N >= 1.
        vocabulary_size: V.
        on_event: Called with the progress before the first part and after each.

    Yields:
        Consecutive rows of a table [N, V], and the predictions for them; all rows in order.

    """
    ids = ids.astype(np.int64)
    borders = np.linspace(0, len(ids), NGRAM_PARTS + 1).astype(int).tolist()
    on_event(Progress(TASK, 0, NGRAM_PARTS, "part"))
    for done, (start, end) in enumerate(itertools.pairwise(borders), start=1):
        others = np.concatenate([ids[:start], ids[end:]])
        model = count_ngrams(others, vocabulary_size=vocabulary_size, order=NGRAM_ORDER)
        row = max(start, 1) - 1
        for predicted in predict_ngrams(model, ids[:end], first=row + 1):
            yield slice(row, row + len(predicted)), predicted
            row += len(predicted)
        on_event(Progress(TASK, done, NGRAM_PARTS, "part"))


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
