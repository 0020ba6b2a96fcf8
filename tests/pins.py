"""Pin the results of seeded trainings, scores and samples to the last bit: a refactoring must not change them.

    python tests/pins.py --write         write build/pins.json
    python tests/pins.py                 compare with it, and print the differences
    python tests/pins.py --only NAME     compare some of the trainings; repeatable
    python tests/pins.py --pins FILE     compare with, or write, another file

The script uses only the command line, so that it works before and after any change of the code. The last bits depend on
the processor and on the versions of TensorFlow and NumPy: write the file before a change, and compare after it on the
same machine. `test_pins.py` compares only the losses with those that it lists, with a tolerance, on any machine.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.numpy
from processes import command_line, settings
from safetensors import safe_open

ROOT = Path(__file__).parent.parent
PINS = ROOT / "build" / "pins.json"
TEXT_CHARACTERS = 20_000
BASE = (
    *("model.units=32", "training.steps=40", "training.batch_size=8", "training.log_every=5"),
    *("training.evaluations=2", "sampling.length=40", "training.parts=2"),
    "training.kernel=keras",  # the bits of the other depend on the compiler
)
DROPOUT = ("layer_dropout", "output_dropout", "rnn.dropout", "rnn.recurrent_dropout")
FEATURES: Mapping[str, Sequence[str]] = {
    "plain": (),
    "two_layers": ("model.layers=2",),
    "skip_connections": ("model.layers=2", "model.skip_connections=true"),
    "embedding": ("model.embedding=8",),
    "dropout": ("model.layers=2", *(f"model.{key}=0.2" for key in DROPOUT)),
    "muon": ("training.optimizer={name: muon, learning_rate: 3e-3, weight_decay: 0.3}",),
    "average": ("training.average_momentum=0.9",),
    "temperature": ("training.loss_temperature=0.8",),
    "state_reset": ("training.state_reset=0.3",),
    "shuffle": ("training.shuffle=true",),
    "bfloat16": ("training.precision=bfloat16",),
    "penalties": (
        *("model.layers=2", "model.rnn.activity_regularizer=l2"),
        "model.rnn.kernel_regularizer=l2",
    ),
    "adamw": ("training.optimizer={name: adamw, learning_rate: 3e-3, weight_decay: 0.3}",),
    "relu": ("model.rnn.activation=relu",),
}
INSPECTED = {"skip_connections"}
"""The features with which the network is also inspected."""


def charlm(*arguments: str | Path) -> str:
    """Run a command in a separate process; return its standard output."""
    return subprocess.run(command_line(*arguments), check=True, capture_output=True, text=True).stdout


def pin(name: str, folder: Path) -> dict[str, Any]:
    """Train a small network with one feature in a new folder; return its losses, scores and texts."""
    folder.mkdir()
    text, run = folder / "text.txt", folder / "run"
    plays = (ROOT / "data/river_plays.txt").read_text(encoding="utf-8")
    text.write_text(plays[:TEXT_CHARACTERS], encoding="utf-8")
    charlm("train", text, "-c", "tiny", *settings(*BASE, *FEATURES[name]), "-r", run)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        "losses": [[line["step"], line["split"], line["nats_per_char"].hex()] for line in lines],
        "weights": hashlib.sha256(weights_of(run / "last.safetensors")).hexdigest(),
        "sample": charlm(*("sample", run, "-n", "120", "--seed", "3", "-t", "0.8", "--top-p", "0.95", "-p", "the ")),
        "samples": charlm("sample", run, "-n", "30", "--seed", "3", "-t", "1", "--samples", "3"),
        **{
            protocol: json.loads(charlm("evaluate", run, "--json", "--protocol", protocol))["nats_per_char"].hex()
            for protocol in ("stream", "windows")
        },
    }


def weights_of(model: Path) -> bytes:
    """Return the tensors of a model file, as they were in a file of their own."""
    with safe_open(model, "numpy") as file:
        return bytes(safetensors.numpy.save({name: file.get_tensor(name) for name in file.keys()}))  # noqa: SIM118


def pin_report(run: Path) -> dict[str, str]:
    """Inspect a run; return a hash of each quantity of the report."""
    report = json.loads(charlm("inspect", run, "--json"))
    del report["name"]  # a path
    return {key: hashlib.sha256(json.dumps(value).encode()).hexdigest() for key, value in report.items()}


def differences(found: Any, pinned: Any, path: str) -> list[str]:
    """Return the paths of the pinned values that were not found."""
    if not isinstance(pinned, dict):
        return [] if found == pinned else [path]
    return [line for key, value in pinned.items() for line in differences(found.get(key), value, f"{path}: {key}")]


def main() -> None:
    """Write or compare the pins; exit with code 1 if there is a difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--only", action="append", choices=list(FEATURES), metavar="NAME")
    parser.add_argument("--pins", type=Path, default=PINS, metavar="FILE")
    options = parser.parse_args()
    names = options.only or list(FEATURES)
    with tempfile.TemporaryDirectory() as scratch:
        found = {}
        for name in names:
            folder = Path(scratch) / name
            found[name] = pin(name, folder)
            if name in INSPECTED:
                found[name]["report"] = pin_report(folder / "run")
    if options.write:
        options.pins.parent.mkdir(exist_ok=True)
        options.pins.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        return
    pinned = json.loads(options.pins.read_text(encoding="utf-8"))
    wrong = [line for name in names for line in differences(found[name], pinned[name], name)]
    print("\n".join([f"{len(names)} trainings, {len(wrong)} differences", *wrong]))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
