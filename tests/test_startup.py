"""What a command and the library import: nobody waits for a package that is not used."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

TENSORFLOW = {"tensorflow", "keras"}
HEAVY = {*TENSORFLOW, "numpy", "yaml", "pydantic", "tqdm", "safetensors"}
RUN_COMMAND = """
import sys
from charlm.cli.main import main
try:
    main(sys.argv[1:], standalone_mode=False)
finally:
    print(*sys.modules, file=sys.stderr)
"""


def run(program: str, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run a program that prints the names of all modules on standard error in the end."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def imported(done: "subprocess.CompletedProcess[str]") -> set[str]:
    """Return the packages that a program has imported."""
    packages = {module.partition(".")[0] for module in done.stderr.splitlines()[-1].split()}
    assert "charlm" in packages
    return packages


def imported_by_command(*arguments: str | Path) -> set[str]:
    done = run(RUN_COMMAND, *arguments)
    assert done.returncode == 0, done.stderr
    return imported(done)


def imported_by_program(program: str, *arguments: str | Path) -> set[str]:
    done = run(f"import sys\n{program}\nprint(*sys.modules, file=sys.stderr)", *arguments)
    assert done.returncode == 0, done.stderr
    return imported(done)


# Commands


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]])
def test_help_imports_only_click(arguments: Sequence[str]) -> None:
    packages = imported_by_command(*arguments)
    assert "click" in packages
    assert packages.isdisjoint(HEAVY)


def test_sampling_imports_numpy_and_safetensors_alone(bundle_folder: Path) -> None:
    packages = imported_by_command("sample", bundle_folder, "-n", "3", "-t", "1")
    assert packages & HEAVY == {"numpy", "safetensors"}


@pytest.mark.parametrize(
    "line",
    [
        "sample {bundle} -n 3",
        "evaluate {bundle} text.txt",
        "runs {run}",
        "tokenize text.txt --out corpus",
        "export {bundle} --format torch --out out",
    ],
)
def test_a_command_that_does_not_train_imports_neither_tensorflow_nor_torch(
    line: str, bundle_folder: Path, trained_run: Path
) -> None:
    Path("text.txt").write_text("abba", encoding="utf-8")
    arguments = [part.format(bundle=bundle_folder, run=trained_run) for part in line.split()]
    assert imported_by_command(*arguments).isdisjoint({*TENSORFLOW, "torch", "onnx", "h5py"})


@pytest.mark.slow
def test_inspecting_does_not_import_tensorflow(trained_run: Path, tmp_path: Path) -> None:
    packages = imported_by_command("inspect", trained_run, "--out", tmp_path / "page.html", "--json")
    assert packages.isdisjoint({*TENSORFLOW, "torch"})


@pytest.mark.parametrize("arguments", [["info"], ["config", "show", "tiny"]])
def test_information_does_not_wait_for_tensorflow_or_numpy(arguments: Sequence[str]) -> None:
    assert imported_by_command(*arguments).isdisjoint({*TENSORFLOW, "numpy"})


def test_a_mistake_in_a_config_is_reported_before_tensorflow_is_imported(tmp_path: Path) -> None:
    done = run(RUN_COMMAND, "train", "-s", "model.unit=3", "-r", tmp_path / "run")
    assert done.returncode == 1
    assert "did you mean model.units?" in done.stderr
    assert imported(done).isdisjoint(TENSORFLOW)


@pytest.mark.parametrize("line", ["charlm train -s model.un", "charlm sample mi"])
def test_completing_imports_only_click(line: str) -> None:
    program = (
        "import os\n"
        "from charlm.cli.main import main\n"
        "os.environ |= {'_CHARLM_COMPLETE': 'bash_complete', 'COMP_WORDS': sys.argv[1], 'COMP_CWORD': sys.argv[2]}\n"
        "try:\n    main(prog_name='charlm')\nexcept SystemExit:\n    pass"
    )
    packages = imported_by_program(program, line, str(len(line.split()) - 1))
    assert "click" in packages
    assert packages.isdisjoint(HEAVY)


# The library


def test_the_errors_of_the_library_can_be_caught_without_importing_more() -> None:
    program = "import charlm\ntry:\n    raise charlm.CharlmError('wrong')\nexcept charlm.CharlmError:\n    pass"
    assert imported_by_program(program).isdisjoint({*HEAVY, "click"})


def test_loading_and_generating_imports_numpy_and_safetensors_alone(bundle_folder: Path) -> None:
    program = "import charlm\nmodel = charlm.load(sys.argv[1])\nmodel.step([0])\nstr(model.generate(temperature=1))"
    assert imported_by_program(program, bundle_folder) & {*HEAVY, "click"} == {"numpy", "safetensors"}


def test_the_functions_that_train_do_not_import_tensorflow_before_they_are_called() -> None:
    assert imported_by_program("import charlm\ncharlm.train, charlm.evaluate").isdisjoint({*TENSORFLOW, "click"})
