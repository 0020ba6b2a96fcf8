"""The state of a run on disk: exact, whole or not there, and the one before it when it is damaged."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from charlm.errors import CharlmError
from charlm.training import checkpoints
from charlm.training.checkpoints import KEPT, OtherNetworkError, Progress, Shapes, Tensors
from charlm.training.tensorboard import rewind

SIZES = {"metrics.jsonl": 5, "tensorboard/events.out.tfevents.1": 7}


def save(folder: Path, *steps: int) -> None:
    for step in steps:
        checkpoints.save(folder, {"step": np.array(step)}, Progress(step=step), SIZES)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def restored_step(folder: Path, *, warnings: list[str] | None = None) -> int:
    tensors, progress, _ = checkpoints.restore(folder, warn=pytest.fail if warnings is None else warnings.append)
    assert int(tensors["step"]) == progress.step
    return progress.step


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32", "int64", "uint8", "uint32", "bool"])
@pytest.mark.parametrize("shape", [(), (3,), (0, 2), (2, 3, 4)])
def test_tensors_of_every_type_come_back_to_the_bit(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    kind = np.dtype(dtype)
    count = int(np.prod(shape))
    tensor = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 256, (count, kind.itemsize), np.uint8)
    saved: Tensors = {"x": tensor.view(kind).reshape(shape)}
    checkpoints.save(tmp_path, saved, Progress(), {})
    found = checkpoints.restore(tmp_path, warn=pytest.fail)[0]["x"]
    assert (found.dtype, found.shape, found.tobytes()) == (kind, shape, saved["x"].tobytes())


def test_progress_and_file_sizes_come_back_exactly(tmp_path: Path) -> None:
    progress = Progress(
        step=3, seconds=0.1, elapsed_seconds=1 / 3, best_nats=np.nextafter(1.5, 2), pending_losses=[0.1, 1e-300]
    )
    checkpoints.save(tmp_path, {}, progress, SIZES)
    assert checkpoints.restore(tmp_path, warn=pytest.fail)[1:] == (progress, SIZES)


def test_the_newest_is_restored(tmp_path: Path) -> None:
    save(tmp_path, 9, 10, 100)
    assert restored_step(tmp_path) == 100


def test_only_the_newest_few_are_kept(tmp_path: Path) -> None:
    save(tmp_path, *range(1, KEPT + 3))
    assert names(tmp_path) == [f"step-{step:09d}" for step in range(3, KEPT + 3)]


def test_one_that_a_signal_brought_about_does_not_push_out_the_others(tmp_path: Path) -> None:
    for step in (10, 20, 30, 33, 34):
        checkpoints.save(tmp_path, {}, Progress(step=step), SIZES, period=10)
    assert checkpoints.saved_steps(tmp_path) == [34, 30, 20, 10]


def test_after_a_signal_the_next_takes_its_place(tmp_path: Path) -> None:
    for step in (20, 30, 33, 40):
        checkpoints.save(tmp_path, {}, Progress(step=step), SIZES, period=10)
    assert checkpoints.saved_steps(tmp_path) == [40, 30, 20]


def test_those_after_a_step_can_be_removed(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3)
    checkpoints.remove_after(tmp_path, 1)
    assert names(tmp_path) == ["step-000000001"]


def test_files_with_other_names_are_no_checkpoints(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / "step-of-mine").mkdir()
    assert checkpoints.saved_steps(tmp_path) == [1]


def test_progress_that_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        checkpoints.save(tmp_path, {}, Progress(best_nats=np.inf), SIZES)


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    save(tmp_path, 1)
    checkpoints.save(tmp_path, {"step": np.array(1), "more": np.array(2)}, Progress(step=1), SIZES)
    assert set(checkpoints.restore(tmp_path, warn=pytest.fail)[0]) == {"step", "more"}


def test_a_checkpoint_half_written_is_not_looked_at(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / ".step-000000002.1234.tmp").mkdir()
    assert restored_step(tmp_path) == 1


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def make_a_folder_of(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("file", ["state.safetensors", "progress.json"])
@pytest.mark.parametrize("damage", [Path.unlink, empty, truncate, flip, make_a_folder_of])
def test_a_damaged_one_is_named_and_the_one_before_it_is_used(
    damage: Callable[[Path], None], file: str, tmp_path: Path
) -> None:
    save(tmp_path, 1, 2)
    damage(tmp_path / "step-000000002" / file)
    warnings: list[str] = []
    assert restored_step(tmp_path, warnings=warnings) == 1
    assert len(warnings) == 1
    assert "going back to the checkpoint before step-000000002" in warnings[0]


@pytest.mark.parametrize(
    "contents", ["[]", "null", '{"sha256": 1}', "[" * 100_000, '{"checkpoint": 1, "sha256": ""}']
)
def test_progress_that_is_something_else_is_damage(contents: str, tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    (tmp_path / "step-000000002/progress.json").write_text(contents)
    assert restored_step(tmp_path, warnings=[]) == 1


def test_every_bit_of_progress_counts(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    path = tmp_path / "step-000000002/progress.json"
    path.write_text(path.read_text().replace('"best_step": 0', '"best_step": 1'))
    warnings: list[str] = []
    assert restored_step(tmp_path, warnings=warnings) == 1
    assert "its checksum is wrong" in warnings[0]


def test_one_of_another_format_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)
    with monkeypatch.context() as later:
        later.setattr(checkpoints, "FORMAT", 2)
        save(tmp_path, 2)
    warnings: list[str] = []
    assert restored_step(tmp_path, warnings=warnings) == 1
    assert "checkpoint format 2; this charlm reads 1" in warnings[0]


def test_each_damaged_one_is_named(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3)
    for step in (2, 3):
        empty(tmp_path / f"step-{step:09d}/state.safetensors")
    warnings: list[str] = []
    assert restored_step(tmp_path, warnings=warnings) == 1
    assert ["step-000000003" in warnings[0], "step-000000002" in warnings[1]] == [True, True]


def test_none_whole_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 1)
    empty(tmp_path / "step-000000001/progress.json")
    with pytest.raises(CharlmError, match="no whole checkpoint"):
        checkpoints.restore(tmp_path, warn=lambda _: None)


@pytest.mark.parametrize("folder", [".", "missing"])
def test_none_at_all_is_refused(folder: str, tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match="no whole checkpoint"):
        checkpoints.restore(tmp_path / folder, warn=pytest.fail)


def test_a_folder_that_cannot_be_written_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("in the way")
    with pytest.raises(CharlmError, match=r"checkpoints/step-000000001: cannot be written"):
        save(tmp_path / "checkpoints", 1)


def make_a_pipe_of(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link_to_a_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("file", ["state.safetensors", "progress.json"])
@pytest.mark.parametrize("replace", [make_a_pipe_of, link_to_a_device])
def test_a_pipe_or_a_device_is_not_waited_for(replace: Callable[[Path], None], file: str, tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    replace(tmp_path / "step-000000002" / file)
    warnings: list[str] = []
    assert restored_step(tmp_path, warnings=warnings) == 1
    assert f"{file}: is not a regular file; going back" in warnings[0]


def test_a_state_larger_than_its_shapes_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    save(tmp_path, 1)
    os.truncate(tmp_path / "step-000000001/state.safetensors", 1 << 36)
    with pytest.raises(OtherNetworkError, match="another network, optimizer or batch"):
        checkpoints.restore(tmp_path, warn=pytest.fail, shapes={"step": ()})


def test_progress_of_an_unreasonable_size_is_damage(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    os.truncate(tmp_path / "step-000000002/progress.json", 1 << 36)
    warnings: list[str] = []
    assert restored_step(tmp_path, warnings=warnings) == 1
    assert "bytes; should be" in warnings[0]


@pytest.mark.parametrize("shapes", [{"step": (1,)}, {"other": ()}, {}])
def test_tensors_of_other_shapes_are_refused(shapes: Shapes, tmp_path: Path) -> None:
    save(tmp_path, 1)
    with pytest.raises(OtherNetworkError):
        checkpoints.restore(tmp_path, warn=pytest.fail, shapes=shapes)


@pytest.mark.parametrize("name", ["metrics.jsonl", "tensorboard/events.out.tfevents.1", "tensorboard"])
def test_rewinding_follows_no_link_and_then_cuts_nothing(name: str, tmp_path: Path) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    (run / "tensorboard").mkdir(parents=True)
    for log in SIZES:
        (run / log).write_text("0123456789")
    (run / name).rename(elsewhere)
    (run / name).symlink_to(elsewhere)
    with pytest.raises(CharlmError, match=f"{name}: is a link"):
        rewind(run, SIZES)
    assert {(run / log).read_text() for log in SIZES} == {"0123456789"}


def test_rewinding_cuts_log_files_and_removes_later_ones(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").mkdir()
    for name in ("metrics.jsonl", "tensorboard/events.out.tfevents.1", "tensorboard/events.out.tfevents.2"):
        (tmp_path / name).write_text("0123456789")
    (tmp_path / "tensorboard/notes.txt").write_text("mine")
    rewind(tmp_path, SIZES)
    assert (tmp_path / "metrics.jsonl").read_text() == "01234"
    assert (tmp_path / "tensorboard/events.out.tfevents.1").read_text() == "0123456"
    assert names(tmp_path / "tensorboard") == ["events.out.tfevents.1", "notes.txt"]


def test_rewinding_to_nothing_leaves_an_empty_log_and_no_event_file(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").mkdir()
    for name in ("metrics.jsonl", "tensorboard/events.out.tfevents.1"):
        (tmp_path / name).write_text("0123456789")
    rewind(tmp_path, {})
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""
    assert names(tmp_path / "tensorboard") == []


def test_rewinding_never_makes_a_file_longer(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("012")
    rewind(tmp_path, SIZES)
    assert (tmp_path / "metrics.jsonl").read_text() == "012"


def test_progress_is_plain_json(tmp_path: Path) -> None:
    save(tmp_path, 1)
    sealed = json.loads((tmp_path / "step-000000001/progress.json").read_text())
    assert sealed["checkpoint"]["progress"]["step"] == 1
