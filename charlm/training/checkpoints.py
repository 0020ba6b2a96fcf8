"""The exact state of a run, saved and restored: everything that decides how training continues.

A checkpoint is the model file of a step, checkpoints/step-N.safetensors, with more tensors (optimizer slots, random
seeds, hidden state, trained weights where the model is their average) and the field `training` (`Facts`). The newest
two are kept, or all. If one is damaged, the one before it is used, and the user is told. One that cannot be read may
still be sound, so it is never skipped: the steps after the one before it would be lost.
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
"""The largest count: a float holds every smaller one exactly."""
KEPT = 2
"""The number of checkpoints that are kept."""
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Seconds = Annotated[float, Field(ge=0)]


class _Fields(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Progress(_Fields):
    """How far a run is; the only state of the training loop that is resumed. One that is missing has its default."""

    step: Count = 0
    """The number of steps taken."""
    characters: Count = 0
    """The number of characters that these steps read, over all streams, repetitions counted."""
    seconds: Seconds = 0.0
    """The time of training alone, without evaluation and start-up."""
    elapsed_seconds: Seconds = 0.0
    """The time since the first step, evaluations included, over all resumptions."""
    best_nats: float | None = None
    """The lowest loss on the validation text so far, in nats per character."""
    best_step: Count = 0
    """The step of that loss."""
    evaluations: Count = 0
    """The number of evaluations so far."""
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
    logged_characters: Count = 0
    """`characters` at the last log line."""

    def compare(self, nats: float) -> bool:
        """Note an evaluation at this step, and return whether its loss is the best so far.

        Args:
            nats: The loss in nats per character; if it is not finite, it is never the best.

        """
        self.evaluations += 1
        is_best = math.isfinite(nats) and (self.best_nats is None or nats < self.best_nats)
        if is_best:
            self.best_nats, self.best_step, self.evaluations_without_best = nats, self.step, 0
        else:
            self.evaluations_without_best += 1
        return is_best


class Facts(_Fields):
    """What a checkpoint says beside its model."""

    versions: dict[str, str | None]
    """Of charlm and its dependencies that wrote this; for the reader, never checked. None = missing. And `kernel`, the
    SHA-256 of the compiled library, since a resume with another one says so."""
    progress: Progress


class Checkpoint(NamedTuple):
    """The state of a run after a step."""

    model: TrainedModel
    """The network of the step, with the settings and the text of the run."""
    tensors: Tensors
    """The state of the engine, the weights of the model included."""
    facts: Facts


def save(folder: Path, checkpoint: Checkpoint, *, keeps_all: bool = False) -> None:
    """Write the checkpoint of a step, and remove all but the newest.

    Args:
        folder: The checkpoints of a run; it is made if it is missing.
        checkpoint: The state to write; it replaces one of the same step.
        keeps_all: Whether all checkpoints stay, or the newest KEPT alone.

    Raises:
        CharlmError: the checkpoint cannot be written.
        ValueError: a number in the progress is not finite.

    """
    training = checkpoint.facts.model_dump(mode="json")
    data = model_bytes(checkpoint.model, tensors=checkpoint.tensors, training=training)
    with writing(folder):
        folder.mkdir(exist_ok=True)
        write_file(folder / checkpoint_name(checkpoint.facts.progress.step), data)
    remove_others(folder, checkpoint.facts.progress.step, keeps_all=keeps_all)


def restore(
    folder: Path, *, on_event: OnEvent = ignore, shapes: Shapes | None = None
) -> Checkpoint:
    """Return the newest undamaged checkpoint.

    Args:
        folder: The checkpoints of a run.
        on_event: Called with CheckpointSkipped for each damaged checkpoint.
        shapes: The shapes that the tensors must have, by name; None = any.

    Raises:
        CharlmError: there is no undamaged checkpoint, or the newest has tensors of other shapes; the one before it
            would not do either.
        UnreadableError: a checkpoint cannot be read, so that it is not known whether it is damaged.

    """
    for path in (folder / checkpoint_name(step) for step in saved_steps(folder)):
        try:
            found = _read(path)
        except UnreadableError:
            raise
        except CharlmError as error:
            on_event(CheckpointSkipped(str(error)))
            continue
        if (
            shapes is not None
            and {name: tensor.shape for name, tensor in found.tensors.items()} != shapes
        ):
            raise CharlmError(
                f"{path}: the checkpoint is of another network, optimizer or batch size: to resume the run, leave "
                f"model, training.optimizer.name and training.batch_size as they were"
            )
        return found
    raise CharlmError(f"{folder}: no undamaged checkpoint to continue from; start a new run")


def remove_others(folder: Path, step: int, *, keeps_all: bool) -> None:
    """Remove the checkpoints of later steps, and all but the newest up to this one.

    Args:
        folder: The checkpoints of a run.
        step: That of the run.
        keeps_all: Whether all checkpoints stay, or the newest KEPT alone.

    Raises:
        CharlmError: one cannot be removed.

    """
    steps = saved_steps(folder)
    kept = [earlier for earlier in steps if earlier <= step][: None if keeps_all else KEPT]
    with writing(folder):
        for other in set(steps).difference(kept):
            (folder / checkpoint_name(other)).unlink(missing_ok=True)


def _read(path: Path) -> Checkpoint:
    model, fields, tensors = read_tensors(path)
    try:
        facts = Facts.model_validate(fields.get("training"))
    except ValidationError as error:
        raise CharlmError(f"{path}: damaged: training: {explain(error, Facts)}") from None
    if path.name != checkpoint_name(facts.progress.step):
        raise CharlmError(f"{path}: damaged: it is of step {facts.progress.step:,}")
    return Checkpoint(model, tensors, facts)
