"""The folder of links that TensorBoard shows."""

import shutil
from pathlib import Path

import pytest
from run_folders import make_run

from charlm.cli.tensorboard import link_runs
from charlm.errors import CharlmError


def make_trained_run(folder: Path) -> Path:
    make_run(folder)
    (folder / "tensorboard").mkdir()
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """Return an empty folder for the links."""
    (tmp_path / "board").mkdir()
    return tmp_path / "board"


@pytest.mark.parametrize("name", ["run", "a,b", "a:b", "-dash", "with space"])
def test_each_run_is_shown_under_its_name_without_more(name: str, tmp_path: Path, board: Path) -> None:
    run = make_trained_run(tmp_path / "deep" / name)
    link_runs(board, [run])
    assert names(board) == [name]
    assert (board / name).resolve() == run / "tensorboard"


def test_runs_of_the_same_name_are_told_apart_by_the_folder_above(tmp_path: Path, board: Path) -> None:
    first, second = make_trained_run(tmp_path / "a/run"), make_trained_run(tmp_path / "b/run")
    link_runs(board, [first, second, first])
    assert names(board) == ["a-run", "b-run"]


def test_without_names_all_runs_are_shown_also_those_that_begin_later(board: Path) -> None:
    make_trained_run(Path("runs/one"))
    link_runs(board, [])
    make_trained_run(Path("runs/two"))
    link_runs(board, [])
    assert names(board) == ["one", "two"]
    shutil.rmtree("runs/one")
    link_runs(board, [])
    assert names(board) == ["two"]


def test_without_a_run_that_has_been_trained_there_is_nothing_to_show(board: Path) -> None:
    make_run(Path("runs/untrained"))
    with pytest.raises(CharlmError, match="no run here has been trained"):
        link_runs(board, [])
