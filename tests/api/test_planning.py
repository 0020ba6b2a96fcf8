"""`plan`: what a training would do, compared with a training that did it."""

import json
import tempfile
from pathlib import Path

import pytest

from charlm.api.training import Plan, plan
from charlm.config.file import dump_config, load_config
from charlm.network.model_file import read_model


@pytest.fixture(scope="module")
def planned(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Plan the training of the trained run."""
    recipe = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    recipe.write_text(dump_config(load_config(trained_run / "config.yaml")), encoding="utf-8")
    return plan(trained_run.parent / "text.txt", recipe=recipe)


@pytest.mark.slow
def test_the_sizes_are_those_of_the_run_that_was_trained_and_the_time_is_the_sum_of_its_parts(
    planned: Plan, trained_run: Path
) -> None:
    trained = read_model(trained_run / "last.safetensors")
    assert (planned.architecture.size, planned.architecture) == (trained.parameters.size, trained.architecture)
    batches = planned.schedule.batches
    assert (planned.schedule.total, batches.batch_size, batches.sequence_length) == (60, 8, 16)
    assert planned.schedule.epochs(60) == trained.facts["epoch"]
    found = json.loads(json.dumps(planned.to_json(), allow_nan=False))
    assert (found["parameters"], found["evaluations"]) == (trained.parameters.size, 2)
    assert (found["steps"], found["epochs"]) == (60, 60 / found["steps_per_epoch"])
    training = 60 * found["step_seconds"] + found["evaluations"] * found["mark_seconds"]
    assert found["seconds"] == pytest.approx(found["start_seconds"] + training + found["end_seconds"])
    assert found["end_seconds"] > 0
    assert found["memory_bytes"] > 100_000_000  # TensorFlow alone takes more


@pytest.mark.slow
def test_the_time_of_the_teachers_is_part_of_the_time_and_nothing_is_left_behind(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    overrides = ["training.teachers={recipe: tiny, seeds: [2, 3]}", "training.steps=20"]
    found = plan(trained_run / "corpus", recipe="tiny", overrides=overrides)
    assert found.seconds == pytest.approx(found.start_seconds + found.run_seconds)
    assert found.run_seconds > found.costs.teacher_seconds > 0
    assert list(tmp_path.iterdir()) == []
