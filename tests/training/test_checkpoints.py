"""The state of a run on the disk, restored exactly or from the checkpoint before; what workers tell each other."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runs import refuse_events
from models import change_model, make_random_model
from numpy.typing import NDArray
from run_folders import cut, names, replace_by_folder

from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.events import CheckpointSkipped, Event
from charlm.network.model_file import Tensors
from charlm.storage import UnreadableError
from charlm.training import checkpoints
from charlm.training.checkpoints import Checkpoint, Facts, Progress
from charlm.training.workers import Workers

MODEL = make_random_model("abc", units=2, facts={"step": 1, "corpus": {"n": 1}})
WEIGHTS = MODEL.parameters.tensors
SHAPES = {name: tensor.shape for name, tensor in WEIGHTS.items()}


def checkpoint_of(progress: Progress, tensors: Tensors) -> Checkpoint:
    """Return a checkpoint with the weights of MODEL and these tensors."""
    return Checkpoint(
        MODEL,
        {**WEIGHTS, **tensors},
        Facts(versions={"charlm": "1", "keras": None}, progress=progress),
    )


def save(folder: Path, *steps: int, keeps_all: bool = False) -> None:
    for step in steps:
        saved = checkpoint_of(Progress(step=step), {"step": np.array(step)})
        checkpoints.save(folder, saved, keeps_all=keeps_all)


def test_everything_is_restored_to_the_bit(tmp_path: Path) -> None:
    progress = Progress(seconds=0.1, best_nats=np.nextafter(1.5, 2), pending_losses=[1 / 3, 1e-300])
    tensors: Tensors = {}
    for dtype, shape in product(
        ("float32", "float16", "int64", "uint8", "bool"), ((), (0, 2), (2, 3, 4))
    ):
        kind, count = np.dtype(dtype), int(np.prod(shape))
        data = np.random.default_rng(0).integers(
            0, 2 if dtype == "bool" else 256, (count, kind.itemsize), np.uint8
        )
        tensors[f"{dtype} {shape}"] = data.view(kind).reshape(shape)
    saved = checkpoint_of(progress, tensors)
    checkpoints.save(tmp_path, saved)
    found = checkpoints.restore(tmp_path, on_event=refuse_events)
    assert (found.facts, found.model.facts, found.model.config) == (
        saved.facts,
        MODEL.facts,
        MODEL.config,
    )
    for name, tensor in tensors.items():
        same = found.tensors[name]
        assert (same.dtype, same.shape, same.tobytes()) == (
            tensor.dtype,
            tensor.shape,
            tensor.tobytes(),
        )


def test_the_newest_two_are_kept_or_all(tmp_path: Path) -> None:
    save(tmp_path / "two", 1, 9, 10)
    assert names(tmp_path / "two") == ["step-10.safetensors", "step-9.safetensors"]
    save(tmp_path / "all", 1, 9, 10, keeps_all=True)
    assert len(names(tmp_path / "all")) == 3
    checkpoints.remove_others(tmp_path / "all", 9, keeps_all=True)
    assert names(tmp_path / "all") == ["step-1.safetensors", "step-9.safetensors"]


def flip(path: Path) -> None:
    """Flip a bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def replace_value(key: str, value: Any) -> Callable[[Path], None]:
    """Return what replaces the value of a key, which may be that of a section and one in it, in a checkpoint."""

    def change(fields: dict[str, Any]) -> None:
        *sections, name = key.split(".")
        for section in ("training", *sections):
            fields = fields[section]
        fields[name] = value

    return lambda path: change_model(path, change)


