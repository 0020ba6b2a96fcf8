"""Checkpoints: the exact state of a run, so that a resumed run continues to the bit.

A checkpoint is a model file, checkpoints/step-N.safetensors, with more tensors (optimizer slots,
random seeds, hidden state, and the trained weights if the model has their average) and the field
`training` (`Facts`). A damaged checkpoint is skipped. A checkpoint that cannot be read is not
skipped: it may be undamaged, and its steps would be lost.
"""

import math
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from charlm.config.file import explain
from charlm.errors import CharlmError
from charlm.events import CheckpointSkipped, OnEvent, ignore
from charlm.network.model_file import Tensors, TrainedModel, model_bytes, read_tensors
from charlm.runs.folder import checkpoint_name, saved_steps
from charlm.storage import UnreadableError, write_file, writing
from charlm.training.interface import Shapes

MAX_COUNT = 1 << 53
"""Largest count; a float is exact up to this number."""
KEPT = 2
"""Number of checkpoints that a run keeps."""
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Seconds = Annotated[float, Field(ge=0)]


class _Fields(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Progress(_Fields):
    """The progress of a run, the only state of the training loop that is resumed."""

    step: Count = 0
    """Number of steps taken."""
    characters: Count = 0
    """Number of characters read, over all streams and epochs."""
    seconds: Seconds = 0.0
    """Training time without evaluations and start-up."""
    elapsed_seconds: Seconds = 0.0
    """Time since the first step with evaluations, over all sessions."""
    best_nats: float | None = None
    """Lowest validation loss so far, in nats per character."""
    best_step: Count = 0
    """Step of the lowest validation loss."""
    evaluations: Count = 0
    """Number of evaluations."""
    evaluations_without_best: Count = 0
    """Number of evaluations since the best evaluation."""
    evaluated_step: Count = 0
    """Step of the last complete evaluation; a resumed run repeats an interrupted evaluation."""
    pending_losses: list[float] = []
    """Losses of the steps since the last log line, in nats per character."""
    train_nats: float = 0.0
    """Training loss of the last log line, in nats per character."""
    last_norm: float = 0.0
    """Gradient norm of the last step, before clipping."""
    logged_seconds: Seconds = 0.0
    """Value of `seconds` at the last log line."""
    logged_characters: Count = 0
    """Value of `characters` at the last log line."""

    def compare(self, nats: float) -> bool:
        """Record an evaluation, and return whether its loss is finite and the best so far."""
        self.evaluations += 1
        is_best = math.isfinite(nats) and (self.best_nats is None or nats < self.best_nats)
        if is_best:
            self.best_nats = nats
            self.best_step = self.step
            self.evaluations_without_best = 0
        else:
            self.evaluations_without_best += 1
        return is_best


class Facts(_Fields):
    """The fields of a checkpoint that its model does not have."""

    versions: dict[str, str | None]
    """Versions of charlm and its dependencies, for information; None = not installed. The entry
    `kernel` is the SHA-256 of the compiled library: a resumed run reports a different kernel."""
    progress: Progress


class Checkpoint(NamedTuple):
    """The state of a run after a step."""

    model: TrainedModel
    """Network of the step, with the settings and the text of the run."""
    tensors: Tensors
    """State of the engine, with the weights of the model."""
    facts: Facts


def save(folder: Path, checkpoint: Checkpoint, *, keeps_all: bool = False) -> None:
    """Write a checkpoint into the folder; keep all earlier checkpoints, or only the newest KEPT.

    Raises:
        CharlmError: The checkpoint cannot be written.
        ValueError: A number in the progress is not finite.

    """
    step = checkpoint.facts.progress.step
    training = checkpoint.facts.model_dump()
    data = model_bytes(checkpoint.model, tensors=checkpoint.tensors, training=training)
    with writing(folder):
        folder.mkdir(exist_ok=True)
        write_file(folder / checkpoint_name(step), data)
    remove_others(folder, step, keeps_all=keeps_all)


def restore(
    folder: Path, *, on_event: OnEvent = ignore, shapes: Shapes | None = None
) -> Checkpoint:
    """Return the newest undamaged checkpoint; its tensors must have the `shapes` (None = any).

    Raises:
        CharlmError: There is no undamaged checkpoint, or the newest has tensors of different
            shapes.
        UnreadableError: A checkpoint cannot be read, so it is unknown whether it is damaged.

    """
    for step in saved_steps(folder):
        path = folder / checkpoint_name(step)
        try:
            checkpoint = _read(path)
        except UnreadableError:
            raise
        except CharlmError as error:
            on_event(CheckpointSkipped(str(error)))
            continue
        tensor_shapes = {name: tensor.shape for name, tensor in checkpoint.tensors.items()}
        if shapes is not None and tensor_shapes != shapes:
            raise CharlmError(
                f"{path}: the checkpoint does not fit the settings; to resume the run, undo "
                f"the changes to model, training.optimizer.name and training.batch_size"
            )
        return checkpoint
    raise CharlmError(f"{folder}: no undamaged checkpoint to continue from; start a new run")


def remove_others(folder: Path, step: int, *, keeps_all: bool) -> None:
    """Keep the checkpoints up to a step, or only the newest KEPT of them, and remove the others.

    Raises:
        CharlmError: A checkpoint cannot be removed.

    """
    steps = saved_steps(folder)
    kept = [earlier for earlier in steps if earlier <= step]
    if not keeps_all:
        kept = kept[:KEPT]
    with writing(folder):
        for removed in set(steps).difference(kept):
            (folder / checkpoint_name(removed)).unlink(missing_ok=True)


def _read(path: Path) -> Checkpoint:
    model, fields, tensors = read_tensors(path)
    try:
        facts = Facts.model_validate(fields.get("training"))
    except ValidationError as error:
        raise CharlmError(f"{path}: damaged: training: {explain(error, Facts)}") from None
    step = facts.progress.step
    if path.name != checkpoint_name(step):
        raise CharlmError(f"{path}: damaged: it belongs to step {step:,}")
    return Checkpoint(model, tensors, facts)
