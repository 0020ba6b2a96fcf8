"""The state of a run on the disk: restored exactly, and from the checkpoint before if one is damaged."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_folders import change_checkpoint, cut, names, replace_by_folder

from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.training import checkpoints
from charlm.training.checkpoints import Checkpoint, Facts, OtherCheckpointError, Progress
from charlm.training.interface import Shapes, Tensors

SIZES = {"metrics.jsonl": 5, "events.out.tfevents.1": 7}


def facts_of(progress: Progress) -> Facts:
    versions = {"charlm": "1", "keras": None}
    return Facts(versions=versions, config=Config(), corpus={"n": 1}, progress=progress, file_sizes=SIZES)


def save(folder: Path, *steps: int) -> None:
    for step in steps:
        checkpoints.save(folder, Checkpoint({"step": np.array(step)}, facts_of(Progress(step=step))))


def restored_step(folder: Path, *, warnings: list[str] | None = None) -> int:
    found = checkpoints.restore(folder, warn=pytest.fail if warnings is None else warnings.append)
    assert int(found.tensors["step"]) == found.facts.progress.step
    return found.facts.progress.step


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(), (0, 2), (2, 3, 4)])
def test_tensors_of_every_dtype_are_restored_to_the_bit(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    kind = np.dtype(dtype)
    count = int(np.prod(shape))
    tensor = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 256, (count, kind.itemsize), np.uint8)
    saved: Tensors = {"x": tensor.view(kind).reshape(shape)}
    checkpoints.save(tmp_path, Checkpoint(saved, facts_of(Progress())))
    found = checkpoints.restore(tmp_path, warn=pytest.fail).tensors["x"]
    assert (found.dtype, found.shape, found.tobytes()) == (kind, shape, saved["x"].tobytes())


def test_everything_but_the_tensors_is_restored_exactly(tmp_path: Path) -> None:
    facts = facts_of(Progress(seconds=0.1, best_nats=np.nextafter(1.5, 2), pending_losses=[1 / 3, 1e-300]))
    checkpoints.save(tmp_path, Checkpoint({}, facts))
    assert checkpoints.restore(tmp_path, warn=pytest.fail).facts.model_copy(update={"sha256": {}}) == facts


def test_only_the_newest_few_are_kept(tmp_path: Path) -> None:
    save(tmp_path, *range(1, 6))
    assert names(tmp_path) == [f"step-{step:09d}" for step in (3, 4, 5)]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("file", ["state.safetensors", "progress.json"])
@pytest.mark.parametrize("damage", [Path.unlink, cut, flip, replace_by_folder])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(
    damage: Callable[[Path], None], file: str, tmp_path: Path
) -> None:
    save(tmp_path, 1, 2)
    damage(tmp_path / "step-000000002" / file)
    warnings: list[str] = []
    assert restored_step(tmp_path, warnings=warnings) == 1
    (warning,) = warnings
    assert "going back to the checkpoint before step-000000002" in warning


def replace_value(checkpoint: Path, key: str, value: Any) -> None:
    """Replace the value of a key, which may be that of a section and one in it."""

    def change(facts: dict[str, Any]) -> None:
        *sections, name = key.split(".")
        for section in sections:
            facts = facts[section]
        facts[name] = value

    change_checkpoint(checkpoint, change)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("progress.step", 1),
        ("progress.step", True),
        ("progress.evaluations_without_best", 1 << 60),
        ("progress.seconds", -1.0),
        ("progress.best_nats", float("nan")),
        ("progress.lowest_nats", 10**400),
        ("progress.pending_losses", [1.5, None]),
        ("progress.more", 1),
        ("progress.phases", [[0, 0]]),
        ("progress.phases", [[1, 4]]),
        ("progress.phases", [[0, 4], [3, 8]]),
        ("progress.phases", [[0, 4], [1, 4]]),
        ("progress.phases", [[0]]),
        ("file_sizes", {"metrics.jsonl": 1 << 63}),
        ("config", {"model": {"units": "many"}}),
        ("sha256", {}),
        ("format", None),
    ],
)
def test_a_value_of_a_wrong_type_or_out_of_range_counts_as_damaged(key: str, value: Any, tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    replace_value(tmp_path / "step-000000002", key, value)
    warnings: list[str] = []
    assert restored_step(tmp_path, warnings=warnings) == 1
    (warning,) = warnings
    assert "damaged: " in warning
    assert len(warning.removeprefix(str(tmp_path))) < 400


def test_a_field_that_is_missing_has_its_default(tmp_path: Path) -> None:
    save(tmp_path, 1)
    replace_value(tmp_path / "step-000000001", "progress", {"step": 1, "best_nats": 1.5})
    assert checkpoints.restore(tmp_path, warn=pytest.fail).facts.progress == Progress(step=1, best_nats=1.5)


@pytest.mark.parametrize("number", [2, 4])
def test_the_newest_checkpoint_in_another_format_is_refused_with_what_to_do(number: int, tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    replace_value(tmp_path / "step-000000002", "format", number)
    with pytest.raises(OtherCheckpointError, match=f"step-000000002: checkpoint format {number}; .* start a new run"):
        checkpoints.restore(tmp_path, warn=pytest.fail)


@pytest.mark.parametrize("folder", [".", "missing"])
def test_restoring_is_refused_if_there_is_no_checkpoint(folder: str, tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match="no whole checkpoint"):
        checkpoints.restore(tmp_path / folder, warn=pytest.fail)


@pytest.mark.parametrize("shapes", [{"step": (1,)}, {"other": ()}, {}, None])
def test_tensors_of_other_shapes_are_refused_before_they_are_read(shapes: Shapes | None, tmp_path: Path) -> None:
    save(tmp_path, 1)
    if shapes is None:  # no file of the right shapes is that large
        os.truncate(tmp_path / "step-000000001/state.safetensors", 1 << 36)
        shapes = {"step": ()}
    with pytest.raises(OtherCheckpointError, match="another network, optimizer or batch size"):
        checkpoints.restore(tmp_path, warn=pytest.fail, shapes=shapes)


@pytest.mark.parametrize("name", ["step", "seconds", "elapsed_seconds", "best_step", "evaluated_step"])
def test_a_count_or_a_time_below_0_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}\n.*greater than or equal to 0"):
        Progress.model_validate({name: -1})
