"""Soft targets: how they are computed, and how their file is verified when it is opened."""

import hashlib
import os
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import fake_runs
import numpy as np
import pytest
import reference as definition
from fake_engine import interrupt_after
from fake_runs import TEXT, Trained, check_same_end, resume, train
from models import random_parameters
from run_folders import flip_bit, replace_by_folder

from charlm.errors import CharlmError
from charlm.evaluation.ngrams import count_ngrams, predict_ngrams
from charlm.events import Event, NgramProgress, SoftTargetsDamaged, TeachersReading
from charlm.runs.run import Run
from charlm.storage import UnreadableError
from charlm.training.soft_targets import (
    SoftTargets,
    check_teachers,
    compute_soft_targets,
    cross_predict,
    keeps_soft_targets,
    open_soft_targets,
)

NGRAMS = "training.ngram_weight=0.4"
COUNTING = [NgramProgress(done=done, total=10) for done in range(11)]
IDS = np.random.default_rng(5).integers(0, 5, 61)


def begin(*overrides: str, text: str = TEXT, name: str = "run") -> Run:
    """Begin a run on a short text."""
    Path("text.txt").write_text(text, encoding="utf-8")
    return fake_runs.begin(Path(name), *overrides, text=Path("text.txt"))


def table_of(run: Run) -> SoftTargets:
    """Return the soft targets of a run that has some."""
    table = open_soft_targets(run)
    assert table is not None
    return table


def events_of(run: Run) -> list[Event]:
    """Open the soft targets of a run, and return the events."""
    events: list[Event] = []
    open_soft_targets(run, on_event=events.append)
    return events


@pytest.fixture
def teachers(reference: Trained, tmp_path: Path) -> str:
    """Return a setting with a trained model as the only teacher."""
    copy = shutil.copy(reference.folder / "best.safetensors", tmp_path / "teacher.safetensors")
    return f"training.teachers={{models: [{copy}]}}"


# Computing


def test_teachers_predict_the_probabilities_of_the_mean_of_their_logits() -> None:
    networks = [random_parameters(layers=layers, scale=0.3, seed=layers) for layers in (2, 1)]
    table = compute_soft_targets(networks, IDS, streams=3, warm_up=16)
    logits = np.mean([definition.read(network, [*IDS[:-1]])[0] for network in networks], axis=0)
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert table.dtype == np.float16
    np.testing.assert_allclose(table, expected, atol=5e-4)


def test_n_grams_predict_consecutive_parts_of_a_text() -> None:
    rows = [rows for rows, _ in cross_predict(IDS, vocabulary_size=5, parts=3)]
    assert rows == [slice(0, 19), slice(19, 39), slice(39, 60)]


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


def weighted_table(teachers: str, *, teacher_weight: float, ngram_weight: float) -> SoftTargets:
    """Return the soft targets of a new run with some weights."""
    weights = f"training.teacher_weight={teacher_weight}", f"training.ngram_weight={ngram_weight}"
    run = begin(teachers, *weights, name=f"{teacher_weight} {ngram_weight}")
    assert run.config.training.soft_weight == pytest.approx(teacher_weight + ngram_weight)
    return np.array(table_of(run), np.float32)


def test_soft_targets_are_the_weighted_mean_of_teachers_with_n_grams(teachers: str) -> None:
    taught = weighted_table(teachers, teacher_weight=0.3, ngram_weight=0)
    counted = weighted_table(teachers, teacher_weight=0, ngram_weight=0.6)
    both = weighted_table(teachers, teacher_weight=0.3, ngram_weight=0.6)
    np.testing.assert_allclose(both, (taught + 2 * counted) / 3, atol=1e-3)


def test_soft_targets_of_n_grams_are_their_predictions(run: Run) -> None:
    ids = run.corpus.split("train")
    predictions = [predicted for _, predicted in cross_predict(ids, vocabulary_size=6)]
    np.testing.assert_allclose(table_of(run), np.concatenate(predictions), atol=1e-3)


def test_a_run_without_soft_weight_has_no_soft_targets() -> None:
    assert open_soft_targets(begin("training.ngram_weight=0")) is None


def test_the_teachers_are_reported_before_they_read_the_text(teachers: str) -> None:
    assert events_of(begin(teachers)) == [TeachersReading(1)]


@pytest.mark.parametrize(
    ("kind", "lost"),
    [
        pytest.param("teachers", "teacher.safetensors", id="teacher"),
        pytest.param("teachers", "run/run/soft_targets.bin", id="soft targets of a teacher"),
        pytest.param("n-grams", "run/run/soft_targets.bin", id="soft targets of n-grams"),
    ],
)
def test_a_resumed_run_does_not_need_what_it_can_replace(
    kind: str,
    lost: str,
    tmp_path: Path,
    teachers: str,
) -> None:
    setting = teachers if kind == "teachers" else NGRAMS
    whole = train(tmp_path / "whole", setting)
    stopped = train(tmp_path / "run", setting, faults=interrupt_after(25))
    (tmp_path / lost).unlink()
    check_same_end(resume(stopped.folder), whole)


