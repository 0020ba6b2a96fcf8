"""Checkpoints: the state of a run on the disk, restored exactly or from the one before."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runs import refuse_events
from models import change_model, make_random_model
from run_folders import cut, flip_bit, names, replace_by_folder

from charlm.errors import CharlmError
from charlm.events import CheckpointSkipped, Event
from charlm.network.model_file import Tensors
from charlm.storage import UnreadableError
from charlm.training import checkpoints
from charlm.training.checkpoints import Checkpoint, Facts, Progress

MODEL = make_random_model("abc", units=2, facts={"step": 1, "corpus": {"n": 1}})
WEIGHTS = MODEL.parameters.tensors
SHAPES = {name: tensor.shape for name, tensor in WEIGHTS.items()}


def checkpoint_of(progress: Progress, tensors: Tensors) -> Checkpoint:
    """Return a checkpoint with the weights of MODEL and other tensors."""
    facts = Facts(versions={"charlm": "1", "keras": None}, progress=progress)
    return Checkpoint(MODEL, {**WEIGHTS, **tensors}, facts)


def save(folder: Path, *steps: int, keeps_all: bool = False) -> None:
    for step in steps:
        checkpoint = checkpoint_of(Progress(step=step), {"step": np.array(step)})
        checkpoints.save(folder, checkpoint, keeps_all=keeps_all)


def restore_silently(folder: Path) -> Checkpoint:
    return checkpoints.restore(folder, on_event=refuse_events)


def test_the_facts_are_restored_exactly(tmp_path: Path) -> None:
    progress = Progress(seconds=0.1, best_nats=np.nextafter(1.5, 2), pending_losses=[1 / 3, 1e-300])
    saved = checkpoint_of(progress, {})
    checkpoints.save(tmp_path, saved)
    restored = restore_silently(tmp_path)
    assert restored.facts == saved.facts
    assert restored.model.facts == MODEL.facts
    assert restored.model.config == MODEL.config


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(), (0, 2), (2, 3, 4)], ids=str)
def test_a_tensor_is_restored_to_the_bit(
    dtype: str,
    shape: tuple[int, ...],
    tmp_path: Path,
) -> None:
    kind = np.dtype(dtype)
    values = 2 if dtype == "bool" else 256
    size = (int(np.prod(shape)), kind.itemsize)
    data = np.random.default_rng(0).integers(0, values, size, np.uint8)
    tensor = data.view(kind).reshape(shape)
    checkpoints.save(tmp_path, checkpoint_of(Progress(), {"tensor": tensor}))
    restored = restore_silently(tmp_path).tensors["tensor"]
    assert (restored.dtype, restored.shape) == (kind, shape)
    assert restored.tobytes() == tensor.tobytes()


def test_the_newest_two_checkpoints_are_kept(tmp_path: Path) -> None:
    save(tmp_path, 1, 9, 10)
    assert names(tmp_path) == ["step-10.safetensors", "step-9.safetensors"]


def test_all_checkpoints_can_be_kept(tmp_path: Path) -> None:
    save(tmp_path, 1, 9, 10, keeps_all=True)
    assert len(names(tmp_path)) == 3


def test_later_checkpoints_are_removed_even_if_all_are_kept(tmp_path: Path) -> None:
    save(tmp_path, 1, 9, 10, keeps_all=True)
    checkpoints.remove_others(tmp_path, 9, keeps_all=True)
    assert names(tmp_path) == ["step-1.safetensors", "step-9.safetensors"]


# Damage


def replace_value(key: str, value: Any) -> Callable[[Path], None]:
    """Return a function that replaces a value in a checkpoint, by its dotted key."""

    def change(fields: dict[str, Any]) -> None:
        *sections, name = ("training", *key.split("."))
        for section in sections:
            fields = fields[section]
        fields[name] = value

    return lambda path: change_model(path, change)


def check_skipped(
    folder: Path,
    damage: Callable[[Path], object],
    *,
    problem: str = "damaged",
) -> None:
    """Check that a damaged checkpoint is reported, and the one before it restored."""
    save(folder, 1, 2)
    damage(folder / "step-2.safetensors")
    events: list[Event] = []
    restored = checkpoints.restore(folder, on_event=events.append)
    assert int(restored.tensors["step"]) == restored.facts.progress.step == 1
    (event,) = events
    assert isinstance(event, CheckpointSkipped)
    message = event.problem.removeprefix(str(folder))
    assert message.startswith("/step-2.safetensors: ")
    assert problem in message
    assert len(message) < 400


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(cut, id="cut"),
        pytest.param(lambda path: flip_bit(path, path.stat().st_size // 2), id="a wrong bit"),
        pytest.param(replace_value("progress", None), id="no progress"),
        pytest.param(replace_value("versions", 1), id="no versions"),
    ],
)
def test_a_damaged_checkpoint_is_skipped(damage: Callable[[Path], object], tmp_path: Path) -> None:
    check_skipped(tmp_path, damage)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("step", True),
        ("step", -1),
        ("seconds", -1),
        ("elapsed_seconds", -1),
        ("best_step", -1),
        ("evaluated_step", -1),
        ("evaluations_without_best", 1 << 60),
        ("pending_losses", [1.5, None]),
        ("unknown", 1),
    ],
)
def test_a_checkpoint_with_a_wrong_field_is_skipped(field: str, value: Any, tmp_path: Path) -> None:
    damage = replace_value(f"progress.{field}", value)
    check_skipped(tmp_path, damage, problem=f"damaged: training: progress.{field}")


def test_a_checkpoint_of_another_step_is_skipped(tmp_path: Path) -> None:
    damage = replace_value("progress.step", 1234)
    check_skipped(tmp_path, damage, problem="damaged: it belongs to step 1,234")


def test_a_checkpoint_with_a_number_that_is_not_finite_is_skipped(tmp_path: Path) -> None:
    damage = replace_value("progress.best_nats", math.nan)
    check_skipped(tmp_path, damage, problem="best_nats: found nan; expected a finite number")


def replace_by_dead_link(path: Path) -> None:
    """Replace a file by a link that leads nowhere."""
    path.unlink()
    path.symlink_to("missing")


@pytest.mark.parametrize(
    ("replace", "reason"),
    [
        pytest.param(replace_by_folder, "Is a directory", id="folder"),
        pytest.param(replace_by_dead_link, "No such file or directory", id="dead link"),
    ],
)
def test_a_checkpoint_that_cannot_be_read_is_not_skipped(
    replace: Callable[[Path], None],
    reason: str,
    tmp_path: Path,
) -> None:
    save(tmp_path, 1, 2)
    replace(tmp_path / "step-2.safetensors")
    with pytest.raises(UnreadableError, match=rf"step-2\.safetensors: cannot be read: {reason}$"):
        restore_silently(tmp_path)


def test_a_field_that_is_missing_has_its_default(tmp_path: Path) -> None:
    save(tmp_path, 1)
    replace_value("progress", {"step": 1, "best_nats": 1.5})(tmp_path / "step-1.safetensors")
    assert restore_silently(tmp_path).facts.progress == Progress(step=1, best_nats=1.5)


@pytest.mark.parametrize("name", ["", "missing"])
def test_a_folder_without_a_checkpoint_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match="no undamaged checkpoint"):
        restore_silently(tmp_path / name)


@pytest.mark.parametrize(
    "shapes",
    [
        pytest.param({"step": (1,)}, id="another shape"),
        pytest.param({"other": ()}, id="another name"),
        pytest.param({}, id="a tensor too many"),
    ],
)
def test_a_checkpoint_with_other_tensors_is_refused(
    shapes: dict[str, tuple[int, ...]],
    tmp_path: Path,
) -> None:
    save(tmp_path, 1)
    with pytest.raises(CharlmError, match="the checkpoint does not fit the settings"):
        checkpoints.restore(tmp_path, shapes={**SHAPES, **shapes})
