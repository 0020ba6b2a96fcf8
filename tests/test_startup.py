"""The packages that a command or the library imports, which decide how fast it starts."""

import subprocess
import sys
from pathlib import Path

import pytest

TENSORFLOW = {"tensorflow", "keras"}
HEAVY = {*TENSORFLOW, "numpy", "yaml", "pydantic", "tqdm", "safetensors"}
RUN_COMMANDS = """
import contextlib, shlex, sys
import charlm.__main__
from charlm.cli.main import main
for line in sys.argv[1:]:
    main(shlex.split(line), standalone_mode=False)
    print(*sys.modules, file=sys.stderr)
"""


def imported_by(program: str, *arguments: str | Path) -> list[set[str]]:
    """Return the imported packages, each time that a program prints its modules to stderr."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stderr.splitlines() if " charlm.errors " in line]
    return [{module.partition(".")[0] for module in line} for line in lines]


@pytest.mark.parametrize("line", ["--help", "train --help"])
def test_help_imports_only_click(line: str) -> None:
    (packages,) = imported_by(RUN_COMMANDS, line)
    assert "click" in packages
    assert packages.isdisjoint(HEAVY)


@pytest.mark.parametrize(
    ("line", "slow"),
    [
        pytest.param("info", {*TENSORFLOW}, id="info"),
        pytest.param("config show tiny", {*TENSORFLOW, "numpy"}, id="config"),
    ],
)
def test_information_is_shown_without_slow_packages(line: str, slow: set[str]) -> None:
    (packages,) = imported_by(RUN_COMMANDS, line)
    assert packages.isdisjoint(slow)


def test_commands_that_do_not_train_import_no_framework(
    model_file: Path, trained_run: Path
) -> None:
    Path("text.txt").write_text("abba", encoding="utf-8")
    sampled, *others = imported_by(
        RUN_COMMANDS,
        f"sample {model_file} -n 3 -t 1",
        f"evaluate {model_file} text.txt",
        f"runs {trained_run}",
        "tokenize text.txt --out corpus",
        f"export {model_file} --format torch --out out",
    )
    assert sampled & HEAVY == {"numpy", "safetensors"}
    for packages in (sampled, *others):
        assert packages.isdisjoint({*TENSORFLOW, "torch", "onnx", "h5py"})


def test_a_model_is_loaded_without_the_viewer() -> None:
    program = "import sys, charlm; charlm.load; sys.exit('charlm.api.viewer' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_wrong_config_is_reported_before_tensorflow_is_imported() -> None:
    program = RUN_COMMANDS.replace("    main(", "    with contextlib.suppress(SystemExit): main(")
    (packages,) = imported_by(program, "train -s model.unit=3 -r run")
    assert packages.isdisjoint(TENSORFLOW)


def test_the_library_has_its_events_without_an_import_of_their_module() -> None:
    program = "import sys, charlm\ncharlm.events.Event\nprint(*sys.modules, file=sys.stderr)"
    (packages,) = imported_by(program)
    assert packages.isdisjoint({*HEAVY, "click"})


def test_the_library_imports_a_package_when_it_is_used(model_file: Path) -> None:
    steps = (
        "import sys, charlm\ntry: raise charlm.CharlmError('')\nexcept charlm.CharlmError: pass",
        "model = charlm.load(sys.argv[1])\nmodel.step([0])\nstr(model.generate(temperature=1))",
        "charlm.train, charlm.evaluate",
    )
    program = "".join(f"{step}\nprint(*sys.modules, file=sys.stderr)\n" for step in steps)
    caught, generated, trains = imported_by(program, model_file)
    assert caught.isdisjoint({*HEAVY, "click"})
    assert generated & {*HEAVY, "click"} == {"numpy", "safetensors"}
    assert trains.isdisjoint({*TENSORFLOW, "click"})
