"""How a run is: its state, its step, the recipe it is near to, its size and age."""

import os
from pathlib import Path

import pytest
from run_folders import make_run, metrics_line

from charlm.config.file import dump_config, load_config
from charlm.config.recipes import find_recipe
from charlm.errors import CharlmError
from charlm.runs.status import RunStatus, read_status, shipped_recipes
from charlm.storage.locks import only_writer

RECIPES = shipped_recipes()


def status(run: Path, *, now: float = 1000.0) -> RunStatus:
    return read_status(run, RECIPES, now=lambda: now)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Make a run that was stopped at step 9, 100 seconds before 1970-01-01 00:16:40."""
    run = make_run(tmp_path / "run", metrics=metrics_line(step=5) + metrics_line(step=9))
    os.utime(run / "metrics.jsonl", (900, 900))
    return run


def test_a_run_that_did_not_reach_its_end_is_stopped(run: Path) -> None:
    assert (status(run).state, status(run).step) == ("stopped", 9)


def test_a_run_that_reached_its_end_is_done(run: Path) -> None:
    (run / "ended.json").touch()
    assert status(run).state == "done"


def test_a_run_that_goes_on_is_training(run: Path) -> None:
    (run / "ended.json").touch()
    with only_writer(run):
        assert status(run).state == "training"


def test_the_age_is_the_time_since_the_last_line_and_never_negative(run: Path) -> None:
    assert status(run).age_seconds == 100
    assert status(run, now=800).age_seconds == 0


def test_the_size_is_that_of_all_files_but_not_of_what_links_lead_to(run: Path, tmp_path: Path) -> None:
    before = status(run).disk_bytes
    assert before == sum(path.stat().st_size for path in run.iterdir())
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/large").write_bytes(bytes(10_000))
    (run / "corpus").symlink_to(tmp_path / "elsewhere")
    (run / "tensorboard").mkdir()
    (run / "tensorboard/events").write_bytes(bytes(70))
    assert status(run).disk_bytes == before + 70


@pytest.mark.parametrize(
    ("overrides", "changed"),
    [([], 0), (["seed=7", "training.parts=3"], 0), (["model.units=20", "training.optimizer.weight_decay=0.1"], 2)],
)
def test_the_recipe_is_the_one_that_differs_least(run: Path, overrides: list[str], changed: int) -> None:
    config = load_config(find_recipe("tiny"), overrides=overrides)
    (run / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    assert (status(run).recipe, status(run).changed_settings) == ("tiny", changed)


def test_a_damaged_run_is_refused(run: Path) -> None:
    (run / "metrics.jsonl").write_text("[]\n", encoding="utf-8")
    with pytest.raises(CharlmError, match=r"metrics\.jsonl: damaged"):
        status(run)
