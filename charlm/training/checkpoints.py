"""The exact state of a run, saved and restored: everything that decides how training continues.

A checkpoint is a folder checkpoints/step-N of two files: state.safetensors (weights, optimizer slots, random seeds and
hidden state, each by its name) and progress.json (`Facts`: position, scores, sizes of the log files, versions,
checksum). The newest few are kept. If one is damaged, the one before it is used, and the user is told.
"""

import itertools
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from charlm.config.schema import Config
from charlm.errors import CharlmError, requirement, short_repr
from charlm.network.bundle import MAX_HEADER_BYTES
from charlm.runs.folder import saved_steps, step_name
from charlm.storage.atomic import remove_folder, sha256, write_folder
from charlm.storage.files import read_file
from charlm.training.interface import Shapes, Tensors

MAX_COUNT = 1 << 53
"""The largest count in progress.json: a float holds every smaller one exactly."""
FORMAT = 3
"""Another number in progress.json is refused."""
KEPT = 3
"""The number of checkpoints that are kept."""
STATE, PROGRESS = "state.safetensors", "progress.json"
MAX_PROGRESS_BYTES = 1 << 26
MAX_NUMBER_BYTES = 8
"""The largest size of a number in a tensor."""
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Seconds = Annotated[float, Field(ge=0)]


class OtherCheckpointError(CharlmError):
    """An undamaged checkpoint is of another network or format: the one before it would not do either."""


class _Fields(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Progress(_Fields):
    """How far a run is; the only state of the training loop that is resumed. One that is missing has its default."""

    step: Count = 0
    """The number of steps taken."""
    seconds: Seconds = 0.0
    """The time of training alone, without evaluation and start-up."""
    elapsed_seconds: Seconds = 0.0
    """The time since the first step, evaluations included, over all resumptions."""
    best_nats: float | None = None
    """The lowest loss on the validation text so far, in nats per character."""
    best_step: Count = 0
    """The step of that loss."""
    evaluations_without_best: Count = 0
    """The number of evaluations since that loss."""
    evaluated_step: Count = 0
    """The step of the last complete evaluation; one that a signal cut short is repeated on resume."""
    pending_losses: list[float] = []
    """The losses of the steps since the last log line, in nats per character."""
    train_nats: float = 0.0
    """The training loss of the last log line, in nats per character."""
    last_norm: float = 0.0
    """The gradient norm of the last step, before clipping."""
    logged_seconds: Seconds = 0.0
    """`seconds` at the last log line."""
    phases: list[Annotated[list[Count], Field(min_length=2, max_length=2)]] = []
    """The first step and the length of the windows of each phase that has begun, see `Schedule.begun`."""

    @field_validator("phases")
    @classmethod
    def _windows_grow(cls, phases: list[list[int]], info: ValidationInfo) -> list[list[int]]:
        grow = all(a[0] <= b[0] and a[1] < b[1] for a, b in itertools.pairwise(phases))
        if phases and not (grow and phases[0][0] == 0 < phases[0][1] and phases[-1][0] <= info.data.get("step", 0)):
            raise ValueError("must begin at step 0, with windows that grow")
        return phases


class Facts(_Fields):
    """What a progress.json holds."""

    format: int = FORMAT
    versions: dict[str, str | None]
    """Of charlm and its dependencies that wrote this; for the reader, never checked. None = missing. And `kernel`, the
    SHA-256 of the compiled library, since a resume with another one says so."""
    config: Config
    """Every setting of the run at this step."""
    corpus: dict[str, Any]
    """The text of the run, see `charlm.runs.run.corpus_identity`."""
    progress: Progress
    file_sizes: dict[str, Annotated[int, Field(ge=0, lt=1 << 63)]]
    """The number of bytes of each log file at this step, by path inside the run."""
    sha256: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]] = {}
    """Of state.safetensors; `save` fills it."""


