"""`charlm export`: what it prints."""

from pathlib import Path

import pytest
from commands import charlm, check_failure, table


def test_the_files_and_their_sizes_are_printed(bundle_folder: Path, tmp_path: Path) -> None:
    command = charlm("export", bundle_folder, "--format", "c", "--out", tmp_path / "out")
    sizes = {name: (tmp_path / "out" / name).stat().st_size for name in ("run.c", "model.bin")}
    assert command.stdout == f"{tmp_path}/out: run.c {sizes['run.c']:,} bytes, model.bin {sizes['model.bin']:,} bytes\n"
    assert command.stderr == ""


@pytest.mark.slow
def test_a_check_says_the_largest_difference(bundle_folder: Path, tmp_path: Path) -> None:
    command = charlm("export", bundle_folder, "--format", "html", "--out", tmp_path / "out", "--check")
    assert command.exit_code == 0, command.stderr
    lines = command.stdout.splitlines()
    assert lines[1].startswith("a browser: the largest difference of a logit over 10,000 characters is ")


@pytest.mark.usefixtures("place")
@table("""
export bundle --format c --out bundle          | bundle: exists already; name a new or an empty folder
export bundle --format c --out page.html       | page.html: the format c must be a folder
export nan --format c --out out                | not finite
""")
def test_a_failure_is_explained_in_a_line(line: str, expected: str) -> None:
    before = sorted(Path().rglob("*"))
    check_failure(line, expected)
    assert sorted(Path().rglob("*")) == before
