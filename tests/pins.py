"""Pin the results of seeded trainings, scores and samples to the last bit: a refactoring must not change them.

    python tests/pins.py --write         write build/pins.json
    python tests/pins.py                 compare with it, and print the differences

The script uses only the command line, so that it works before and after any change of the code. The last bits depend on
the processor and on the versions of TensorFlow and NumPy: write the file before a change, and compare after it on the
same machine.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

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
TWO = "model.layers=2"
DROPOUT = [f"model.{key}=0.2" for key in ("layer_dropout", "output_dropout", "rnn.dropout", "rnn.recurrent_dropout")]
MUON, ADAMW = (
    f"training.optimizer={{name: {name}, learning_rate: 3e-3, weight_decay: 0.3}}" for name in ("muon", "adamw")
)
FEATURES: dict[str, tuple[str, ...]] = {
    "plain": (),
    "two_layers": (TWO,),
    "skip_connections": (TWO, "model.skip_connections=true"),
    "embedding": ("model.embedding=8",),
    "dropout": (TWO, *DROPOUT),
    "muon": (MUON,),
    "average": ("training.average_momentum=0.9",),
    "temperature": ("training.loss_temperature=0.8",),
    "state_reset": ("training.state_reset=0.3",),
    "shuffle": ("training.shuffle=true",),
    "bfloat16": ("training.precision=bfloat16",),
    "penalties": (TWO, "model.rnn.activity_regularizer=l2", "model.rnn.kernel_regularizer=l2"),
    "adamw": (ADAMW,),
    "relu": ("model.rnn.activation=relu",),
}
"""The settings of each training."""


def charlm(*arguments: str | Path) -> str:
    """Run a command in a separate process; return its standard output."""
    return subprocess.run(command_line(*arguments), check=True, capture_output=True, text=True).stdout


def pin(name: str, folder: Path) -> dict[str, Any]:
    """Train a small network with one feature in a new folder; return its losses, weights, scores, texts and report."""
    folder.mkdir()
    text, run = folder / "text.txt", folder / "run"
    plays = (ROOT / "data/river_plays.txt").read_text(encoding="utf-8")
    text.write_text(plays[:TEXT_CHARACTERS], encoding="utf-8")
    charlm("train", text, "-c", "tiny", *settings(*BASE, *FEATURES[name]), "-r", run)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    with safe_open(run / "last.safetensors", "numpy") as file:
        weights = {key: hashlib.sha256(file.get_tensor(key).tobytes()).hexdigest() for key in file.keys()}  # noqa: SIM118
    scores = {way: json.loads(charlm("evaluate", run, "--json", "--protocol", way)) for way in ("stream", "windows")}
    report = json.loads(charlm("inspect", run, "--json")) if name == "skip_connections" else {"name": ""}
    del report["name"]  # a path
    return {
        "losses": [[line["step"], line["split"], line["nats_per_char"].hex()] for line in lines],
        "weights": weights,
        "sample": charlm(*("sample", run, "-n", "120", "--seed", "3", "-t", "0.8", "--top-p", "0.95", "-p", "the ")),
        "samples": charlm("sample", run, "-n", "30", "--seed", "3", "-t", "1", "--samples", "3"),
        "scores": {way: score["nats_per_char"].hex() for way, score in scores.items()},
        "report": {key: hashlib.sha256(json.dumps(value).encode()).hexdigest() for key, value in report.items()},
    }


def differences(found: Any, pinned: Any, path: str) -> list[str]:
    """Return the paths of the pinned values that were not found."""
    if not isinstance(pinned, dict):
        return [] if found == pinned else [path]
    return [line for key, value in pinned.items() for line in differences(found.get(key), value, f"{path}: {key}")]


def main() -> None:
    """Write or compare the pins; exit with code 1 if there is a difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    is_written = parser.parse_args().write
    with tempfile.TemporaryDirectory() as scratch:
        found = {name: pin(name, Path(scratch) / name) for name in FEATURES}
    if is_written:
        PINS.parent.mkdir(exist_ok=True)
        PINS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        return
    wrong = differences(found, json.loads(PINS.read_text(encoding="utf-8")), "found")
    print("\n".join([f"{len(found)} trainings, {len(wrong)} differences", *wrong]))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
