"""The files that training writes: metrics.jsonl, TensorBoard's events, checkpoints, and the models of a run.

A mark is written in this order: metrics, events, the checkpoint, then the models from the same arrays. A resumed run
keeps of all of them what belongs to the path that it continues, so that no step is missing or occurs twice.
"""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from charlm import __version__
from charlm.config.file import check_resume, parse_config
from charlm.config.yaml import show_value
from charlm.errors import CharlmError
from charlm.hardware import versions
from charlm.network.architecture import architecture
from charlm.network.model_file import TrainedModel, read_model, write_model
from charlm.network.rnn import Parameters, bits
from charlm.runs.folder import (
    BEST,
    CHECKPOINTS,
    CONFIG_FILE,
    CORPUS,
    ENDED_FILE,
    LAST,
    METRICS_FILE,
    checkpoint_name,
    results,
    saved_steps,
)
from charlm.runs.metrics import cut_metrics, to_line
from charlm.runs.run import Run, corpus_identity, write_config
from charlm.storage.files import Log, write_file, writing
from charlm.training import checkpoints
from charlm.training.checkpoints import Checkpoint, Facts, Progress
from charlm.training.events import EventLog, cut_events
from charlm.training.interface import Engine
from charlm.training.schedule import Schedule
from charlm.training.steps import DivergenceError


