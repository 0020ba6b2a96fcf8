"""`charlm export`: what it prints."""

from pathlib import Path

import pytest
from commands import charlm, check_failure


def test_the_files_and_their_sizes_are_printed(model_file: Path, tmp_path: Path) -> None:
    command = charlm("export", model_file, "--format", "c", "--out", tmp_path / "out")
    sizes = {name: (tmp_path / "out" / name).stat().st_size for name in ("run.c", "model.bin")}
    assert command.stdout == f"{tmp_path}/out: run.c {sizes['run.c']:,} bytes, model.bin {sizes['model.bin']:,} bytes\n"
    assert command.stderr == ""


@pytest.mark.slow
def test_a_check_says_the_largest_difference(model_file: Path, tmp_path: Path) -> None:
    command = charlm("export", model_file, "--format", "html", "--out", tmp_path / "out", "--check")
    assert command.exit_code == 0, command.stderr
    lines = command.stdout.splitlines()
    assert lines[1].startswith("a browser: the largest difference of a logit over 10,000 characters is ")


@pytest.mark.usefixtures("place")
def test_a_file_in_place_of_a_folder_is_refused() -> None:
    check_failure("export m.safetensors --format c --out page.html", "page.html: the format c must be a folder")
