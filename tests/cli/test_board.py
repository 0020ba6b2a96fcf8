"""The folder of links that TensorBoard shows."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from charlm.cli.tensorboard import Board, open_board
from charlm.config.file import dump_config, parse_config
from charlm.errors import CharlmError

EVENTS = "events.out.tfevents.1"


def make_run(folder: Path, **model: Any) -> Path:
    """Make a run with an event file and a file of the projector."""
    (folder / "tensorboard").mkdir(parents=True)
    (folder / "metrics.jsonl").touch()
    config = parse_config({"model": model}, origin="test")
    (folder / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    for name in (EVENTS, "characters.points.tsv"):
        (folder / "tensorboard" / name).write_text(name)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to an empty folder."""
    (tmp_path / "place").mkdir()
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


def test_each_run_is_shown_under_its_name_without_more(place: Path) -> None:
    with open_board([make_run(place / "one"), make_run(place / "deep/two")]) as board:
        assert names(board.folder) == ["one", "two"]
        assert (board.folder / "two" / EVENTS).resolve() == place / "deep/two/tensorboard" / EVENTS
    assert not board.folder.exists()


def test_runs_of_the_same_name_are_told_apart_by_the_folder_above(place: Path) -> None:
    with open_board([make_run(place / "a/run"), make_run(place / "b/run"), place / "a/run"]) as board:
        assert names(board.folder) == ["a-run", "b-run"]


@pytest.mark.parametrize("name", ["a,b", "a:b", "-dash", "with space"])
def test_any_name_is_shown(name: str, place: Path) -> None:
    with open_board([make_run(place / name)]) as board:
        assert names(board.folder) == [name]


def test_without_names_all_runs_are_shown_also_those_that_begin_later(place: Path) -> None:
    make_run(place / "runs/one")
    with open_board([]) as board:
        assert names(board.folder) == ["one"]
        make_run(place / "runs/two")
        board.refresh()
        assert names(board.folder) == ["one", "two"]
        shutil.rmtree(place / "runs/one")
        board.refresh()
        assert names(board.folder) == ["two"]


def test_files_that_are_added_changed_or_removed_are_followed(place: Path) -> None:
    run = make_run(place / "one")
    with open_board([run]) as board:
        (run / "tensorboard" / EVENTS).unlink()
        (run / "tensorboard/events.out.tfevents.2").touch()
        (run / "tensorboard/characters.points.tsv").write_text("changed")
        board.refresh()
        shown = board.folder / "one"
        assert names(shown) == ["characters.points.tsv", "events.out.tfevents.2"]
        assert (shown / "characters.points.tsv").read_text() == "changed"


def test_the_projector_is_given_copies_because_it_refuses_files_outside_its_folder(place: Path) -> None:
    with open_board([make_run(place / "one")]) as board:
        assert not (board.folder / "one/characters.points.tsv").is_symlink()


def test_nothing_else_in_the_folder_of_a_stranger_is_shown(place: Path) -> None:
    run = make_run(place / "one")
    (place / "secret").write_text("secret")
    (run / "tensorboard/notes.txt").touch()
    (run / "tensorboard/events.out.tfevents.9").symlink_to(place / "secret")
    with open_board([run]) as board:
        assert names(board.folder / "one") == ["characters.points.tsv", EVENTS]


def test_the_picture_of_a_search_is_shown_beside_its_trials(place: Path) -> None:
    trials = [make_run(place / "tune-mine" / name, units=3) for name in ("trial-0000", "trial-0001")]
    (place / "tune-mine/tensorboard").mkdir()
    (place / "tune-mine/tensorboard/events.search.tfevents").touch()
    with open_board(trials) as board:
        assert names(board.folder) == ["trial-0000", "trial-0001", "tune-mine"]
        assert names(board.folder / "tune-mine") == ["events.search.tfevents"]


def test_a_folder_that_is_no_run_and_no_runs_at_all_are_refused(place: Path) -> None:
    with (
        pytest.raises(CharlmError, match=r"missing: not a run: there is no tensorboard/ in it"),
        open_board([place / "missing"]),
    ):
        pass
    with pytest.raises(CharlmError, match="no run here"):
        Board(place, []).refresh()
