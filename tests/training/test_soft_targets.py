"""The soft targets of a run: their values, and which teachers they may come from."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import reference as definition
from conftest import RandomParameters
from fake_engine import interrupt_after
from fake_runs import Trained, check_same_end, resume, train
from fake_runs import begin as begin_a_run

from charlm.errors import CharlmError
from charlm.evaluation.baselines import count_ngrams, predict_ngrams
from charlm.network.model_file import read_model, write_model
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


def stop_taught_run(folder: Path, teacher: Path) -> Trained:
    """Train a run with a teacher, which is interrupted after 25 of 50 steps."""
    stopped = train(folder, f"training.teachers={{models: [{teacher}]}}", faults=interrupt_after(25))
    assert stopped.outcome.progress.step == 25
    return stopped


# Their values


def test_they_are_the_probabilities_of_the_mean_of_the_logits(random_parameters: RandomParameters) -> None:
    networks = random_parameters(layers=2, scale=0.3, seed=1), random_parameters(scale=0.3, seed=2)
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
    for name, weights in (("teachers", (0.3, 0)), ("n-grams", (0, 0.6)), ("both", (0.3, 0.6))):
        settings = [
            f"training.{kind}_weight={weight}" for kind, weight in zip(("teacher", "ngram"), weights, strict=True)
        ]
        run = begin(tmp_path / name, teacher, *settings)
        assert run.config.training.soft_weight == pytest.approx(sum(weights))
        tables.append(np.array(open_soft_targets(run), np.float32))
    np.testing.assert_allclose(tables[2], (tables[0] + 2 * tables[1]) / 3, atol=1e-3)
    predicted = [found for _, found in cross_predict(run.corpus.split("train"), vocabulary_size=6)]
    np.testing.assert_allclose(tables[1], np.concatenate(predicted), atol=1e-3)


# A run with teachers


@pytest.mark.parametrize("is_damaged", [False, True], ids=["without its teachers", "with damaged soft targets"])
def test_a_resumed_run_ends_with_the_same_bytes(is_damaged: bool, tmp_path: Path, teacher: Path) -> None:
    whole = train(tmp_path / "whole", f"training.teachers={{models: [{teacher}]}}")
    assert "teachers: 1, reading the training text" in whole.said
    stopped = stop_taught_run(tmp_path / "run", teacher)
    if is_damaged:
        path = stopped.folder / "soft_targets.bin"
        path.write_bytes(bytes(path.stat().st_size))
    else:
        teacher.unlink()
    check_same_end(resume(stopped.folder), whole)


def test_a_file_of_another_size_in_their_place_is_replaced(tmp_path: Path, teacher: Path) -> None:
    run = begin(tmp_path / "run", teacher)
    expected = np.array(open_soft_targets(run))
    path, facts = run.folder / "soft_targets.bin", run.folder / "soft_targets.json"
    path.write_bytes(b"short")
    claimed = json.loads(facts.read_text()) | {"sha256": hashlib.sha256(b"short").hexdigest()}
    facts.write_text(json.dumps(claimed))
    found = open_soft_targets(run)
    assert found is not None
    np.testing.assert_array_equal(found, expected)


def test_a_run_that_learns_from_ngrams_alone_counts_them_anew_if_they_are_lost(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", "training.ngram_weight=0.4")
    assert "n-grams: counting the training text in 10 parts" in whole.said
    stopped = train(tmp_path / "run", "training.ngram_weight=0.4", faults=interrupt_after(25))
    for path in stopped.folder.glob("soft_targets.*"):
        path.unlink()
    check_same_end(resume(stopped.folder), whole)


def test_other_teachers_than_at_the_start_are_refused(tmp_path: Path, teacher: Path) -> None:
    stopped = stop_taught_run(tmp_path / "run", teacher)
    (stopped.folder / "soft_targets.bin").unlink()
    trained = read_model(teacher)
    changed = replace(trained.parameters, logits_bias=trained.parameters.logits_bias + np.float32(1))
    write_model(teacher, replace(trained, parameters=changed))
    with pytest.raises(CharlmError, match=r"training.teachers: found other weights in .* than at the start of the run"):
        resume(stopped.folder)


def test_a_run_that_no_longer_knows_its_teachers_is_refused(tmp_path: Path, teacher: Path) -> None:
    stopped = stop_taught_run(tmp_path / "run", teacher)
    (stopped.folder / "soft_targets.json").write_text("[" * 100_000)
    with pytest.raises(CharlmError, match=r"soft_targets.json: missing or damaged"):
        resume(stopped.folder)


# Teachers and runs that cannot be used


def test_a_teacher_with_another_vocabulary_is_refused(tmp_path: Path, teacher: Path) -> None:
    with pytest.raises(
        CharlmError, match=r"teacher.safetensors: its vocabulary has id 5 'e' instead of 'f'; must be that of"
    ):
        begin(tmp_path / "run", teacher, text="abcdf " * 20)
    assert not (tmp_path / "run/run").exists()


def test_soft_targets_that_do_not_fit_into_the_memory_are_refused(tmp_path: Path, teacher: Path) -> None:
    run = begin(tmp_path / "run", teacher)
    with pytest.raises(
        CharlmError, match=r"teachers, ngram_weight: the soft targets of 107 characters with 6 ids take"
    ):
        check_teachers(run.config, run.corpus, available_bytes=1000)
