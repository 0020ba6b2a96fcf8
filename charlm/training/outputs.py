"""The files that training writes: metrics.jsonl, TensorBoard's events, checkpoints, and the bundles best/ and last/.

The log files are append-only. A checkpoint records the size of each. A resumed run cuts off what was written after the
checkpoint, so that no step is missing or occurs twice.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from charlm import __version__
from charlm.config.file import check_resume, dump_config
from charlm.config.yaml import show_value
from charlm.errors import CharlmError
from charlm.evaluation.scoring import Score
from charlm.hardware import versions
from charlm.network.architecture import CONFIG_FILE, architecture
from charlm.network.bundle import Bundle, read_bundle, write_bundle
from charlm.network.rnn import Parameters, bits
from charlm.runs.folder import (
    CHECKPOINTS,
    CORPUS,
    ENDED_FILE,
    METRICS_FILE,
    MODELS,
    results,
    saved_steps,
    step_name,
)
from charlm.runs.metrics import to_line
from charlm.runs.run import Run, corpus_identity, write_config
from charlm.storage.atomic import write_file
from charlm.storage.files import Log, writing
from charlm.training import checkpoints
from charlm.training.checkpoints import Checkpoint, Facts, Progress
from charlm.training.events import EventLog
from charlm.training.interface import Engine
from charlm.training.schedule import Schedule, go_on
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
        self._corpus, self._config_text = corpus_identity(run.corpus), dump_config(run.config)

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
        self._open_logs({})
        self.events.describe(self.config)
        write_config(self.run.folder, self.config)

    def resume(self) -> Progress:
        """Restore the newest undamaged checkpoint, and return its progress; say which settings have changed since.

        Raises:
            CharlmError: there is none, or it is of another network or format, another text, or a run with other
                settings that a resume may not change, or beyond the end of this one.

        """
        checkpoint = checkpoints.restore(self.checkpoints, warn=self.warn, shapes=self.engine.shapes())
        changes, progress = self._check_same_run(checkpoint.facts), checkpoint.facts.progress
        end = go_on(self.schedule, progress.phases, progress.step).total
        if progress.step > end:
            raise CharlmError(
                f"{self.run.folder}: is at step {progress.step:,}, beyond its end ({end:,}): make it longer"
            )
        self.engine.restore(checkpoint.tensors)
        if None is not checkpoint.facts.versions.get("kernel") != self.engine.library is not None:
            self.warn("kernel: compiled anew, not as it was in this run, so results will not be bit-identical")
        self._copied = None
        self._open_logs(checkpoint.facts.file_sizes)
        if changes:
            self._note_changes(changes, step=progress.step)
        write_config(self.run.folder, self.config)
        if progress.best_nats is not None and not (self.run.folder / "best").is_dir():
            self.warn(
                f"{self.run.folder / 'best'}: missing; if training goes on, the next evaluation writes it again; until "
                f"then use {self.run.folder / 'last'}"
            )
            progress.best_nats = None
        return progress

    def save(self, progress: Progress) -> None:
        """Write a checkpoint and the bundle last/.

        Raises:
            CharlmError: they cannot be written.
            DivergenceError: a weight is not finite; nothing is written.

        """
        tensors = self.engine.tensors()
        if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
            raise DivergenceError(f"not every weight is finite at step {progress.step:,}")
        facts = Facts(
            versions={
                "charlm": __version__,
                **versions("numpy", "tensorflow", "keras"),
                "kernel": self.engine.library,
            },
            config=self.config,
            corpus=self._corpus,
            progress=progress,
            file_sizes=self._log_sizes(),
        )
        self.keep_model(progress)
        checkpoints.save(self.checkpoints, Checkpoint(tensors, facts))
        write_bundle(self.run.folder / "last", self.bundle(progress))

    def keep_model(self, progress: Progress) -> None:
        """Write the bundle of this step to steps/, if the run keeps them."""
        if self.config.training.keep_checkpoints:
            write_bundle(self.run.folder / MODELS / step_name(progress.step), self.bundle(progress))

    def save_best(self, progress: Progress, score: Score | None) -> None:
        """Write the bundle best/; the best score in `progress` is that of the present network.

        Args:
            progress: How far the training is.
            score: Its score on the validation text; None if there is no such text.

        """
        write_bundle(self.run.folder / "best", self.bundle(progress, block_means=score.block_means if score else ()))

    def read_best(self) -> Bundle | None:
        """Return best/; None, with a line for the user, if it cannot be read."""
        try:
            return read_bundle(self.run.folder / "best")
        except CharlmError as error:
            self.warn(str(error))
            return None

    def bundle(self, progress: Progress, *, block_means: Sequence[float] = ()) -> Bundle:
        """Return the present network as a bundle, with its score if it is the best so far."""
        facts: dict[str, Any] = {"step": progress.step, "epoch": self.schedule.epochs(progress.step)}
        facts[CORPUS] = self._corpus
        if progress.best_nats is not None and progress.best_step == progress.step:
            facts["score"] = score_facts(self.split, progress.best_nats, block_means)
        if self._copied is None or self._copied[0] != progress.step:
            self._copied = progress.step, self.engine.parameters()
        vocabulary = self.run.corpus.vocabulary
        return Bundle(
            architecture=architecture(self.config, len(vocabulary)),
            parameters=self._copied[1],
            vocabulary=vocabulary,
            config=self._config_text,
            facts=facts,
        )

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Write a log line or an evaluation, for instance {"step": 5, "split": "train", "nats_per_char": 2.5, ...}."""
        metrics = {**metrics, "bits_per_char": bits(metrics["nats_per_char"])}
        self._write_metrics(metrics)
        self.events.log(metrics)

    def end(self, step: int) -> None:
        """Write that the run is complete at a step. A resumed run takes this back: it is later than its checkpoint."""
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

    def _check_same_run(self, facts: Facts) -> dict[str, tuple[Any, Any]]:
        """Check that a checkpoint is of this text and these settings; return the settings that have changed since."""
        if facts.corpus != self._corpus:
            raise CharlmError(
                f"{self.run.folder / CORPUS}: not the corpus that the run was trained on; put it back, or start a new "
                f"run"
            )
        batches, phases = self.schedule.batches, facts.progress.phases
        if phases and phases[-1][1] * batches.batch_size >= batches.length:
            raise CharlmError(f"{self.checkpoints}: damaged: windows of {phases[-1][1]:,} are longer than the text")
        return check_resume(facts.config, self.config, origin=f"{self.run.folder / CONFIG_FILE}: ")

    def _open_logs(self, sizes: Mapping[str, int]) -> None:
        """Cut the log files to these sizes, and open them."""
        rewind(self.run.folder, sizes)
        self.events = EventLog(self.run.folder)
        try:
            self._metrics = Log(self.run.folder / METRICS_FILE)  # after it: `close` closes both if this one is open
        except CharlmError:
            self.events.close()
            raise

    def _write_metrics(self, metrics: Mapping[str, Any]) -> None:
        assert self._metrics is not None, "the logs are not open"
        self._metrics.write(to_line(metrics))

    def _log_sizes(self) -> dict[str, int]:
        """Return the number of bytes of each log file, by its name, when all of them are on the disk."""
        assert self._metrics is not None, "the logs are not open"
        self._metrics.sync()
        self.events.sync()
        return {path.name: path.stat().st_size for path in log_files(self.run.folder)}


