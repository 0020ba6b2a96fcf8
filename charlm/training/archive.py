"""What a run has on the disk: its log files, its checkpoints, and the bundles best/ and last/."""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np

from charlm import runs
from charlm.bundle import Bundle, write_bundle
from charlm.config_file import dump_config
from charlm.preparation import Run, write_config
from charlm.rnn import Parameters
from charlm.training import checkpoints, divergence
from charlm.training.checkpoints import Progress
from charlm.training.divergence import DivergenceError
from charlm.training.learner import Learner
from charlm.training.model import architecture
from charlm.training.tensorboard import Journal, rewind


class Archive:
    """Writes down where a learner stands, and puts it back there."""

    journal: Journal

    def __init__(self, run: Run, learner: Learner, *, split: str, warn: Callable[[str], None]) -> None:
        self.run, self.config, self.learner, self.split, self.warn = run, run.config, learner, split, warn
        self.checkpoints = run.folder / runs.CHECKPOINTS
        self._open_files = contextlib.ExitStack()
        self._copied: tuple[int, Parameters] | None = None
        """The weights of a step, copied once for all that is done at it."""

    def close(self) -> None:
        """Close the log files."""
        self._open_files.close()

    def begin(self) -> None:
        """Begin with empty log files, and describe the run there."""
        write_config(self.run.folder, self.config)
        self._open_journal({})
        self.journal.describe(self.config, self.learner.model)

    def resume(self) -> Progress:
        """Put back the newest whole checkpoint; returns where the run stands."""
        progress = self._restore()
        write_config(self.run.folder, self.config)
        return progress

    def go_back(self, diverged: DivergenceError, progress: Progress) -> Progress:
        """Put back a checkpoint from before training went astray; returns where the run stands then.

        Raises CharlmError where there is none.
        """
        saved, period = checkpoints.saved_steps(self.checkpoints), self.config.training.checkpoint_every
        if not saved:
            raise divergence.nothing_to_go_back_to(diverged)
        target = divergence.step_to_go_back_to(saved, period=period, progress=progress)
        checkpoints.remove_after(self.checkpoints, target)
        restored = self._restore()
        for rollback in divergence.go_back(
            diverged, earlier=progress, restored=restored, settings=self.config.training.divergence
        ):
            self.journal.note(rollback)
        return restored

    def save(self, progress: Progress) -> None:
        """Write a checkpoint, and the bundle last/; raises DivergenceError rather than save what is not finite."""
        tensors = self.learner.tensors()
        if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
            message = f"not every weight is finite at step {progress.step:,}"
            raise DivergenceError(message, step=progress.step)
        sizes, period = self.journal.sizes(), self.config.training.checkpoint_every
        checkpoints.save(self.checkpoints, tensors, progress, sizes, period=period)
        write_bundle(self.run.folder / "last", self.bundle(progress))

    def save_best(self, progress: Progress) -> None:
        """Write the bundle best/."""
        write_bundle(self.run.folder / "best", self.bundle(progress))

    def bundle(self, progress: Progress) -> Bundle:
        """Return the network as it is, with its score if it is the best so far."""
        epoch = progress.step / self.learner.cut.steps_per_epoch
        facts: dict[str, Any] = {"step": progress.step, "epoch": epoch}
        if progress.best_nats is not None and progress.best_step == progress.step:
            facts["score"] = {"split": self.split, "nats_per_char": progress.best_nats}
        if self._copied is None or self._copied[0] != progress.step:
            self._copied = progress.step, self.learner.parameters()
        vocabulary = self.run.corpus.vocabulary
        return Bundle(
            architecture=architecture(self.config, len(vocabulary)),
            parameters=self._copied[1],
            vocabulary=vocabulary,
            config=dump_config(self.config),
            facts=facts,
        )

    def _restore(self) -> Progress:
        """Put back the newest whole checkpoint, and cut the log files to where they were then."""
        tensors, progress, sizes = checkpoints.restore(
            self.checkpoints, warn=self.warn, shapes=self.learner.shapes()
        )
        self.learner.restore(tensors)
        self._copied = None
        self._open_journal(sizes)
        return progress

    def _open_journal(self, sizes: dict[str, int]) -> None:
        """Open the log files, cut to these sizes."""
        self._open_files.close()
        rewind(self.run.folder, sizes)
        self.journal = self._open_files.enter_context(contextlib.closing(Journal(self.run.folder)))