class RunOutputs:
    """Writes the state of a run to its folder, and restores it from there; raises CharlmError if a file cannot be used.

    Args:
        run: Its folder, config and corpus.
        engine: The network in training.
        schedule: What its steps read.
        split: The text that the best score is measured on, validation or train.
        warn: Called with a line for each damaged checkpoint that is skipped.

    """

    def __init__(
        self, run: Run, engine: Engine, schedule: Schedule, *, split: str, warn: Callable[[str], None]
    ) -> None:
        self.run, self.config, self.engine, self.split, self.warn = run, run.config, engine, split, warn
        self.schedule = schedule
        self.checkpoints = run.folder / CHECKPOINTS
        self._metrics: Log | None = None
        self._copied: tuple[int, Parameters] | None = None
        """A step and its weights, copied once for everything that needs them at that step."""
        self._score: tuple[int, dict[str, Any]] | None = None
        """A step and its score as a model file has it."""
        self._corpus, self._settings = corpus_identity(run.corpus), run.config.model_dump(mode="json")

    def close(self) -> None:
        """Close the log files."""
        if self._metrics is not None:
            self.events.close()
            self._metrics.close()
            self._metrics = None

    def has_checkpoint(self) -> bool:
        """Return whether there is a checkpoint, whole or damaged; raises CharlmError if that cannot be found out."""
        return bool(saved_steps(self.checkpoints))

    def begin(self) -> None:
        """Start a run: write its config, and a description to empty log files.

        Raises:
            CharlmError: the run has been trained, so that something would be lost.

        """
        if found := results(self.run.folder):
            raise CharlmError(
                f"{self.checkpoints}: no checkpoint to continue from, but the run has {', '.join(found)}, which would "
                f"be overwritten; put the checkpoints back, or start a new run"
            )
        with writing(self.run.folder):
            for path in self.run.folder.glob("events.*"):  # of a run that was killed before its first checkpoint
                path.unlink()
        self._open_logs(step=-1)
        self.events.describe(self.config)
        write_config(self.run.folder, self.config)

    def resume(self) -> Progress:
        """Restore the newest undamaged checkpoint, and return its progress; say which settings have changed since.

        The models of the run are then those of the path that the checkpoint is on: what a later step had written is
        removed or replaced.

        Raises:
            CharlmError: there is none, or it is of another network or format, another text, or a run with other
                settings that a resume may not change, or beyond the end of this one.

        """
        checkpoint = checkpoints.restore(self.checkpoints, warn=self.warn, shapes=self.engine.shapes())
        changes, progress = self._check_same_run(checkpoint), checkpoint.facts.progress
        if progress.step > (end := self.schedule.total):
            raise CharlmError(
                f"{self.run.folder}: is at step {progress.step:,}, beyond its end ({end:,}): make it longer"
            )
        self.engine.restore(checkpoint.tensors)
        if None is not checkpoint.facts.versions.get("kernel") != self.engine.library is not None:
            self.warn("kernel: compiled anew, not as it was in this run, so results will not be bit-identical")
        self._copied = None
        if (score := checkpoint.model.facts.get("score")) is not None:
            self._score = progress.step, score
        self._leave_other_path(checkpoint)
        self._open_logs(step=progress.step, evaluated_step=progress.evaluated_step)
        write_config(self.run.folder, self.config)
        if changes:
            self._note_changes(changes, step=progress.step)
            self.save(progress)  # with these settings, so that they are noted once
        return progress

    def _leave_other_path(self, checkpoint: Checkpoint) -> None:
        """Remove or replace what steps after a checkpoint have written; the best loss is forgotten with its model."""
        folder, progress = self.run.folder, checkpoint.facts.progress
        checkpoints.remove_later(self.checkpoints, progress.step)
        with writing(folder):
            (folder / ENDED_FILE).unlink(missing_ok=True)
        write_model(folder / LAST, checkpoint.model)
        best = None if progress.best_nats is None else self._read_best_of(checkpoint)
        if best is not None:
            write_model(folder / BEST, best)
            return
        with writing(folder):
            (folder / BEST).unlink(missing_ok=True)
        if progress.best_nats is not None:
            self.warn(
                f"{folder / BEST}: is not the model of step {progress.best_step:,}, the best so far; the next "
                f"evaluation writes it again; until then use {folder / LAST}"
            )
            progress.best_nats = None

    def _read_best_of(self, checkpoint: Checkpoint) -> TrainedModel | None:
        """Return the best model up to a checkpoint, from wherever it is kept; None if it is nowhere."""
        step = checkpoint.facts.progress.best_step
        if step == checkpoint.facts.progress.step:
            return checkpoint.model
        for path in (self.run.folder / BEST, self.checkpoints / checkpoint_name(step)):
            with contextlib.suppress(CharlmError):
                model = read_model(path)
                if model.facts.get("step") == step:
                    return model
        return None

    def save(self, progress: Progress) -> None:
        """Write the logs to the disk, then a checkpoint, the last model, and the best one if it is that of this step.

        Raises:
            CharlmError: they cannot be written.
            DivergenceError: a weight is not finite; nothing is written.

        """
        tensors = self.engine.tensors()
        if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
            raise DivergenceError(f"not every weight is finite at step {progress.step:,}")
        self._sync()
        facts = Facts(
            versions={
                "charlm": __version__,
                **versions("numpy", "tensorflow", "keras"),
                "kernel": self.engine.library,
            },
            progress=progress,
        )
        model = self.model(progress)
        keep = None if self.config.training.keep_checkpoints else checkpoints.KEPT
        checkpoints.save(self.checkpoints, Checkpoint(model, tensors, facts), keep=keep)
        write_model(self.run.folder / LAST, model)
        if progress.best_nats is not None and progress.best_step == progress.step:
            write_model(self.run.folder / BEST, model)

    def note_score(self, step: int, nats: float, block_means: Sequence[float]) -> None:
        """Note the score of a step, which its model files then have.

        Args:
            step: The step.
            nats: Its loss in nats per character.
            block_means: The means of blocks of the text; none = they are not known.

        """
        means = {"block_means": [round(mean, 6) for mean in block_means]} if block_means else {}
        self._score = step, {"split": self.split, "nats_per_char": nats, **means}

    def read_best(self) -> TrainedModel | None:
        """Return the best model; None, with a line for the user, if it cannot be read."""
        try:
            return read_model(self.run.folder / BEST)
        except CharlmError as error:
            self.warn(str(error))
            return None

    def model(self, progress: Progress) -> TrainedModel:
        """Return the present network, with its score if it has been evaluated."""
        facts: dict[str, Any] = {"step": progress.step, "epoch": self.schedule.epochs(progress.step)}
        facts[CORPUS] = self._corpus
        if self._score is not None and self._score[0] == progress.step:
            facts["score"] = self._score[1]
        if self._copied is None or self._copied[0] != progress.step:
            self._copied = progress.step, self.engine.parameters()
        vocabulary = self.run.corpus.vocabulary
        return TrainedModel(
            architecture=architecture(self.config, len(vocabulary)),
            parameters=self._copied[1],
            vocabulary=vocabulary,
            config=self._settings,
            facts=facts,
        )

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Write a log line or an evaluation, for instance {"step": 5, "split": "train", "nats_per_char": 2.5, ...}."""
        metrics = {**metrics, "bits_per_char": bits(metrics["nats_per_char"])}
        self._write_metrics(metrics)
        self.events.log(metrics)

    def end(self, step: int) -> None:
        """Write that the run is complete at a step; a resumed run takes this back."""
        write_file(self.run.folder / ENDED_FILE, (json.dumps({"step": step}) + "\n").encode())

    def _note_changes(self, changes: Mapping[str, tuple[Any, Any]], *, step: int) -> None:
        """Say and log which settings have changed."""
        for key, (old, new) in changes.items():
            self.warn(f"{key}: was {show_value(old)}, is now {show_value(new)}")
        event = {
            "event": "settings",
            "step": step,
            "split": None,
            "nats_per_char": None,
            "changes": {key: {"from": old, "to": new} for key, (old, new) in changes.items()},
        }
        self._write_metrics(event)
        self.events.show_text("settings", "\n".join(f"{key}: {value}" for key, value in event.items()), step=step)

    def _check_same_run(self, checkpoint: Checkpoint) -> dict[str, tuple[Any, Any]]:
        """Check that a checkpoint is of this text and these settings; return the settings that have changed since."""
        if checkpoint.model.facts.get(CORPUS) != self._corpus:
            raise CharlmError(
                f"{self.run.folder / CORPUS}: not the corpus that the run was trained on; put it back, or start a new "
                f"run"
            )
        before = parse_config(checkpoint.model.config, origin=str(self.checkpoints))
        return check_resume(before, self.config, origin=f"{self.run.folder / CONFIG_FILE}: ")

    def _open_logs(self, *, step: int, evaluated_step: int = -1) -> None:
        """Cut metrics.jsonl after a step, and open the log files."""
        path = self.run.folder / METRICS_FILE
        cut_metrics(path, step=step, evaluated_step=evaluated_step)
        for events in self.run.folder.glob("events.*"):
            cut_events(events, step=step)
        self.events = EventLog(self.run.folder, step=step + 1)
        try:
            self._metrics = Log(path)  # after it: `close` closes both if this one is open
        except CharlmError:
            self.events.close()
            raise

    def _write_metrics(self, metrics: Mapping[str, Any]) -> None:
        assert self._metrics is not None, "the logs are not open"
        self._metrics.write(to_line(metrics))

    def _sync(self) -> None:
        """Wait until the log files are on the disk."""
        assert self._metrics is not None, "the logs are not open"
        self._metrics.sync()
        self.events.sync()
