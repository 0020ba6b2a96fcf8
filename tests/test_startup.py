"""What a command and the library import: nobody waits for a package that is not used."""

import subprocess
import sys
from pathlib import Path

TENSORFLOW = {"tensorflow", "keras"}
HEAVY = {*TENSORFLOW, "numpy", "yaml", "pydantic", "tqdm", "safetensors"}
RUN_COMMANDS = """
import contextlib, shlex, sys
from charlm.cli.main import main
for line in sys.argv[1:]:
    main(shlex.split(line), standalone_mode=False)
    print(*sys.modules, file=sys.stderr)
"""


def imported_by(program: str, *arguments: str | Path) -> list[set[str]]:
    """Return the packages that a program has imported each time that it prints its modules on standard error."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stderr.splitlines() if " charlm.errors " in line]
    return [{module.partition(".")[0] for module in line} for line in lines]


def test_help_imports_only_click_and_information_neither_tensorflow_nor_numpy() -> None:
    *helped, told, shown = imported_by(
        RUN_COMMANDS, "--help", "train --help", "info", "config show tiny"
    )
    for packages in helped:
        assert "click" in packages
        assert packages.isdisjoint(HEAVY)
    for packages in (told, shown):
        assert packages.isdisjoint({*TENSORFLOW, "numpy"})


def test_what_does_not_train_does_not_import_tensorflow(
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


def test_a_mistake_in_a_config_is_reported_before_tensorflow_is_imported() -> None:
    program = RUN_COMMANDS.replace("    main(", "    with contextlib.suppress(SystemExit): main(")
    (packages,) = imported_by(program, "train -s model.unit=3 -r run")
    assert packages.isdisjoint(TENSORFLOW)


def test_the_library_imports_what_is_used_when_it_is_used(model_file: Path) -> None:
    """What trains and scores does not import TensorFlow before it is called."""
    steps = (
        "import sys, charlm\ntry:\n    raise charlm.CharlmError('wrong')\nexcept charlm.CharlmError:\n    pass",
        "model = charlm.load(sys.argv[1])\nmodel.step([0])\nstr(model.generate(temperature=1))",
        "charlm.train, charlm.evaluate",
    )
    program = "".join(f"{step}\nprint(*sys.modules, file=sys.stderr)\n" for step in steps)
    caught, generated, trains = imported_by(program, model_file)
    assert caught.isdisjoint({*HEAVY, "click"})
    assert generated & {*HEAVY, "click"} == {"numpy", "safetensors"}
    assert trains.isdisjoint({*TENSORFLOW, "click"})
