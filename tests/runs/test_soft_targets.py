"""Soft targets: how they are computed, and the file that keeps them."""

from itertools import pairwise
from pathlib import Path

import fake_runs
import numpy as np
import pytest
from fake_runs import TEXT

from charlm.core.engine import SoftTargets
from charlm.events import Event, Progress
from charlm.measures.ngrams import count_ngrams, predict_ngrams
from charlm.runs.run import Run
from charlm.runs.soft_targets import (
    cross_predict,
    memory_problem,
    open_soft_targets,
)

NGRAMS = "training.ngram_weight=0.4"
IDS = np.random.default_rng(5).integers(0, 5, 91)


def begin(*overrides: str, text: str = TEXT, name: str = "run") -> Run:
    """Begin a run on a short text, whose soft targets are then computed."""
    Path("text.txt").write_text(text, encoding="utf-8")
    return fake_runs.begin(Path(name), *overrides, text=Path("text.txt"))


def table_of(run: Run) -> SoftTargets:
    """Return the soft targets of a run that has some."""
    table = open_soft_targets(run.folder, run.config, run.corpus)
    assert table is not None
    return table


def events_of(run: Run) -> list[Event]:
    """Open the soft targets of a run, and return the events."""
    events: list[Event] = []
    open_soft_targets(run.folder, run.config, run.corpus, on_event=events.append)
    return events


# Computing


def test_n_grams_of_a_large_vocabulary_predict_a_few_rows_at_a_time() -> None:
    rows = [rows for rows, _ in cross_predict(IDS, vocabulary_size=1 << 15)]
    borders = [0, 8, 16, 17, 25, 26, 34, 35, 43, 44, 52, 53, 61, 62, 70, 71, 79, 80, 88, 90]
    assert rows == [slice(start, end) for start, end in pairwise(borders)]


def test_each_part_of_a_text_is_predicted_by_the_n_grams_of_the_others() -> None:
    for rows, predicted in cross_predict(IDS, vocabulary_size=5):
        start = rows.start + 1 if rows.start else 0
        other_parts = np.delete(IDS, slice(start, rows.stop + 1))
        counts = count_ngrams(other_parts, vocabulary_size=5, order=12)
        expected = np.concatenate([*predict_ngrams(counts, IDS, first=1)])
        np.testing.assert_array_equal(predicted, expected[rows])


def test_the_soft_targets_of_a_run_are_the_predictions_of_the_n_grams() -> None:
    run = begin(NGRAMS)
    ids = run.corpus.split("train")
    predictions = cross_predict(ids, vocabulary_size=len(run.corpus.vocabulary))
    expected = np.concatenate([predicted for _, predicted in predictions])
    np.testing.assert_array_equal(table_of(run), expected.astype(np.float16))


@pytest.mark.parametrize("setting", ["training.ngram_weight=0", "training.steps=0"])
def test_a_run_that_needs_no_soft_targets_has_none(setting: str) -> None:
    run = begin(NGRAMS, setting)
    assert open_soft_targets(run.folder, run.config, run.corpus) is None
    assert not (run.folder / "soft_targets.bin").exists()


# The file


def test_lost_soft_targets_are_computed_again() -> None:
    run = begin(NGRAMS)
    assert events_of(run) == []
    path = run.folder / "soft_targets.bin"
    before = path.read_bytes()
    path.unlink()
    assert events_of(run) == [Progress("counting n-grams", done, 10, "part") for done in range(11)]
    assert path.read_bytes() == before


NEEDED = 2 * 107 * 6
"""Bytes of the soft targets of 107 characters with 6 ids."""


@pytest.mark.parametrize(
    ("available_bytes", "fits"), [(4 * NEEDED, True), (4 * NEEDED - 1, False), (None, True)]
)
def test_soft_targets_take_at_most_a_quarter_of_the_memory(
    available_bytes: int | None, fits: bool
) -> None:
    corpus = begin(text=20 * "abcde ").corpus
    problem = memory_problem(corpus, available_bytes=available_bytes) or ""
    assert bool(problem) != fits
    assert fits or "of 107 characters, with a vocabulary of 6 ids, take 0.0 GB" in problem