@pytest.mark.parametrize(
    "damage",
    [
        *(cut, flip, replace_value("progress", None), replace_value("versions", 1)),
        *(
            replace_value(f"progress.{name}", value)
            for name, value in (
                *(
                    ("step", 1),
                    ("step", True),
                    ("evaluations_without_best", 1 << 60),
                    ("best_nats", float("nan")),
                ),
                *(
                    (name, -1)
                    for name in (
                        "step",
                        "seconds",
                        "elapsed_seconds",
                        "best_step",
                        "evaluated_step",
                    )
                ),
                *(("lowest_nats", 10**400), ("pending_losses", [1.5, None]), ("more", 1)),
                *(
                    ("phases", phases)
                    for phases in ([[0, 0]], [[1, 4]], [[0, 4], [3, 8]], [[0, 4], [1, 4]], [[0]])
                ),
            )
        ),
    ],
)
def test_a_damaged_checkpoint_is_named_and_one_before_is_used(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    save(tmp_path, 1, 2)
    damage(tmp_path / "step-2.safetensors")
    events: list[Event] = []
    found = checkpoints.restore(tmp_path, on_event=events.append)
    assert int(found.tensors["step"]) == found.facts.progress.step == 1
    (event,) = events
    assert isinstance(event, CheckpointSkipped)
    warning = event.problem
    assert "step-2.safetensors" in warning
    assert "damaged" in warning
    assert len(warning.removeprefix(str(tmp_path))) < 400


def replace_by_dead_link(path: Path) -> None:
    """Put a link that leads nowhere in the place of a file."""
    path.unlink()
    path.symlink_to("missing")


UNREADABLE = pytest.mark.parametrize(
    ("replace", "reason"),
    [
        pytest.param(replace_by_folder, "Is a directory", id="folder"),
        pytest.param(replace_by_dead_link, "No such file or directory", id="dead link"),
    ],
)


@UNREADABLE
def test_a_checkpoint_that_cannot_be_read_is_not_skipped(
    replace: Callable[[Path], None], reason: str, tmp_path: Path
) -> None:
    save(tmp_path, 1, 2)
    replace(tmp_path / "step-2.safetensors")
    with pytest.raises(UnreadableError, match=rf"step-2\.safetensors: cannot be read: {reason}$"):
        checkpoints.restore(tmp_path, on_event=refuse_events)


def test_a_field_that_is_missing_has_its_default(tmp_path: Path) -> None:
    save(tmp_path, 1)
    replace_value("progress", {"step": 1, "best_nats": 1.5})(tmp_path / "step-1.safetensors")
    assert checkpoints.restore(tmp_path, on_event=refuse_events).facts.progress == Progress(
        step=1, best_nats=1.5
    )


def test_restoring_is_refused_without_a_checkpoint_or_if_its_tensors_have_other_shapes(
    tmp_path: Path,
) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(CharlmError, match="no undamaged checkpoint"):
            checkpoints.restore(folder, on_event=refuse_events)
    save(tmp_path, 1)
    shapes: Any
    for shapes in ({"step": (1,)}, {"other": ()}, {}):
        with pytest.raises(CharlmError, match="the checkpoint does not fit the settings"):
            checkpoints.restore(tmp_path, on_event=refuse_events, shapes={**SHAPES, **shapes})


# What workers tell each other; the all-reduce of several is played by one, real ones are in tests/faults


class Played(Workers):
    """One of some workers, of which the others pass these numbers."""

    def __init__(self, index: int, *others: list[int]) -> None:
        self.count, self.index, self.others = 1 + len(others), index, [*others]

    def total(self, array: NDArray[Any]) -> NDArray[Any]:
        theirs = np.array(self.others).reshape(self.count - 1, -1)
        return array + np.insert(theirs, self.index, 0, axis=0)


def test_all_workers_do_what_the_first_does_unless_a_signal_ends_the_run() -> None:
    for first, second, agreed in (
        ((5, 0), (3, 0), (5, 0)),  # the steps are the word of worker 0
        ((5, 0), (3, 15), (0, 15)),  # a signal on any worker ends the run
        ((0, 0), (3, 15), (0, 0)),  # so does worker 0, which comes first
        ((0, 2), (3, 15), (0, 2)),
    ):
        said = [first, second]
        for index in (0, 1):
            worker, (count, signal) = Played(index, [7, *said[1 - index]]), said[index]
            assert worker.agree(step=7, count=count, signal=signal) == agreed


def test_copies_of_a_run_at_different_steps_are_refused() -> None:
    with pytest.raises(
        CharlmError, match=r"resumed at different steps \(7, 9\); copy the run of worker 0"
    ):
        Played(0, [9, 1, 0]).agree(step=7, count=1, signal=0)


def test_each_worker_computes_consecutive_rows_and_as_many_as_the_others() -> None:
    worker = Played(2, [0], [0])
    assert worker.rows(12) == slice(8, 12)
    with pytest.raises(
        CharlmError, match=r"training\.batch_size: found 13; must be divisible by 3"
    ):
        worker.rows(13)


def test_each_core_gets_a_part_of_8_rows_or_more() -> None:
    for rows, cores, parts in ((64, 2, 2), (64, 16, 8), (7, 4, 1), (16, 4, 2), (1, 1, 1)):
        assert Workers().default_parts(rows, cores=cores) == parts
        assert Played(2, [0], [0]).default_parts(3 * rows, cores=cores) == parts


def test_a_single_worker_gets_its_own_numbers_back() -> None:
    alone = Workers()
    assert alone.gather([3, 4]).tolist() == [[3, 4]]
    assert alone.share(5) == 5
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.testing.assert_array_equal(alone.gather(rows), rows[None])
    assert alone.rows(Config().training.batch_size) == slice(0, 64)
