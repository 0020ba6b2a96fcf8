"""The exact state of a run, saved and restored: everything that decides how training continues.

A checkpoint is a folder checkpoints/step-N of two files: state.safetensors (weights, optimizer slots, random seeds and
hidden state, each by its name) and progress.json (position, scores, sizes of the log files, versions, checksum). The
newest few are kept. If one is damaged, the one before it is used, and the user is told.
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

from charlm.config.schema import Config
from charlm.errors import CharlmError, shorten
from charlm.network.bundle import MAX_HEADER_BYTES
from charlm.runs.folder import STEPS
from charlm.storage.atomic import remove_folder, sha256, write_folder
from charlm.storage.files import read_file
from charlm.training.engine import Shapes, Tensors
from charlm.training.progress import Progress, check_progress_file

FORMAT = 2
"""In format 1, names were positions in Keras's lists, whose order has changed (keras pull requests 21232 and 21247)."""
KEPT = 3
"""The number of regular checkpoints that are kept."""
STATE, PROGRESS = "state.safetensors", "progress.json"
MAX_PROGRESS_BYTES = 1 << 26
MAX_NUMBER_BYTES = 8
"""The largest size of a number in a tensor."""


class OtherNetworkError(CharlmError):
    """A checkpoint is of another network, optimizer or batch size."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"{folder}: the checkpoint is of another network, optimizer or batch size: to resume the run, leave model, "
            f"training.optimizer.name and training.batch_size as they were"
        )


class OtherFormatError(CharlmError):
    """An undamaged checkpoint is of a format that this version of charlm does not read."""

    def __init__(self, folder: Path, found: int) -> None:
        super().__init__(
            f"{folder}: checkpoint format {shorten(found)}; this version of charlm reads format {FORMAT}: finish the "
            f"run with the version that started it, or start a new run (best/ and last/ of this run stay readable)"
        )


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after a step."""

    tensors: Tensors
    """The state of the engine."""
    progress: Progress
    file_sizes: Mapping[str, int]
    """The number of bytes of each log file at this step, by path inside the run."""
    parts: int = 1
    """The number of parts that a batch is split into."""
    versions: Mapping[str, str | None] = field(default_factory=dict)
    """The versions of charlm and its dependencies that wrote this; for the reader, never checked. None = missing."""
    config: Config | None = None
    """Every setting of the run at this step; None = written by an earlier version of charlm."""
    corpus: Mapping[str, Any] | None = None
    """The text of the run, see `charlm.runs.run.corpus_identity`; None as for `config`."""


def save(folder: Path, checkpoint: Checkpoint, *, period: int = 1) -> None:
    """Write the checkpoint of a step, and remove all but the newest few.

    Args:
        folder: The checkpoints of a run.
        checkpoint: The state to write; it replaces one of the same step.
        period: Besides the newest checkpoint, the newest KEPT of those at a multiple of `period` steps are kept: which
            step training rolls back to must not depend on when the run was interrupted.

    Raises:
        CharlmError: the checkpoint cannot be written.
        ValueError: a number in the progress is not finite.

    """
    state = safetensors.numpy.save(checkpoint.tensors)
    facts = {
        "format": FORMAT,
        "versions": dict(checkpoint.versions),
        "parts": checkpoint.parts,
        "config": None if checkpoint.config is None else checkpoint.config.model_dump(mode="json"),
        "corpus": checkpoint.corpus,
        "progress": asdict(checkpoint.progress),
        "file_sizes": dict(checkpoint.file_sizes),
        "sha256": {STATE: sha256(state)},
    }
    body = json.dumps(facts, indent=2, allow_nan=False)
    sealed = f'{{"sha256": "{sha256(body.encode())}", "checkpoint": {body}}}\n'
    write_folder(folder / _name(checkpoint.progress.step), {STATE: state, PROGRESS: sealed.encode()})
    steps = saved_steps(folder)
    regular = sorted(steps, key=lambda step: (step % period == 0, step), reverse=True)
    for old in {*steps[1:]} - {*regular[:KEPT]}:
        remove_folder(folder / _name(old))


