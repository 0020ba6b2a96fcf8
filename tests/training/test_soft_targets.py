"""Soft targets: how they are computed, and the file that keeps them."""

import shutil
from itertools import pairwise
from pathlib import Path

import fake_runs
import numpy as np
import pytest
import reference as definition
from fake_runs import TEXT, Trained
from models import random_parameters

from charlm.errors import CharlmError
from charlm.evaluation.ngrams import count_ngrams, predict_ngrams
from charlm.events import Event, Note, Progress
from charlm.runs.run import Run
from charlm.training.soft_targets import (
    SoftTargets,
    compute_soft_targets,
    cross_predict,
    memory_problem,
    open_soft_targets,
)

NGRAMS = "training.ngram_weight=0.4"
IDS = np.random.default_rng(5).integers(0, 5, 61)


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


@pytest.fixture
def teachers(reference: Trained, tmp_path: Path) -> str:
    """Return a setting with a trained model as the only teacher."""
    copy = shutil.copy(reference.folder / "best.safetensors", tmp_path / "teacher.safetensors")
    return f"training.teachers=[{copy}]"


# Computing


def test_teachers_predict_the_probabilities_of_the_mean_of_their_logits() -> None:
    networks = [random_parameters(layers=layers, scale=0.3, seed=layers) for layers in (2, 1)]
    table = compute_soft_targets(networks, IDS, streams=3, warm_up=16)
    logits = np.mean([definition.read(network, [*IDS[:-1]])[0] for network in networks], axis=0)
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert table.dtype == np.float16
    np.testing.assert_allclose(table, expected, atol=5e-4)


def test_n_grams_of_a_large_vocabulary_predict_a_few_rows_at_a_time() -> None:
    rows = [rows for rows, _ in cross_predict(IDS, vocabulary_size=1 << 15, parts=3)]
    borders = [0, 8, 16, 19, 27, 35, 39, 47, 55, 60]
    assert rows == [slice(start, end) for start, end in pairwise(borders)]


def test_each_part_of_a_text_is_predicted_by_the_n_grams_of_the_others() -> None:
    for rows, predicted in cross_predict(IDS, vocabulary_size=5, parts=3):
        start = rows.start + 1 if rows.start else 0
        other_parts = np.delete(IDS, slice(start, rows.stop + 1))
        counts = count_ngrams(other_parts, vocabulary_size=5, order=12)
        expected = np.concatenate([*predict_ngrams(counts, IDS, first=1)])
        np.testing.assert_array_equal(predicted, expected[rows])


def test_soft_targets_are_the_weighted_mean_of_teachers_with_n_grams(teachers: str) -> None:
    def table(teacher_weight: float, ngram_weight: float) -> SoftTargets:
        weights = (
            f"training.teacher_weight={teacher_weight}",
            f"training.ngram_weight={ngram_weight}",
        )
        run = begin(teachers, *weights, name=f"{teacher_weight} {ngram_weight}")
        return np.array(table_of(run), np.float32)

    taught, counted = table(0.3, 0), table(0, 0.6)
    assert np.abs(taught - counted).max() > 0.1
    np.testing.assert_allclose(table(0.3, 0.6), (taught + 2 * counted) / 3, atol=1e-3)


@pytest.mark.parametrize("setting", ["training.ngram_weight=0", "training.steps=0"])
def test_a_run_that_needs_no_soft_targets_has_none(setting: str) -> None:
    run = begin(NGRAMS, setting)
    assert open_soft_targets(run.folder, run.config, run.corpus) is None
    assert not (run.folder / "soft_targets.bin").exists()


# The file


def test_lost_soft_targets_are_computed_again(teachers: str) -> None:
    run = begin(NGRAMS, teachers)
    assert events_of(run) == []
    path = run.folder / "soft_targets.bin"
    before = path.read_bytes()
    path.unlink()
    assert events_of(run) == [
        Note("1 teacher: reading the training text"),
        *(Progress("counting n-grams", done, 10, "part") for done in range(11)),
    ]
    assert path.read_bytes() == before


# Refusals


def test_a_teacher_with_another_vocabulary_is_refused(teachers: str) -> None:
    message = r"teacher\.safetensors: has a different vocabulary from the text; use a teacher"
    with pytest.raises(CharlmError, match=message):
        begin(teachers, text=20 * "abcdf ")
    assert not Path("run").exists()


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


def test_teachers_of_a_text_that_is_too_long_for_the_memory_are_refused(
    teachers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charlm.training.soft_targets.memory_bytes", lambda: 1)
    message = r"^training\.teachers: the soft targets of .*; use a shorter text, or no teachers$"
    with pytest.raises(CharlmError, match=message):
        begin(teachers)
