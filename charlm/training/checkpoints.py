"""The exact state of a run, saved and restored: everything that decides what comes next.

A checkpoint is a folder checkpoints/step-N of two files: state.safetensors (weights, optimizer slots, random
seeds, hidden state) and progress.json (position, records, sizes of the log files, checksum). The newest few are
kept; a damaged one is named and the one before it is used.
"""

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from charlm.bundle import MAX_HEADER_BYTES
from charlm.errors import CharlmError
from charlm.files import remove_folder, sha256, write_folder
from charlm.intake import read_file

FORMAT = 1
KEPT = 3
STATE, PROGRESS = "state.safetensors", "progress.json"
MAX_PROGRESS_BYTES = 1 << 26
WIDEST_BYTES = 8
"""Of a number in a tensor."""

Tensors = dict[str, NDArray[Any]]
Shapes = Mapping[str, tuple[int, ...]]


class OtherNetworkError(CharlmError):
    """A checkpoint is of another network, optimizer or batch."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"{folder}: the checkpoint is of another network, optimizer or batch: "
            f"--resume needs model, training.optimizer.name and training.batch_size as they were"
        )


@dataclass
class Progress:
    """Where a run stands; mutable, it is the one thing that the loop counts in."""

    step: int = 0
    """Steps done."""
    seconds: float = 0.0
    """Training alone, without evaluation and start-up."""
    elapsed_seconds: float = 0.0
    """Everything since the first step, over all resumptions."""
    best_nats: float | None = None
    """The lowest loss on the validation text so far, nats per character."""
    best_step: int = 0
    evaluations_without_best: int = 0
    evaluated_step: int = 0
    """The step of the last evaluation: one that was cut short is made up for."""
    pending_losses: list[float] = field(default_factory=list)
    """Nats per character of the steps since the last log line."""
    train_nats: float = 0.0
    """The training loss of the last log line, nats per character."""
    last_norm: float = 0.0
    """The gradient norm of the last step, before clipping."""
    logged_seconds: float = 0.0
    """`seconds` at the last log line."""
    watched_losses: list[float] = field(default_factory=list)
    """Nats per character of the steps since the loss was last compared with the lowest."""
    lowest_nats: float | None = None
    """The lowest training loss in so many steps, nats per character."""
    rollbacks: list[dict[str, Any]] = field(default_factory=list)
    """What was logged of each time that training went back to a checkpoint."""


def save(
    folder: Path, tensors: Tensors, progress: Progress, file_sizes: Mapping[str, int], *, period: int = 1
) -> None:
    """Write the checkpoint of a step and remove all but the newest few; raises CharlmError if it cannot.

    `file_sizes` are the bytes of each log file that belong to this state, by path inside the run. Besides the
    newest, those of every `period` steps are kept: what training goes back to must not depend on when
    it was interrupted.
    """
    state = safetensors.numpy.save(tensors)
    facts = {
        "format": FORMAT,
        "progress": asdict(progress),
        "file_sizes": dict(file_sizes),
        "sha256": {STATE: sha256(state)},
    }
    body = json.dumps(facts, indent=2, allow_nan=False)
    sealed = f'{{"sha256": "{sha256(body.encode())}", "checkpoint": {body}}}\n'
    write_folder(folder / _name(progress.step), {STATE: state, PROGRESS: sealed.encode()})
    steps = saved_steps(folder)
    regular = sorted(steps, key=lambda step: (step % period == 0, step), reverse=True)
    for old in {*steps[1:]} - {*regular[:KEPT]}:
        remove_folder(folder / _name(old))


def saved_steps(folder: Path) -> list[int]:
    """Return the steps that there are checkpoints of, whole or not, the newest first."""
    names = [path.name.removeprefix("step-") for path in folder.glob("step-*")]
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def remove_after(folder: Path, step: int) -> None:
    """Remove the checkpoints after a step, the newest first."""
    for later in saved_steps(folder):
        if later > step:
            remove_folder(folder / _name(later))


def restore(
    folder: Path, *, warn: Callable[[str], None], shapes: Shapes | None = None
) -> tuple[Tensors, Progress, dict[str, int]]:
    """Read the newest checkpoint that is whole; `warn` is told of each damaged one that is passed over.

    Returns tensors, progress and file sizes as `save` got them. Raises CharlmError if none is whole, and
    OtherNetworkError if its tensors are not of these shapes (None = any).
    """
    for path, found in _candidates(folder, shapes):
        if not isinstance(found, CharlmError):
            return found
        warn(f"{found}; going back to the checkpoint before {path.name}")
    raise CharlmError(f"{folder}: no whole checkpoint to go on from; start a new run")


def _candidates(
    folder: Path, shapes: Shapes | None
) -> Iterator[tuple[Path, tuple[Tensors, Progress, dict[str, int]] | CharlmError]]:
    for path in (folder / _name(step) for step in saved_steps(folder)):
        try:
            yield path, _read(path, shapes)
        except OtherNetworkError:
            raise
        except CharlmError as error:
            yield path, error


def _name(step: int) -> str:
    return f"step-{step:09d}"


def _read(path: Path, shapes: Shapes | None) -> tuple[Tensors, Progress, dict[str, int]]:
    limit = (
        sys.maxsize if shapes is None else MAX_HEADER_BYTES + WIDEST_BYTES * sum(map(math.prod, shapes.values()))
    )
    try:
        sealed = json.loads(read_file(path / PROGRESS, limit=MAX_PROGRESS_BYTES))
        facts = sealed["checkpoint"]
        if sealed["sha256"] != sha256(json.dumps(facts, indent=2).encode()):
            raise CharlmError(f"{path / PROGRESS}: damaged: its checksum is wrong")
        if facts["format"] != FORMAT:
            raise CharlmError(f"{path}: checkpoint format {facts['format']}; this charlm reads {FORMAT}")
        if (path / STATE).stat().st_size > limit:
            raise OtherNetworkError(path.parent)
        state = read_file(path / STATE, limit=limit)
        if sha256(state) != facts["sha256"][STATE]:
            raise CharlmError(f"{path / STATE}: damaged: its SHA-256 is not the one in {PROGRESS}")
        tensors: dict[str, NDArray[np.generic]] = safetensors.numpy.load(state)
        if shapes is not None and {name: tensor.shape for name, tensor in tensors.items()} != shapes:
            raise OtherNetworkError(path.parent)
        return tensors, Progress(**facts["progress"]), facts["file_sizes"]
    except OSError as error:
        raise CharlmError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError, safetensors.SafetensorError) as error:
        raise CharlmError(f"{path}: damaged: {type(error).__name__}: {error}") from None
