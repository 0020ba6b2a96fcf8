"""The folder of a new run: it is free, and it appears when it is complete."""

import contextlib
from pathlib import Path

import pytest
from run_folders import contents, make_run

from charlm.errors import CharlmError
from charlm.runs.run import free_folder


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("file", "already exists; choose a new or empty folder"),
        ("full", "already exists; choose a new or empty folder"),
        ("run", r".*run; .* continue the run with: charlm train --resume -r .*/run$"),
    ],
)
def test_a_folder_that_is_not_empty_is_refused(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full/thesis").mkdir(parents=True)
    make_run(tmp_path / "run")
    before = contents(tmp_path)
    folder = free_folder(tmp_path / name, text_name="plays")
    with pytest.raises(CharlmError, match=f"{name}: {message}"), folder:
        pass
    assert contents(tmp_path) == before


def test_a_folder_that_cannot_be_made_is_named() -> None:
    Path("runs").symlink_to("missing")
    folder = free_folder(None, text_name="plays")
    with pytest.raises(CharlmError, match=r"^runs: cannot be written: File exists"), folder:
        pass


def test_an_interrupted_start_leaves_no_folder_of_runs() -> None:
    with contextlib.suppress(KeyboardInterrupt), free_folder(None, text_name="plays"):
        raise KeyboardInterrupt
    assert not Path("runs").exists()
