"""The files that training writes: the log files, the checkpoints, and the bundles best/ and last/."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from charlm import __version__
from charlm.config.file import dump_config
from charlm.errors import CharlmError
from charlm.hardware import versions
from charlm.network.architecture import architecture
from charlm.network.bundle import Bundle, write_bundle
from charlm.network.rnn import Parameters
from charlm.runs.folder import CHECKPOINTS
from charlm.runs.run import Run, write_config
from charlm.training import checkpoints, divergence
from charlm.training.checkpoints import Checkpoint
from charlm.training.divergence import DivergenceError
from charlm.training.engine import Engine
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
        self._versions = {"charlm": __version__, **versions("numpy", "tensorflow", "keras")}

    def close(self) -> None:
        """Close the log files."""
        self._open_files.close()

    def begin(self) -> None:
        """Start a run: write its config, and a description to empty log files."""
        write_config(self.run.folder, self.config)
        self._open_logs({})
        self.logs.describe(self.config, self.engine.graph())

    def resume(self) -> Progress:
        """Restore the newest undamaged checkpoint, and return its progress.

        Raises:
            CharlmError: there is none, or it is of another network, format or number of parts.

        """
        progress = self._restore()
        write_config(self.run.folder, self.config)
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
            versions=self._versions,
        )
        checkpoints.save(self.checkpoints, checkpoint, period=self.config.training.checkpoint_every)
        write_bundle(self.run.folder / "last", self.bundle(progress))

    def save_best(self, progress: Progress) -> None:
        """Write the bundle best/."""
        write_bundle(self.run.folder / "best", self.bundle(progress))

    def bundle(self, progress: Progress) -> Bundle:
        """Return the present network as a bundle, with its score if it is the best so far."""
        facts: dict[str, Any] = {"step": progress.step, "epoch": progress.step / self.steps_per_epoch}
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

    def _restore(self) -> Progress:
        """Restore the newest undamaged checkpoint, and cut the log files to their sizes at that step."""
        checkpoint = checkpoints.restore(self.checkpoints, warn=self.warn, shapes=self.engine.shapes())
        if checkpoint.parts != self.config.training.parts:
            raise CharlmError(
                f"training.parts: found {self.config.training.parts}; must be {checkpoint.parts}, as at the start of "
                f"the run: another number changes the last bits of sums"
            )
        self.engine.restore(checkpoint.tensors)
        self._copied = None
        self._open_logs(checkpoint.file_sizes)
        return checkpoint.progress

    def _open_logs(self, sizes: Mapping[str, int]) -> None:
        """Cut the log files to these sizes, and open them."""
        self._open_files.close()
        rewind(self.run.folder, sizes)
        self.logs = self._open_files.enter_context(contextlib.closing(RunLogs(self.run.folder)))
