"""What an earlier charlm wrote, of each format version: it is read as it was, and training goes on from it."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import charlm

from charlm.bundle import FORMAT, read_bundle
from charlm.training import checkpoints

GOLDEN = Path(__file__).parent / "golden"
FORMATS = sorted(GOLDEN.glob("format-*"))
BUNDLES = ("bundle", "run/best", "run/last")


def expected(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    return found


def test_there_are_golden_files_of_every_format() -> None:
    assert [folder.name for folder in FORMATS] == [f"format-{number}" for number in range(1, FORMAT + 1)]


@pytest.mark.parametrize("folder", FORMATS, ids=lambda folder: folder.name)
@pytest.mark.parametrize("bundle", BUNDLES)
def test_the_weights_of_a_golden_bundle_are_what_they_were(folder: Path, bundle: str) -> None:
    weights = expected(folder)[bundle]["weights"]
    found = read_bundle(folder / bundle).parameters.tensors()
    assert found.keys() == weights.keys()
    for name, tensor in found.items():
        np.testing.assert_array_equal(tensor, np.array(weights[name], np.float32))


@pytest.mark.parametrize("folder", FORMATS, ids=lambda folder: folder.name)
@pytest.mark.parametrize("bundle", BUNDLES)
def test_the_most_likely_text_of_a_golden_bundle_is_what_it_was(folder: Path, bundle: str) -> None:
    command = charlm("sample", folder / bundle, "-n", 40, "-t", 0, "--ignore-end")
    assert command.stdout == expected(folder)[bundle]["text"]


@pytest.mark.parametrize("folder", FORMATS, ids=lambda folder: folder.name)
def test_a_golden_checkpoint_holds_the_weights_of_the_last_bundle(folder: Path) -> None:
    tensors, progress, _ = checkpoints.restore(folder / "run/checkpoints", warn=pytest.fail)
    assert progress.step == 10
    last = [tensor.tobytes() for tensor in read_bundle(folder / "run/last").parameters.tensors().values()]
    assert {*last} <= {tensor.tobytes() for tensor in tensors.values()}


@pytest.mark.parametrize("folder", FORMATS, ids=lambda folder: folder.name)
def test_training_goes_on_from_a_golden_checkpoint(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "run", tmp_path / "run")
    command = charlm("train", "--resume", "-r", tmp_path / "run", "-s", "training.steps=40")
    assert command.exit_code == 0, command.stderr
    assert "resumed at step 10 of 40\n" in command.stderr
    lines = [
        json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    nats = {line["step"]: line["nats_per_char"] for line in lines if line["split"] == "validation"}
    assert [*nats] == [*range(5, 41, 5)]
    assert nats[40] < nats[10]


@pytest.mark.parametrize("folder", FORMATS, ids=lambda folder: folder.name)
def test_the_golden_files_are_small(folder: Path) -> None:
    assert sum(path.stat().st_size for path in (folder / "bundle").iterdir()) < 20_000
    assert sum(path.stat().st_size for path in (folder / "run").rglob("*") if path.is_file()) < 30_000
