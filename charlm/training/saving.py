"""The state of a run in its folder: begun, saved, and restored.

An evaluation is written in this order: metrics, events, the checkpoint, then the models from the same arrays. A resumed run
keeps of all of them what belongs to the path that it continues, so that no step is missing or occurs twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from charlm import __version__
from charlm.config.file import check_resume, parse_config
from charlm.config.schema import MAX_EVALUATIONS, Config, TrainingConfig
from charlm.errors import CharlmError
from charlm.events import BestModelLost, KernelChanged, OnEvent, Resumed, SettingChanged
from charlm.hardware import versions
from charlm.network.model_file import TrainedModel, read_model, write_model
from charlm.runs.folder import (
    BEST,
    CHECKPOINTS,
    CONFIG_FILE,
    CORPUS,
    ENDED_FILE,
    LAST,
    checkpoint_name,
    results,
)
from charlm.runs.run import Run, corpus_identity, write_config
from charlm.storage import UnreadableError, reading, writing
from charlm.training import checkpoints
from charlm.training.checkpoints import Checkpoint, Facts, Progress
from charlm.training.evaluating import check_finite
from charlm.training.interface import Engine
from charlm.training.logs import RunLog, remove_events
from charlm.training.schedule import Schedule, make_schedule


def network(
    run: Run,
    engine: Engine,
    schedule: Schedule,
    progress: Progress,
    *,
    score: Mapping[str, Any] | None = None,
) -> TrainedModel:
    """Return a copy of the network in training, with its score as a model file has it, if it is known."""
    epoch = schedule.epochs_of(progress.characters)
    facts = {"step": progress.step, "epoch": epoch, CORPUS: corpus_identity(run.corpus)}
    return TrainedModel(
        parameters=engine.parameters(),
        vocabulary=run.corpus.vocabulary,
        config=run.config.model_dump(mode="json"),
        facts=facts if score is None else {**facts, "score": score},
    )


def save(run: Run, engine: Engine, log: RunLog, model: TrainedModel, progress: Progress) -> None:
    """Write the logs to the disk, then a checkpoint, the last model, and the best one if it is that of this step.

    Args:
        run: Its folder and config.
        engine: The network in training.
        log: Its logs.
        model: What `network` returned, with its score if it has been evaluated.
        progress: How far the run is.

    Raises:
        CharlmError: a file cannot be written.
        DivergenceError: a weight is not finite; nothing is written.

    """
    tensors = engine.tensors()
    check_finite(tensors, step=progress.step)
    log.sync()
    written_by = {
        "charlm": __version__,
        **versions("numpy", "tensorflow", "keras"),
        "kernel": engine.library,
    }
    checkpoint = Checkpoint(model, tensors, Facts(versions=written_by, progress=progress))
    checkpoints.save(
        run.folder / CHECKPOINTS, checkpoint, keeps_all=run.config.training.keep_checkpoints
    )
    write_model(run.folder / LAST, model)
    if progress.best_nats is not None and progress.best_step == progress.step:
        write_model(run.folder / BEST, model)


def begin(run: Run) -> None:
    """Write the beginning of a run at step 0.

    Raises:
        CharlmError: the run has been trained, so that something would be lost, or a file cannot be written.

    """
    if found := results(run.folder):
        raise CharlmError(
            f"{run.folder / CHECKPOINTS}: no checkpoint to continue from, but the run has {', '.join(found)}, which "
            f"would be overwritten; put the checkpoints back, or start a new run"
        )
    remove_events(run.folder)  # a run that was killed before its first checkpoint has left them
    write_config(run.folder, run.config)


@dataclass(frozen=True)
class Restored:
    """A run at the step of a checkpoint."""

    run: Run
    """With the lengths that it had before this step."""
    schedule: Schedule
    checkpoint: Checkpoint
    changes: dict[str, tuple[Any, Any]]
    """The old and the new value of each setting that has changed since, by its dotted key."""


def restore(run: Run, engine: Engine, *, on_event: OnEvent) -> Restored:
    """Continue from the newest undamaged checkpoint.

    The models of the run are then those of the path that the checkpoint is on: what a later step had written is
    removed or replaced.

    Raises:
        CharlmError: there is none, or it is of another network or format, another text, or a run with other settings
            that a resume may not change, or beyond the end of this one, or a file cannot be written.
        UnreadableError: a checkpoint or the best model cannot be read; nothing has been removed.

    """
    folder = run.folder
    checkpoint = checkpoints.restore(
        folder / CHECKPOINTS, on_event=on_event, shapes=engine.shapes()
    )
    progress = checkpoint.facts.progress
    if checkpoint.model.facts.get(CORPUS) != corpus_identity(run.corpus):
        raise CharlmError(
            f"{folder / CORPUS}: not the corpus that the run was trained on; put it back, or start a new run"
        )
    before = parse_config(checkpoint.model.config, origin=str(folder / CHECKPOINTS))
    changes = check_resume(
        _with_lengths_of(run.config, before), run.config, origin=str(folder / CONFIG_FILE)
    )
    previous = (run.previous or run.config).training
    if not previous.has_length_of(run.config.training):
        run = _with_new_length(run, previous, progress, engine)
    schedule = make_schedule(run.config.training, engine.batches)
    if progress.step > schedule.total:
        raise CharlmError(
            f"{folder}: is at step {progress.step:,}, beyond its end ({schedule.total:,}): make it longer"
        )
    engine.restore(checkpoint.tensors)
    if None is not checkpoint.facts.versions.get("kernel") != engine.library is not None:
        on_event(KernelChanged())
    _leave_other_path(run, checkpoint, on_event=on_event)
    write_config(folder, run.config)
    for key, (old, new) in changes.items():
        on_event(SettingChanged(key, old, new))
    on_event(Resumed(progress.step, schedule.total))
    return Restored(run, schedule, checkpoint, changes)


def _with_lengths_of(config: Config, other: Config) -> Config:
    """Return another config with the earlier lengths of a config, which a run changes by itself."""
    lengths = {"earlier_lengths": config.training.earlier_lengths}
    return other.model_copy(update={"training": other.training.model_copy(update=lengths)})


def _with_new_length(run: Run, previous: TrainingConfig, progress: Progress, engine: Engine) -> Run:
    """Return a run whose length was changed, with the lengths that it had until now.

    Its further steps have evaluations as often as the steps before, unless the number of evaluations was changed.
    Evaluations without a new best are counted from zero, so that early stopping does not end the longer run at once.
    """
    schedule = make_schedule(previous, engine.batches)
    settings = run.config.training.after(previous, at=progress.step, total=schedule.total)
    if settings.evaluations == previous.evaluations and schedule.total:
        done = schedule.evaluations_until(progress.step)
        longer = make_schedule(settings, engine.batches).total - progress.step
        more = max(1, round(previous.evaluations * longer / schedule.total))
        settings = settings.model_copy(update={"evaluations": min(MAX_EVALUATIONS, done + more)})
    progress.evaluations_without_best = 0
    return replace(run, config=run.config.model_copy(update={"training": settings}))


def _leave_other_path(run: Run, checkpoint: Checkpoint, *, on_event: OnEvent) -> None:
    """Remove or replace what steps after a checkpoint have written; the best loss is forgotten with its model."""
    folder, progress = run.folder, checkpoint.facts.progress
    best = (
        None if progress.best_nats is None else _read_best_of(run, checkpoint)
    )  # before anything is removed
    checkpoints.remove_others(
        folder / CHECKPOINTS, progress.step, keeps_all=run.config.training.keep_checkpoints
    )
    with writing(folder):
        (folder / ENDED_FILE).unlink(missing_ok=True)
    write_model(folder / LAST, checkpoint.model)
    if best is not None:
        write_model(folder / BEST, best)
        return
    with writing(folder):
        (folder / BEST).unlink(missing_ok=True)
    if progress.best_nats is not None:
        on_event(BestModelLost(folder / BEST, progress.best_step, folder / LAST))
        progress.best_nats = None


def _read_best_of(run: Run, checkpoint: Checkpoint) -> TrainedModel | None:
    """Return the best model up to a checkpoint, from wherever it is kept; None if it is nowhere.

    Raises:
        UnreadableError: a file that may have it cannot be read.

    """
    step = checkpoint.facts.progress.best_step
    if step == checkpoint.facts.progress.step:
        return checkpoint.model
    for path in (run.folder / BEST, run.folder / CHECKPOINTS / checkpoint_name(step)):
        with reading(path):
            is_there = path.exists()
        if not is_there:
            continue
        try:
            model = read_model(path)
        except UnreadableError:
            raise
        except CharlmError:  # it is damaged
            continue
        if model.facts.get("step") == step:
            return model
    return None
