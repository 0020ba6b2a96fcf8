"""Checkpoints: the exact state of a run, so that a resumed run continues to the bit.

A checkpoint is a model file, checkpoints/step-N.safetensors, with more tensors (optimizer slots,
random seeds, hidden state, and the trained weights if the model has their average) and the field
`training`, `TrainingFields`. A damaged checkpoint is skipped. A checkpoint that cannot be read is
not skipped, nor one of a later version: it may be undamaged, and its steps would be lost.

A save writes the checkpoint, then the models with the same weights. A resumed run removes
everything later than its checkpoint.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from charlm.config.file import flatten, parse_stored
from charlm.config.schema import Config
from charlm.core import BEST, CHECKPOINTS, LAST, SUFFIX
from charlm.core.architecture import Shape
from charlm.core.engine import Engine
from charlm.core.evaluating import TrainingText, check_finite
from charlm.core.model_file import (
    Tensors,
    TrainedModel,
    model_bytes,
    read_model,
    read_tensors,
    write_model,
)
from charlm.core.scoring import Score
from charlm.errors import CharlmError
from charlm.events import Note, OnEvent
from charlm.storage import UnreadableError, remove_leftovers, sync_folder, write_file, writing
from charlm.wording import as_argument, name_some

MAX_COUNT = 1 << 53
"""Largest count; a float is exact up to this number."""
KEPT = 2
"""Number of checkpoints that a run keeps."""
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Seconds = Annotated[float, Field(ge=0)]


class _Fields(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class LoopState(_Fields):
    """The state of the training loop, which a checkpoint saves next to the state of the engine."""

    step: Count = 0
    """Number of steps taken."""
    seconds: Seconds = 0.0
    """Training time without evaluations and start-up."""
    elapsed_seconds: Seconds = 0.0
    """Time since the first step with evaluations, over all sessions."""
    best_nats: float | None = None
    """Loss of the best model on the validation text, or without one on the training text, in nats
    per character."""
    best_step: Count = 0
    """Step of the best model."""
    lowest_nats: float | None = None
    """Lowest of these losses so far; the best model's own loss, unless the run began with the
    weights of a model."""
    evaluations_without_best: Count = 0
    """Number of evaluations since the best evaluation."""
    evaluated_step: int = -1
    """Step of the last evaluation; -1 = none."""
    pending_losses: list[float] = []
    """Losses of the steps since the last log line, in nats per character."""
    train_nats: float = 0.0
    """Training loss of the last log line, in nats per character."""

    def record_evaluation(self, nats: float, *, tolerance: float = 0.0) -> bool:
        """Record an evaluation, and return whether its model is the best so far.

        Args:
            nats: Its loss. A model whose loss is not finite is never the best.
            tolerance: How far the loss of the best model may be above the lowest, in nats. With 0,
                the best model is the one with the lowest loss.

        """
        self.evaluated_step = self.step
        if self.lowest_nats is None:  # a checkpoint of abc9df2e has only the best, and lowest, loss
            self.lowest_nats = self.best_nats
        lowest = math.inf if self.lowest_nats is None else self.lowest_nats
        is_best = math.isfinite(nats) and nats < lowest + tolerance
        if is_best:
            self.lowest_nats = min(nats, lowest)
            self.best_nats = nats
            self.best_step = self.step
            self.evaluations_without_best = 0
        else:
            self.evaluations_without_best += 1
        return is_best


class TrainingFields(_Fields):
    """The fields of a checkpoint that its model does not have."""

    kernel: str | None = None
    """SHA-256 of the compiled kernel; a resumed run reports a different one. None = Keras."""
    loop: LoopState


class _Metadata(BaseModel):
    training: TrainingFields


class Checkpoint(NamedTuple):
    """The state of a run after a step."""

    model: TrainedModel
    """Network of the step, with the settings and the text of the run."""
    tensors: Tensors
    """State of the engine, with the weights of the model."""
    training: TrainingFields


def checkpoint_name(step: int) -> str:
    """Return the name of the checkpoint of a step."""
    return f"step-{step}{SUFFIX}"


def saved_steps(folder: Path) -> list[int]:
    """Return the steps of all checkpoints of a run, even damaged ones, the newest first.

    Raises OSError if the folder cannot be read.
    """
    checkpoints = folder / CHECKPOINTS
    if not checkpoints.exists():
        return []
    names = [path.name.removeprefix("step-").removesuffix(SUFFIX) for path in checkpoints.iterdir()]
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints and models in the folder of a run, which this process has locked."""

    run: Path
    """Folder of the run."""
    config: Config
    """Every setting of the run."""
    text: TrainingText
    """Text of the run."""
    on_event: OnEvent
    """Function that is called with notes."""

    @property
    def folder(self) -> Path:
        """Folder of the checkpoints."""
        return self.run / CHECKPOINTS

    def path(self, step: int) -> Path:
        """Return the path of the checkpoint of a step."""
        return self.folder / checkpoint_name(step)

    def save(self, engine: Engine, model: TrainedModel, state: LoopState) -> None:
        """Write a checkpoint, the last model and, if it is the best, the best model.

        Raises:
            CharlmError: A file cannot be written.
            DivergenceError: A weight is not finite; nothing is written.

        """
        tensors = engine.tensors()
        check_finite(tensors, step=state.step)
        training = TrainingFields(kernel=engine.kernel_sha256, loop=state)
        data = model_bytes(model, tensors=tensors, training=training.model_dump())
        with writing(self.folder):
            self.folder.mkdir(exist_ok=True)
        write_file(self.path(state.step), data)
        self._remove_others(state.step)
        write_model(self.run / LAST, model)
        if state.best_nats is not None and state.best_step == state.step:
            write_model(self.run / BEST, model)

    def restore(self, engine: Engine) -> tuple[LoopState, Score | None] | None:
        """Continue from the newest undamaged checkpoint, and remove everything that is later.

        Returns:
            The state of the loop; and the score of the best model, None if there is no such model.
            Or None for a new run, which has neither checkpoints nor models.

        Raises:
            CharlmError: There is no undamaged checkpoint, it does not fit the config or the text,
                or a file cannot be written.
            UnreadableError: A checkpoint cannot be read; nothing has been removed.

        """
        if not saved_steps(self.run):
            if (self.run / LAST).exists() or (self.run / BEST).exists():
                raise CharlmError(f"{self.folder}: no checkpoint to continue from; {self._advice}")
            self._remove_later(-1)
            return None
        checkpoint = self._newest()
        self._check_unchanged(checkpoint, engine.tensors())
        engine.restore(checkpoint.tensors)
        kernels = {checkpoint.training.kernel, engine.kernel_sha256}
        if len(kernels) == 2 and None not in kernels:
            self._note("kernel: recompiled since this run was saved; its last bits will differ")
        state = checkpoint.training.loop
        self._remove_later(state.step)
        write_model(self.run / LAST, checkpoint.model)
        if state.best_nats is None:
            return state, None
        path = self.run / BEST
        if state.best_step == state.step:
            write_model(path, checkpoint.model)
        best = _read_best(path, state)
        if best is None:
            self._note(f"{path}: missing or damaged; the next evaluation replaces it")
            state.best_nats = state.lowest_nats = None
        return state, best

    def _newest(self) -> Checkpoint:
        """Return the newest undamaged checkpoint."""
        for step in saved_steps(self.run):
            try:
                return _read(self.path(step))
            except UnreadableError:
                raise
            except CharlmError as error:
                self._note(f"{error}; trying the checkpoint before it")
        raise CharlmError(
            f"{self.folder}: no undamaged checkpoint to continue from; {self._advice}"
        )

    def _check_unchanged(self, checkpoint: Checkpoint, tensors: Tensors) -> None:
        """Raise CharlmError if a checkpoint does not fit the config, the text or the engine."""
        model = checkpoint.model
        then, now = flatten(model.parse_config()), flatten(self.config)
        changed = [key for key, value in now.items() if then[key] != value]
        is_same_text = model.facts.get("corpus") == self.text.identity
        if not is_same_text or model.vocabulary != self.text.vocabulary:
            changed = ["the text"]
        elif _shapes(checkpoint.tensors) != _shapes(tensors):
            changed = changed or ["the shapes of its tensors"]
        if changed:
            step = checkpoint.training.loop.step
            raise CharlmError(
                f"{self.run}: the checkpoint of step {step:,} does not fit the settings and the "
                f"text of this run: {name_some(changed)}; put back the file that has changed, or "
                f"{self._advice}"
            )

    def _remove_later(self, step: int) -> None:
        """Remove the files of a killed process after a step; -1 = before the first checkpoint."""
        for folder in (self.run, self.folder):
            with writing(folder):
                remove_leftovers(folder)
        self._remove_others(step)

    def _remove_others(self, step: int) -> None:
        """Keep the checkpoints up to a step, or only the newest KEPT of them; remove the others."""
        steps = saved_steps(self.run)
        kept = [earlier for earlier in steps if earlier <= step]
        if not self.config.training.keep_checkpoints:
            kept = kept[:KEPT]
        with writing(self.folder):
            removed = set(steps).difference(kept)
            for earlier in removed:
                self.path(earlier).unlink(missing_ok=True)
            if removed:
                sync_folder(self.folder)

    @property
    def _advice(self) -> str:
        run = as_argument(self.run)
        return f"go on from its weights in a new run: charlm train TEXT --init {run}"

    def _note(self, message: str) -> None:
        self.on_event(Note(message))


def _shapes(tensors: Tensors) -> dict[str, Shape]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _read_best(path: Path, state: LoopState) -> Score | None:
    """Return the score of the best model; None if the file is missing, damaged or another model."""
    if not path.exists():
        return None
    try:
        facts = read_model(path).facts
    except UnreadableError:
        raise
    except CharlmError:
        return None
    return Score.from_fields(facts.get("score")) if facts.get("step") == state.best_step else None


def _read(path: Path) -> Checkpoint:
    model, fields, tensors = read_tensors(path)
    training = parse_stored(_Metadata, json.dumps(fields), origin=str(path)).training
    step = training.loop.step
    if path.name != checkpoint_name(step):
        raise CharlmError(f"{path}: damaged: it belongs to step {step:,}")
    return Checkpoint(model, tensors, training)