def score_facts(split: str, nats: float, block_means: Sequence[float]) -> dict[str, Any]:
    """Return a score as model.json holds it: on validation or train, and the means of its blocks if they are known."""
    means = {"block_means": [round(mean, 6) for mean in block_means]} if block_means else {}
    return {"split": split, "nats_per_char": nats, **means}


def log_files(run: Path) -> list[Path]:
    """Return the paths of metrics.jsonl and of all event files of a run."""
    return [run / METRICS_FILE, *sorted(run.glob("*.tfevents.*"))]


def rewind(run: Path, sizes: Mapping[str, int]) -> None:
    """Cut the log files of a run to the sizes that they had before, and remove those that did not exist.

    Args:
        run: The folder of the run.
        sizes: The number of bytes of each file, by its name.

    Raises:
        CharlmError: a file cannot be cut.

    """
    for path in log_files(run):
        size = sizes.get(path.name, 0)
        if not size and path.name != METRICS_FILE:
            _remove(path)
        else:
            _cut(path, size)
    _remove(run / ENDED_FILE)


def _remove(path: Path) -> None:
    with writing(path):
        path.unlink(missing_ok=True)


def _cut(path: Path, size: int) -> None:
    """Cut a file that is longer than `size` bytes."""
    with writing(path):
        if path.exists() and path.stat().st_size > size:
            os.truncate(path, size)
