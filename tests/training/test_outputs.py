"""The files that training writes: checkpoints, the bundles best/ and last/, and what a resume does with them."""

import math
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from fake_engine import Faults
from fake_runs import Trained, resume, train

from charlm.config.file import load_config
from charlm.errors import CharlmError
from charlm.evaluation.scoring import mean_score, score_stream
from charlm.hardware import core_count
from charlm.network.bundle import read_bundle
from charlm.runs.run import open_run
from charlm.training import checkpoints

# Best and last


def test_the_weights_are_copied_only_once_for_the_evaluation_and_both_bundles_of_a_step(tmp_path: Path) -> None:
    assert train(tmp_path / "run").engine.copies == len([0, 10, 20, 30, 40, 50])


def test_best_holds_the_weights_of_the_lowest_validation_loss(tmp_path: Path) -> None:
    overconfident = Faults(weights=lambda step: 1.0 if step <= 30 else 5.0)
    trained = train(tmp_path / "run", faults=overconfident)
    progress, validation = trained.outcome.progress, trained.validation()
    assert progress.best_step == min(validation, key=validation.__getitem__) < 40

    best = read_bundle(trained.folder / "best")
    ids = open_run(trained.folder).corpus.split("validation")
    assert mean_score(score_stream(best.parameters, ids)).nats_per_char == pytest.approx(validation[progress.best_step])
    assert best.facts["step"] == progress.best_step
    assert best.facts["score"] == {"split": "validation", "nats_per_char": progress.best_nats}


def test_a_validation_loss_that_is_not_a_number_is_never_the_best(tmp_path: Path) -> None:
    faults = Faults(weights=lambda step: math.nan if step in {10, 30} else 1.0)
    trained = train(tmp_path / "run", faults=faults)
    validation = {step: nats for step, nats in trained.validation().items() if nats is not None}
    assert [*validation] == [20, 40, 50]
    assert trained.outcome.progress.best_nats == min(validation.values())


def test_last_holds_the_weights_of_the_last_step(reference: Trained) -> None:
    last = read_bundle(reference.folder / "last")
    newest = reference.folder / "checkpoints/step-000000050/state.safetensors"
    assert last.facts["step"] == 50
    bias = safetensors.numpy.load_file(newest)["bias"]
    np.testing.assert_array_equal(last.parameters.logits_bias, bias)


# Checkpoints


def test_a_checkpoint_records_the_parts_and_the_versions(reference: Trained) -> None:
    kept = checkpoints.restore(reference.folder / "checkpoints", warn=pytest.fail)
    assert kept.parts == 2
    assert kept.versions.keys() == {"charlm", "numpy", "tensorflow", "keras"}
    assert kept.versions["numpy"] == np.__version__


def test_a_resume_cannot_change_the_number_of_parts(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", "training.steps=10")
    with pytest.raises(CharlmError, match=r"^training\.parts: found 3; must be 2, as at the start of the run"):
        resume(trained.folder, "training.steps=20", "training.parts=3")


def test_the_number_of_parts_defaults_to_the_number_of_cores(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", "training.steps=10", "training.parts=null")
    assert load_config(trained.folder / "config.yaml").training.parts == core_count()


@pytest.mark.parametrize("override", ["model.units=9", "model.layers=2", "training.batch_size=3"])
def test_a_resume_with_another_network_is_refused_and_the_config_is_not_changed(override: str, tmp_path: Path) -> None:
    trained = train(tmp_path / "run", "training.steps=10")
    config = (trained.folder / "config.yaml").read_bytes()
    with pytest.raises(CharlmError, match="another network, optimizer or batch"):
        resume(trained.folder, override)
    assert (trained.folder / "config.yaml").read_bytes() == config


def test_the_overrides_of_a_resume_are_written_to_the_config(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", "training.steps=10")
    resumed = resume(trained.folder, "training.steps=20")
    assert resumed.outcome.progress.step == 20
    assert load_config(trained.folder / "config.yaml").training.steps == 20


def test_a_log_file_that_is_a_link_is_not_cut_by_a_resume(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", "training.steps=10")
    metrics, elsewhere = trained.folder / "metrics.jsonl", tmp_path / "mine.txt"
    elsewhere.write_text(metrics.read_text() + "more")
    before = elsewhere.read_text()
    metrics.unlink()
    metrics.symlink_to(elsewhere)
    with pytest.raises(CharlmError, match=r"metrics\.jsonl: is a link"):
        resume(trained.folder, "training.steps=20")
    assert elsewhere.read_text() == before
