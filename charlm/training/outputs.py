"""The files that training writes: the log files, the checkpoints, and the bundles best/ and last/."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from charlm import __version__
from charlm.config.file import dump_config
from charlm.config.resume import check_resume
from charlm.config.yaml import show_value
from charlm.errors import CharlmError
from charlm.hardware import versions
from charlm.network.architecture import CONFIG_FILE, architecture
from charlm.network.bundle import Bundle, write_bundle
from charlm.network.rnn import Parameters
from charlm.runs.folder import CHECKPOINTS, CORPUS, check_no_links, results
from charlm.runs.run import Run, corpus_identity, write_config
from charlm.training import checkpoints, divergence
from charlm.training.checkpoints import Checkpoint
from charlm.training.divergence import DivergenceError
from charlm.training.engine import Engine
from charlm.training.kept_best import keep_best, put_back_best
from charlm.training.logs import RunLogs, rewind
from charlm.training.progress import Progress


class RunOutputs:
    """Writes the state of a run to its folder, and restores it from there.

    Args:
        run: Its folder, config and corpus.
        engine: The network in training.
        steps_per_epoch: The number of steps in an epoch.
        split: The text that the best score is measured on, validation or train.
        warn: Called with a line for each damaged checkpoint that is skipped.

    """

    logs: RunLogs
    """The open log files; there are none before `begin` or `resume`."""

    def __init__(
        self, run: Run, engine: Engine, *, steps_per_epoch: int, split: str, warn: Callable[[str], None]
    ) -> None:
        self.run, self.config, self.engine, self.split, self.warn = run, run.config, engine, split, warn
        self.steps_per_epoch = steps_per_epoch
        self.checkpoints = run.folder / CHECKPOINTS
        self._open_files = contextlib.ExitStack()
        self._copied: tuple[int, Parameters] | None = None
        """A step and its weights, copied once for everything that needs them at that step."""
        self._corpus = corpus_identity(run.corpus)
        self._versions = {"charlm": __version__, **versions("numpy", "tensorflow", "keras")}

    def close(self) -> None:
        """Close the log files."""
        self._open_files.close()

    def has_checkpoint(self) -> bool:
        """Return whether there is a checkpoint, whole or damaged; raises CharlmError if that cannot be found out."""
        check_no_links(self.run.folder)
        return bool(checkpoints.saved_steps(self.checkpoints))

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
        write_config(self.run.folder, self.config)
        self._open_logs({})
        self.logs.describe(self.config, self.engine.graph())
        self.logs.describe_settings(self.config, self.run.corpus)

    def resume(self) -> Progress:
        """Restore the newest undamaged checkpoint, and return its progress; say which settings have changed since.

        Raises:
            CharlmError: there is none, or it is of another network or format, another text, or a run with other
                settings that a resume may not change.

        """
        progress = self._restore(say=self.warn)
        write_config(self.run.folder, self.config)
        self.logs.describe_settings(self.config, self.run.corpus)
        put_back_best(self.run.folder)
        best = self.run.folder / "best"
        if progress.best_nats is not None and not best.is_dir():
            self._restore_best(progress)
        return progress

    def roll_back(self, diverged: DivergenceError, progress: Progress) -> Progress:
        """Restore a checkpoint from before training diverged, remove those after it, and log the rollback.

        Args:
            diverged: Why training is rolled back.
            progress: The present progress.

        Returns:
            The progress of the checkpoint, with the best score and the rollbacks of the present one.

        Raises:
            CharlmError: there is no checkpoint.

        """
        saved, period = checkpoints.saved_steps(self.checkpoints), self.config.training.checkpoint_every
        if not saved:
            raise divergence.no_checkpoint(diverged)
        target = divergence.rollback_step(saved, period=period, progress=progress)
        checkpoints.remove_after(self.checkpoints, target)
        restored = self._restore()
        for rollback in divergence.carry_over(
            diverged, earlier=progress, restored=restored, settings=self.config.training.divergence
        ):
            self.logs.note(rollback)
        return restored

    def save(self, progress: Progress) -> None:
        """Write a checkpoint and the bundle last/.

        Raises:
            CharlmError: they cannot be written.
            DivergenceError: a weight is not finite; nothing is written.

        """
        tensors = self.engine.tensors()
        if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
            message = f"not every weight is finite at step {progress.step:,}"
            raise DivergenceError(message, step=progress.step)
        checkpoint = Checkpoint(
            tensors=tensors,
            progress=progress,
            file_sizes=self.logs.sizes(),
            parts=self.config.training.parts or 1,
            config=self.config,
            corpus=self._corpus,
            versions=self._versions,
        )
        checkpoints.save(self.checkpoints, checkpoint, period=self.config.training.checkpoint_every)
        write_bundle(self.run.folder / "last", self.bundle(progress))

    def save_best(self, progress: Progress, *, is_extra: bool = False) -> None:
        """Write the bundle best/.

        Args:
            progress: The present progress; its best score is that of the present network.
            is_extra: Whether only the clock has caused the evaluation; then a resumed run gets back the best/ before.

        """
        if is_extra:
            keep_best(self.run.folder)
        write_bundle(self.run.folder / "best", self.bundle(progress))

    def bundle(self, progress: Progress) -> Bundle:
        """Return the present network as a bundle, with its score if it is the best so far."""
        facts: dict[str, Any] = {"step": progress.step, "epoch": progress.step / self.steps_per_epoch}
        facts[CORPUS] = self._corpus
        if progress.best_nats is not None and progress.best_step == progress.step:
            facts["score"] = {"split": self.split, "nats_per_char": progress.best_nats}
        if self._copied is None or self._copied[0] != progress.step:
            self._copied = progress.step, self.engine.parameters()
        vocabulary = self.run.corpus.vocabulary
        return Bundle(
            architecture=architecture(self.config, len(vocabulary)),
            parameters=self._copied[1],
            vocabulary=vocabulary,
            config=dump_config(self.config),
            facts=facts,
        )

    def _restore(self, *, say: Callable[[str], None] = lambda _: None) -> Progress:
        """Restore the newest undamaged checkpoint, cut the log files to their sizes at that step, and log changes."""
        checkpoint = checkpoints.restore(self.checkpoints, warn=self.warn, shapes=self.engine.shapes())
        changes = self._check_same_run(checkpoint)
        self.engine.restore(checkpoint.tensors)
        self._copied = None
        self._open_logs(checkpoint.file_sizes)
        if changes:
            for key, (old, new) in changes.items():
                say(f"{key}: was {show_value(old)}, is now {show_value(new)}")
            self.logs.note(
                {
                    "event": "settings",
                    "step": checkpoint.progress.step,
                    "split": None,
                    "nats_per_char": None,
                    "changes": {key: {"from": old, "to": new} for key, (old, new) in changes.items()},
                }
            )
        return checkpoint.progress

    def _check_same_run(self, checkpoint: Checkpoint) -> dict[str, tuple[Any, Any]]:
        """Check that a checkpoint is of this text and these settings; return the settings that have changed since."""
        if checkpoint.parts != self.config.training.parts:
            raise CharlmError(
                f"training.parts: found {self.config.training.parts}; must be {checkpoint.parts}, as at the start of "
                f"the run: another number changes the last bits of sums"
            )
        if checkpoint.corpus is not None and checkpoint.corpus != self._corpus:
            raise CharlmError(
                f"{self.run.folder / CORPUS}: not the corpus that the run was trained on; put it back, or start a new "
                f"run"
            )
        if checkpoint.config is None:
            return {}
        return check_resume(checkpoint.config, self.config, origin=f"{self.run.folder / CONFIG_FILE}: ")

    def _restore_best(self, progress: Progress) -> None:
        """Write best/ again if the present weights are the best; if not, let the next evaluation write it."""
        if progress.best_step == progress.step:
            self.save_best(progress)
            return
        self.warn(
            f"{self.run.folder / 'best'}: missing, and the weights of step {progress.best_step:,} with it; if training "
            f"goes on, the next evaluation writes it again; until then use --checkpoint last"
        )
        progress.best_nats = None

    def _open_logs(self, sizes: Mapping[str, int]) -> None:
        """Cut the log files to these sizes, and open them."""
        self._open_files.close()
        rewind(self.run.folder, sizes)
        self.logs = self._open_files.enter_context(contextlib.closing(RunLogs(self.run.folder)))