def saved_steps(folder: Path) -> list[int]:
    """Return the steps of all checkpoints, damaged ones included, the newest first; none if the folder is missing.

    Raises:
        CharlmError: the folder cannot be read.

    """
    try:
        names = [path.name.removeprefix("step-") for path in folder.iterdir() if path.match(STEPS)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CharlmError(f"{folder}: cannot be read: {error.strerror}") from None
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def remove_after(folder: Path, step: int) -> None:
    """Remove the checkpoints after a step, the newest first."""
    for later in saved_steps(folder):
        if later > step:
            remove_folder(folder / _name(later))


def restore(folder: Path, *, warn: Callable[[str], None], shapes: Shapes | None = None) -> Checkpoint:
    """Return the newest undamaged checkpoint.

    Args:
        folder: The checkpoints of a run.
        warn: Called with a line for each damaged checkpoint that is skipped.
        shapes: The shapes that the tensors must have, by name; None = any.

    Raises:
        OtherNetworkError: the tensors of the newest undamaged checkpoint have other shapes.
        OtherFormatError: the newest undamaged checkpoint is of another format.
        CharlmError: there is no undamaged checkpoint.

    """
    for path, found in _candidates(folder, shapes):
        if not isinstance(found, CharlmError):
            return found
        warn(f"{found}; going back to the checkpoint before {path.name}")
    raise CharlmError(f"{folder}: no whole checkpoint to continue from; start a new run")


def _candidates(folder: Path, shapes: Shapes | None) -> Iterator[tuple[Path, Checkpoint | CharlmError]]:
    for path in (folder / _name(step) for step in saved_steps(folder)):
        try:
            yield path, _read(path, shapes)
        except (OtherNetworkError, OtherFormatError):
            raise
        except CharlmError as error:
            yield path, error


def _name(step: int) -> str:
    return f"step-{step:09d}"


def _read(path: Path, shapes: Shapes | None) -> Checkpoint:
    try:
        sealed = json.loads(read_file(path / PROGRESS, limit=MAX_PROGRESS_BYTES, follow_links=False))
        facts = sealed["checkpoint"]
        if sealed["sha256"] != sha256(json.dumps(facts, indent=2).encode()):
            raise CharlmError(f"{path / PROGRESS}: damaged: its checksum is wrong")
        if type(facts["format"]) is int and facts["format"] != FORMAT:
            raise OtherFormatError(path, facts["format"])
        contents = check_progress_file(facts, origin=str(path / PROGRESS))
        progress = contents.to_progress()
        if path.name != _name(progress.step):
            raise CharlmError(f"{path / PROGRESS}: damaged: it is of step {progress.step:,}, not of this folder")
        return Checkpoint(
            tensors=_read_tensors(path, contents.sha256[STATE], shapes),
            progress=progress,
            file_sizes=contents.file_sizes,
            parts=contents.parts,
            versions=contents.versions,
            config=contents.config,
            corpus=contents.corpus,
        )
    except OSError as error:
        raise CharlmError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError, safetensors.SafetensorError) as error:
        raise CharlmError(f"{path}: damaged: {type(error).__name__}: {error}") from None


def _read_tensors(path: Path, checksum: str, shapes: Shapes | None) -> Tensors:
    limit = sys.maxsize
    if shapes is not None:
        limit = MAX_HEADER_BYTES + MAX_NUMBER_BYTES * sum(map(math.prod, shapes.values()))
    if (path / STATE).stat().st_size > limit:
        raise OtherNetworkError(path.parent)
    state = read_file(path / STATE, limit=limit, follow_links=False)
    if sha256(state) != checksum:
        raise CharlmError(f"{path / STATE}: damaged: its SHA-256 is not the one in {PROGRESS}")
    tensors: dict[str, NDArray[np.generic]] = safetensors.numpy.load(state)
    if shapes is not None and {name: tensor.shape for name, tensor in tensors.items()} != dict(shapes):
        raise OtherNetworkError(path.parent)
    return tensors
