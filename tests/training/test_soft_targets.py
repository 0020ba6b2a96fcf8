"""The soft targets of a run: their values, and which teachers they may come from."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import reference as definition
from fake_engine import interrupt_after
from fake_runs import Trained, check_same_end, resume, train
from fake_runs import begin as begin_a_run
from models import random_parameters

from charlm.errors import CharlmError
from charlm.evaluation.baselines import count_ngrams, predict_ngrams
from charlm.runs.run import Run
from charlm.training.soft_targets import check_teachers, compute_soft_targets, cross_predict, open_soft_targets

IDS = np.random.default_rng(5).integers(0, 5, 61)


@pytest.fixture
def teacher(reference: Trained, tmp_path: Path) -> Path:
    """Return a copy of a trained model."""
    return Path(shutil.copy(reference.folder / "best.safetensors", tmp_path / "teacher.safetensors"))


def begin(folder: Path, teacher: Path, *overrides: str, text: str = "abcde " * 20) -> Run:
    """Begin a run with a teacher."""
    folder.mkdir()
    (folder / "text.txt").write_text(text, encoding="utf-8")
    return begin_a_run(
        folder / "run", *overrides, f"training.teachers={{models: [{teacher}]}}", text=folder / "text.txt"
    )


# Their values


def test_they_are_the_probabilities_of_the_mean_of_the_logits() -> None:
    networks = [random_parameters(layers=layers, scale=0.3, seed=layers) for layers in (2, 1)]
    found = compute_soft_targets(networks, IDS, streams=3, warm_up=16)
    logits = np.mean([definition.read(network, IDS[:-1].tolist())[0] for network in networks], axis=0)
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, expected, atol=5e-4)


def test_each_part_of_a_text_is_predicted_by_the_ngrams_of_the_others() -> None:
    rows, predicted = zip(*cross_predict(IDS, vocabulary_size=5, parts=3), strict=True)
    assert [(each.start, each.stop) for each in rows] == [(0, 19), (19, 39), (39, 60)]
    for each, found in zip(rows, predicted, strict=True):
        start = each.start + 1 if each.start else 0
        others = count_ngrams(np.delete(IDS, slice(start, each.stop + 1)), vocabulary_size=5, order=12)
        expected = np.concatenate([*predict_ngrams(others, IDS, first=1)])[each]
        np.testing.assert_array_equal(found, expected)


def test_the_ngrams_and_the_teachers_have_their_weights(tmp_path: Path, teacher: Path) -> None:
    tables = []
    for taught, counted in ((0.3, 0), (0, 0.6), (0.3, 0.6)):
        settings = f"training.teacher_weight={taught}", f"training.ngram_weight={counted}"
        run = begin(tmp_path / f"{taught} {counted}", teacher, *settings)
        assert run.config.training.soft_weight == pytest.approx(taught + counted)
        tables.append(np.array(open_soft_targets(run), np.float32))
    np.testing.assert_allclose(tables[2], (tables[0] + 2 * tables[1]) / 3, atol=1e-3)
    predicted = [found for _, found in cross_predict(run.corpus.split("train"), vocabulary_size=6)]
    np.testing.assert_allclose(tables[1], np.concatenate(predicted), atol=1e-3)


# A run with teachers


@pytest.mark.parametrize("lost", ["teacher", "soft targets", "all, of n-grams alone"])
def test_a_resumed_run_ends_with_the_same_bytes_without_what_it_has_learnt_from(
    lost: str, tmp_path: Path, teacher: Path
) -> None:
    of_ngrams = lost.startswith("all")
    setting = "training.ngram_weight=0.4" if of_ngrams else f"training.teachers={{models: [{teacher}]}}"
    told = "n-grams: counting the training text in 10 parts" if of_ngrams else "teachers: 1, reading the training text"
    whole, stopped = train(tmp_path / "whole", setting), train(tmp_path / "run", setting, faults=interrupt_after(25))
    assert told in whole.said
    (teacher if lost == "teacher" else stopped.folder / "soft_targets.bin").unlink()
    check_same_end(resume(stopped.folder), whole)


def test_a_file_of_another_size_in_their_place_is_replaced(tmp_path: Path, teacher: Path) -> None:
    run = begin(tmp_path / "run", teacher)
    expected = np.array(open_soft_targets(run))
    (run.folder / "soft_targets.bin").write_bytes(b"short")
    found = open_soft_targets(run)
    assert found is not None
    np.testing.assert_array_equal(found, expected)


# Teachers and runs that cannot be used


def test_another_vocabulary_and_soft_targets_that_do_not_fit_into_the_memory_are_refused(
    tmp_path: Path, teacher: Path
) -> None:
    message = r"teacher.safetensors: has another vocabulary than the text; name a teacher that"
    with pytest.raises(CharlmError, match=message):
        begin(tmp_path / "other", teacher, text="abcdf " * 20)
    assert not (tmp_path / "other/run").exists()
    run = begin(tmp_path / "run", teacher)
    with pytest.raises(CharlmError, match=r"ngram_weight: the soft targets of 107 characters with 6 ids take"):
        check_teachers(run.config, run.corpus, available_bytes=4 * 2 * 107 * 6 - 1)  # a quarter is for them
    check_teachers(run.config, run.corpus, available_bytes=4 * 2 * 107 * 6)
