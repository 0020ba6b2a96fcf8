"""Scratch folders: they are empty, hidden, removed at the end, and by the next one if their process was killed."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from charlm.storage.scratch import remove_abandoned, scratch_folder

PROGRAM = """
import pathlib, sys, time
from charlm.storage.scratch import scratch_folder
with scratch_folder(pathlib.Path(sys.argv[1])) as folder:
    (folder / "large").write_bytes(b"x")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_folder_is_empty_hidden_beside_its_target_and_removed_at_the_end(tmp_path: Path) -> None:
    with scratch_folder(tmp_path / "out") as folder:
        assert folder.parent == tmp_path
        assert folder.name.startswith(".")
        assert list(folder.iterdir()) == []
        (folder / "file").touch()
    assert list(tmp_path.iterdir()) == []


def test_folder_of_a_killed_process_is_removed_by_the_next_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        with scratch_folder(tmp_path / "out") as own:
            assert (folder / "large").is_file()
            assert own.is_dir()
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
    assert (folder / "large").is_file()
    with scratch_folder(tmp_path / "out"):
        assert not folder.exists()


@pytest.mark.parametrize("name", [".out-notes", ".charlm-out-notes", ".charlm-other-abcdefgh.tmp", "out"])
def test_other_folders_stay(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    remove_abandoned(tmp_path / "out")
    assert (tmp_path / name).is_dir()


def test_link_under_the_name_of_a_scratch_folder_stays_and_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").touch()
    link = tmp_path / ".charlm-out-abcdefgh.tmp"
    link.symlink_to(tmp_path / "precious")
    remove_abandoned(tmp_path / "out")
    assert link.is_symlink()
    assert (tmp_path / "precious/file").exists()
