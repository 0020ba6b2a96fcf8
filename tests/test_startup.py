"""What a command imports: text has to come at once, so nobody waits for what a command does not use."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

TENSORFLOW = {"tensorflow", "keras"}
RUN_AND_LIST_IMPORTS = """
import sys
from charlm.cli import main
try:
    main(sys.argv[1:], standalone_mode=False)
finally:
    print(*sys.modules, file=sys.stderr)
"""


def imported_by(*arguments: str | Path) -> set[str]:
    """Run a command in a fresh interpreter; return the packages it imported."""
    command = [sys.executable, "-c", RUN_AND_LIST_IMPORTS, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    modules = done.stderr.splitlines()[-1].split()
    assert "click" in modules
    return {module.partition(".")[0] for module in modules}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["sample", "--help"], ["train", "--help"]])
def test_help_imports_next_to_nothing(arguments: Sequence[str]) -> None:
    assert imported_by(*arguments).isdisjoint({*TENSORFLOW, "numpy", "yaml", "pydantic", "tqdm", "safetensors"})


def test_sampling_imports_the_numpy_engine_and_little_else(bundle_folder: Path) -> None:
    imported = imported_by("sample", bundle_folder, "-n", "3")
    assert "numpy" in imported
    assert imported.isdisjoint({*TENSORFLOW, "yaml", "pydantic", "tqdm"})


def test_evaluating_does_not_import_tensorflow(bundle_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("abba")
    assert imported_by("evaluate", bundle_folder, tmp_path / "text.txt").isdisjoint(TENSORFLOW)


def test_tokenizing_does_not_import_tensorflow(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("abba")
    assert imported_by("tokenize", tmp_path / "text.txt", "--out", tmp_path / "corpus").isdisjoint(TENSORFLOW)


def test_a_mistake_in_a_config_is_found_before_tensorflow_is_imported(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        RUN_AND_LIST_IMPORTS,
        "train",
        "-s",
        "model.unit=3",
        "-r",
        str(tmp_path / "run"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "did you mean model.units?" in done.stderr
    assert {module.partition(".")[0] for module in done.stderr.split()}.isdisjoint(TENSORFLOW)