# Refusals


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("shakespeare-15m", "recipe: shakespeare-15m has teachers itself; choose"),
        ("shakespare", "^shakespare: no such recipe .*; did you mean shakespeare"),
    ],
)
def test_a_recipe_that_cannot_be_a_teacher_is_refused(recipe: str, message: str) -> None:
    with pytest.raises(CharlmError, match=message):
        begin(f"training.teachers={{recipe: {recipe}, seeds: [1]}}")
    assert not Path("run").exists()


def test_a_teacher_with_another_vocabulary_is_refused(teachers: str) -> None:
    message = r"teacher\.safetensors: has a different vocabulary from the text; use a"
    with pytest.raises(CharlmError, match=message):
        begin(teachers, text=20 * "abcdf ")
    assert not Path("run").exists()


NEEDED = 2 * 107 * 6
"""Bytes of the soft targets of 107 characters with 6 ids."""


def test_soft_targets_of_a_quarter_of_the_memory_are_accepted() -> None:
    run = begin(NGRAMS, text=20 * "abcde ")
    check_teachers(run.config, run.corpus, available_bytes=4 * NEEDED)


def test_soft_targets_of_more_than_a_quarter_of_the_memory_are_refused() -> None:
    run = begin(NGRAMS, text=20 * "abcde ")
    message = r"ngram_weight: the soft targets of 107 characters, with a vocabulary of 6 ids, take"
    with pytest.raises(CharlmError, match=message):
        check_teachers(run.config, run.corpus, available_bytes=4 * NEEDED - 1)


# The file


@pytest.fixture
def run() -> Run:
    """Begin a run that learns from n-grams, and compute their predictions."""
    begun = begin(NGRAMS)
    open_soft_targets(begun)
    return begun


@pytest.fixture
def path(run: Run) -> Path:
    """Return the file of the soft targets."""
    return run.folder / "soft_targets.bin"


def test_the_file_ends_with_the_digest_of_its_rows(run: Run, path: Path) -> None:
    rows = table_of(run).tobytes()
    assert path.read_bytes() == rows + hashlib.sha256(rows).digest()


def test_the_table_has_a_row_for_each_character_but_the_first(run: Run) -> None:
    table = table_of(run)
    assert table.shape == (len(run.corpus.split("train")) - 1, len(run.corpus.vocabulary))
    np.testing.assert_allclose(np.array(table, np.float64).sum(axis=1), 1, atol=2e-3)


def test_a_file_of_more_than_a_mebibyte_is_verified() -> None:
    """Soft targets of 107,999 characters with 5 ids have 1,079,990 bytes."""
    run = begin(NGRAMS, text=24_000 * "abcd\n")
    data = np.random.default_rng(0).bytes(2 * 107_999 * 5)
    path = run.folder / "soft_targets.bin"
    path.write_bytes(data + hashlib.sha256(data).digest())
    assert keeps_soft_targets(run)
    flip_bit(path, -40)
    assert not keeps_soft_targets(run)


def resize(change: int) -> Callable[[Path], None]:
    """Return a function that makes a file longer, or shorter if the change is negative."""
    return lambda path: os.truncate(path, path.stat().st_size + change)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: flip_bit(path, 0), id="first row"),
        pytest.param(lambda path: flip_bit(path, -33), id="last row"),
        pytest.param(lambda path: flip_bit(path, -1), id="digest"),
        pytest.param(resize(-1), id="short"),
        pytest.param(resize(-32), id="without a digest"),
        pytest.param(resize(1), id="long"),
        pytest.param(lambda path: os.truncate(path, 0), id="empty"),
    ],
)
def test_damaged_soft_targets_are_reported_when_they_are_computed_again(
    damage: Callable[[Path], None],
    run: Run,
    path: Path,
) -> None:
    before = path.read_bytes()
    damage(path)
    assert events_of(run) == [SoftTargetsDamaged(path), *COUNTING]
    assert path.read_bytes() == before


def test_missing_soft_targets_are_not_reported_as_damaged(run: Run, path: Path) -> None:
    path.unlink()
    assert events_of(run) == COUNTING


def test_soft_targets_that_exist_are_not_computed_again(run: Run) -> None:
    assert events_of(run) == []


@pytest.mark.parametrize("use", [keeps_soft_targets, open_soft_targets])
def test_soft_targets_that_cannot_be_read_are_not_computed_again(
    use: Callable[[Run], object],
    run: Run,
    path: Path,
) -> None:
    replace_by_folder(path)
    message = r"soft_targets\.bin: cannot be read: Is a directory$"
    with pytest.raises(UnreadableError, match=message):
        use(run)
