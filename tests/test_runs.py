"""Which folder is a run, and which bundle is meant."""

import os
import time
from pathlib import Path

import pytest

from charlm import runs
from charlm.errors import CharlmError
from charlm.runs import find_bundle, is_run, new_folder, newest_run


def make_run(folder: Path, *, written_at: int = 0, bundles: tuple[str, ...] = ()) -> Path:
    """Make what a run folder has, as far as these functions look."""
    folder.mkdir(parents=True)
    for name in ("config.yaml", "metrics.jsonl"):
        (folder / name).touch()
        os.utime(folder / name, (written_at, written_at))
    for bundle in bundles:
        (folder / bundle).mkdir()
        (folder / bundle / "model.json").touch()
    return folder


@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock."""
    moment = time.struct_time((2001, 2, 3, 12, 0, 0, 5, 34, 0))
    strftime = time.strftime
    monkeypatch.setattr("charlm.runs.time.strftime", lambda pattern: strftime(pattern, moment))


@pytest.mark.usefixtures("noon")
def test_a_new_folder_is_named_by_the_time_and_the_recipe(tmp_path: Path) -> None:
    assert new_folder("tiny", under=tmp_path) == tmp_path / "20010203-120000-tiny"


@pytest.mark.usefixtures("noon")
def test_runs_of_the_same_second_get_numbers(tmp_path: Path) -> None:
    for expected in ("20010203-120000-tiny", "20010203-120000-tiny-2", "20010203-120000-tiny-3"):
        folder = new_folder("tiny", under=tmp_path)
        assert folder == tmp_path / expected
        folder.mkdir()


@pytest.mark.parametrize("missing", ["config.yaml", "metrics.jsonl"])
def test_a_run_has_begun_once_it_has_a_config_and_metrics(tmp_path: Path, missing: str) -> None:
    run = make_run(tmp_path / "run")
    assert is_run(run)
    (run / missing).unlink()
    assert not is_run(run)


def test_the_newest_run_is_the_one_written_to_last(tmp_path: Path) -> None:
    make_run(tmp_path / "b", written_at=1)
    newest = make_run(tmp_path / "a", written_at=3)
    make_run(tmp_path / "c", written_at=2)
    (tmp_path / "not-a-run").mkdir()
    assert newest_run(tmp_path) == newest


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_no_run_is_an_error_with_what_would_do(tmp_path: Path, folder: str) -> None:
    with pytest.raises(CharlmError, match="no run here; name one, or train one with: charlm train"):
        newest_run(tmp_path / folder)


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_the_bundle_of_a_run_is_the_one_asked_for(tmp_path: Path, checkpoint: runs.Choice) -> None:
    run = make_run(tmp_path / "run", bundles=("best", "last"))
    assert find_bundle(run, checkpoint=checkpoint) == run / checkpoint


def test_a_bundle_folder_is_the_bundle(tmp_path: Path) -> None:
    bundle = make_run(tmp_path / "run", bundles=("best",)) / "best"
    assert find_bundle(bundle, checkpoint="last") == bundle


def test_no_run_given_means_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(Path("runs/old"), written_at=1, bundles=("best",))
    make_run(Path("runs/new"), written_at=2, bundles=("best",))
    assert find_bundle(None) == Path("runs/new/best")


def test_a_run_without_a_bundle_yet_says_so(tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match="run: no best/ in this run yet"):
        find_bundle(make_run(tmp_path / "run"))


def test_a_folder_that_is_neither_says_so(tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match="neither a run nor a bundle"):
        find_bundle(tmp_path)


def test_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match="nowhere: no such folder; should be a run or a bundle"):
        find_bundle(tmp_path / "nowhere")
