"""The state of a run in its folder: begun, saved, and restored.

An evaluation writes in this order: metrics, events, the checkpoint, then the models from the same
arrays. A resumed run removes everything later than its checkpoint, so that no step is missing or
occurs twice.
"""

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
from charlm.training.schedule import make_schedule


def save(run: Run, engine: Engine, log: RunLog, model: TrainedModel, progress: Progress) -> None:
    """Sync the logs, then write a checkpoint, the last model and, if it is best, the best model.

    Raises:
        CharlmError: A file cannot be written.
        DivergenceError: A weight is not finite; nothing is written.

    """
    tensors = engine.tensors()
    check_finite(tensors, step=progress.step)
    log.sync()
    packages = versions("numpy", "tensorflow", "keras")
    facts = Facts(
        versions={"charlm": __version__, **packages, "kernel": engine.library}, progress=progress
    )
    checkpoints.save(
        run.folder / CHECKPOINTS,
        Checkpoint(model, tensors, facts),
        keeps_all=run.config.training.keep_checkpoints,
    )
    write_model(run.folder / LAST, model)
    if progress.best_nats is not None and progress.best_step == progress.step:
        write_model(run.folder / BEST, model)


def begin(run: Run) -> None:
    """Write the beginning of a run at step 0.

    Raises:
        CharlmError: The run has been trained and would be overwritten, or a file cannot be written.

    """
    if found := results(run.folder):
        raise CharlmError(
            f"{run.folder / CHECKPOINTS}: no checkpoint to continue from, but the run has "
            f"{', '.join(found)}, which would be overwritten; put the checkpoints back, or start a "
            f"new run"
        )
    remove_events(run.folder)  # left by a run that was killed before its first checkpoint
    write_config(run.folder, run.config)


@dataclass(frozen=True)
class Restored:
    """A run at the step of a checkpoint."""

    run: Run
    """The run, including a record of its earlier lengths, up to this step."""
    checkpoint: Checkpoint
    changes: dict[str, tuple[Any, Any]]
    """Old and new value of each setting that has changed since, by dotted key."""


def restore(run: Run, engine: Engine, *, on_event: OnEvent) -> Restored:
    """Continue from the newest undamaged checkpoint, and remove everything that is later.

    Raises:
        CharlmError: There is no undamaged checkpoint; or it has a different network, format or
            text, settings that a resume may not change, or a step beyond the end of the run; or a
            file cannot be written.
        UnreadableError: A checkpoint or the best model cannot be read; nothing has been removed.

    """
    folder = run.folder
    checkpoint = checkpoints.restore(
        folder / CHECKPOINTS, on_event=on_event, shapes=engine.shapes()
    )
    progress = checkpoint.facts.progress
    if checkpoint.model.facts.get(CORPUS) != corpus_identity(run.corpus):
        raise CharlmError(
            f"{folder / CORPUS}: not the corpus that the run was trained on; put it back, or start "
            f"a new run"
        )
    changes = _changes(run, checkpoint)
    previous = (run.previous or run.config).training
    if not previous.has_length_of(run.config.training):
        run = _with_new_length(run, previous, progress, engine)
    total = make_schedule(run.config.training, engine.batches).total
    if progress.step > total:
        raise CharlmError(
            f"{folder}: is at step {progress.step:,}, beyond its end ({total:,}); make it longer"
        )
    engine.restore(checkpoint.tensors)
    saved_library = checkpoint.facts.versions.get("kernel")
    if None not in (saved_library, engine.library) and saved_library != engine.library:
        on_event(KernelChanged())
    _remove_later(run, checkpoint, on_event=on_event)
    write_config(folder, run.config)
    for key, (old, new) in changes.items():
        on_event(SettingChanged(key, old, new))
    on_event(Resumed(progress.step, total))
    return Restored(run, checkpoint, changes)


def _changes(run: Run, checkpoint: Checkpoint) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ from a checkpoint; raise CharlmError for a refused change."""
    before = parse_config(checkpoint.model.config, origin=str(run.folder / CHECKPOINTS))
    # A run itself changes its earlier lengths.
    lengths = {"earlier_lengths": run.config.training.earlier_lengths}
    before = _with_training(before, before.training.model_copy(update=lengths))
    return check_resume(before, run.config, origin=str(run.folder / CONFIG_FILE))


def _with_training(config: Config, training: TrainingConfig) -> Config:
    return config.model_copy(update={"training": training})


def _with_new_length(run: Run, previous: TrainingConfig, progress: Progress, engine: Engine) -> Run:
    """Return a run whose length was changed, with a record of its lengths until now.

    Evaluations stay as frequent as before, unless their number was changed. Early stopping starts
    counting again, so that it does not end the longer run immediately.
    """
    schedule = make_schedule(previous, engine.batches)
    settings = run.config.training.after(previous, at=progress.step, total=schedule.total)
    if settings.evaluations == previous.evaluations and schedule.total:
        done = schedule.evaluations_until(progress.step)
        steps_left = make_schedule(settings, engine.batches).total - progress.step
        more = max(1, round(previous.evaluations * steps_left / schedule.total))
        settings = settings.model_copy(update={"evaluations": min(MAX_EVALUATIONS, done + more)})
    progress.evaluations_without_best = 0
    return replace(run, config=_with_training(run.config, settings))


def _remove_later(run: Run, checkpoint: Checkpoint, *, on_event: OnEvent) -> None:
    """Remove or replace the results of steps after a checkpoint."""
    folder, progress = run.folder, checkpoint.facts.progress
    best = _find_best(run, checkpoint)  # before anything is removed
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


def _find_best(run: Run, checkpoint: Checkpoint) -> TrainedModel | None:
    """Return the best model up to a checkpoint; None if no undamaged file has it.

    Raises:
        UnreadableError: A file that may have it cannot be read.

    """
    progress = checkpoint.facts.progress
    if progress.best_nats is None:
        return None
    step = progress.best_step
    if step == progress.step:
        return checkpoint.model
    for path in (run.folder / BEST, run.folder / CHECKPOINTS / checkpoint_name(step)):
        with reading(path):
            exists = path.exists()
        if not exists:
            continue
        try:
            model = read_model(path)
        except UnreadableError:
            raise
        except CharlmError:  # damaged
            continue
        if model.facts.get("step") == step:
            return model
    return None