class Checkpoint(NamedTuple):
    """The state of a run after a step."""

    tensors: Tensors
    """The state of the engine."""
    facts: Facts


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint of a step, and remove all but the newest few.

    Args:
        folder: The checkpoints of a run.
        checkpoint: The state to write; it replaces one of the same step.

    Raises:
        CharlmError: the checkpoint cannot be written.
        ValueError: a number in the progress is not finite.

    """
    state, step = safetensors.numpy.save(checkpoint.tensors), checkpoint.facts.progress.step
    facts = checkpoint.facts.model_copy(update={"sha256": {STATE: sha256(state)}})
    body = json.dumps(facts.model_dump(mode="json"), indent=2, allow_nan=False)
    sealed = f'{{"sha256": "{sha256(body.encode())}", "checkpoint": {body}}}\n'
    write_folder(folder / step_name(step), {STATE: state, PROGRESS: sealed.encode()})
    for old in saved_steps(folder)[KEPT:]:
        remove_folder(folder / step_name(old))


def restore(folder: Path, *, warn: Callable[[str], None], shapes: Shapes | None = None) -> Checkpoint:
    """Return the newest undamaged checkpoint.

    Args:
        folder: The checkpoints of a run.
        warn: Called with a line for each damaged checkpoint that is skipped.
        shapes: The shapes that the tensors must have, by name; None = any.

    Raises:
        OtherCheckpointError: the newest undamaged checkpoint has tensors of other shapes, or another format.
        CharlmError: there is no undamaged checkpoint.

    """
    for path in (folder / step_name(step) for step in saved_steps(folder)):
        try:
            return _read(path, shapes)
        except OtherCheckpointError:
            raise
        except CharlmError as error:
            warn(f"{error}; going back to the checkpoint before {path.name}")
    raise CharlmError(f"{folder}: no whole checkpoint to continue from; start a new run")


def _read(path: Path, shapes: Shapes | None) -> Checkpoint:
    try:
        sealed = json.loads(read_file(path / PROGRESS, limit=MAX_PROGRESS_BYTES))
        facts = sealed["checkpoint"]
        if sealed["sha256"] != sha256(json.dumps(facts, indent=2).encode()):
            raise CharlmError(f"{path / PROGRESS}: damaged: its checksum is wrong")
        if type(facts["format"]) is int and facts["format"] != FORMAT:
            raise OtherCheckpointError(
                f"{path}: checkpoint format {facts['format']}; this version of charlm reads format {FORMAT}: finish "
                f"the run with the version that started it, or start a new run (best/ and last/ of this run stay "
                f"readable)"
            )
        found = _check(facts, path / PROGRESS)
        if path.name != step_name(found.progress.step):
            raise CharlmError(f"{path / PROGRESS}: damaged: it is of step {found.progress.step:,}, not of this folder")
        return Checkpoint(_read_tensors(path, found.sha256[STATE], shapes), found)
    except OSError as error:
        raise CharlmError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError, safetensors.SafetensorError) as error:
        raise CharlmError(f"{path}: damaged: {type(error).__name__}: {error}") from None


def _check(facts: Any, path: Path) -> Facts:
    """Return the contents of a progress.json; raise CharlmError that names the first field that is not right."""
    try:
        return Facts.model_validate(facts)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        found = short_repr(first["input"])
        raise CharlmError(f"{path}: damaged: {short_repr(key)[1:-1]}: found {found}; {requirement(first)}") from None


def _read_tensors(path: Path, checksum: str, shapes: Shapes | None) -> Tensors:
    limit = sys.maxsize
    if shapes is not None:
        limit = MAX_HEADER_BYTES + MAX_NUMBER_BYTES * sum(map(math.prod, shapes.values()))
    if (path / STATE).stat().st_size > limit:
        raise _other_network(path.parent)
    state = read_file(path / STATE, limit=limit)
    if sha256(state) != checksum:
        raise CharlmError(f"{path / STATE}: damaged: its SHA-256 is not the one in {PROGRESS}")
    tensors: dict[str, NDArray[np.generic]] = safetensors.numpy.load(state)
    if shapes is not None and {name: tensor.shape for name, tensor in tensors.items()} != dict(shapes):
        raise _other_network(path.parent)
    return tensors


def _other_network(folder: Path) -> OtherCheckpointError:
    return OtherCheckpointError(
        f"{folder}: the checkpoint is of another network, optimizer or batch size: to resume the run, leave model, "
        f"training.optimizer.name and training.batch_size as they were"
    )
