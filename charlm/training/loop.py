"""The training loop: windows in, weights out, and on the way logs, evaluations, samples and checkpoints.

A step never depends on the clock or on how steps are grouped into calls, so that a run is repeatable to the bit,
however often it is interrupted and resumed.
"""

import contextlib
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from signal import Signals
from typing import Any

import numpy as np
from tqdm import tqdm

from charlm import runs
from charlm.batches import fit_batches
from charlm.files import remove_leftovers
from charlm.lock import only_writer
from charlm.preparation import Run
from charlm.stopwatch import Stopwatch
from charlm.training import checkpoints, divergence
from charlm.training.archive import Archive
from charlm.training.checkpoints import Progress
from charlm.training.divergence import DivergenceError
from charlm.training.judge import Judge
from charlm.training.learner import Learner
from charlm.training.memory import check_memory
from charlm.training.model import to_parameters
from charlm.training.runtime import usable_precision
from charlm.training.signals import Stopped, StopWish
from charlm.training.timetable import make_timetable

SECONDS_PER_CALL = 0.5
"""Calls longer than this get fewer steps, so that a signal is answered soon."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """How a training ended."""

    progress: Progress
    characters_per_second: float
    """Of training alone."""
    split: str
    """What `progress.best_nats` was measured on: validation, or train where there is no validation text."""
    reason: str
    """Why it ended, for a person."""
    signal: Signals | None
    """The signal that ended it, or None."""


def train(
    run: Run,
    *,
    resume: bool,
    cores: int,
    wish: StopWish,
    say: Say,
    show_progress: bool = True,
    watch: Stopwatch | None = None,
) -> Outcome:
    """Train, or go on training, until a limit of the config or a signal.

    `wish` is that of a `stop_on_signal` block; `say` is told, in a line each, what a person should know; `watch`
    has measured the start so far. Raises CharlmError where the config asks for something that Keras does not
    have, the text is too short, training has gone astray for good, or a file cannot be written; the last
    checkpoint is then as it was. Raises Stopped at a signal before the first step, when there is nothing to
    save, and at every signal but the first.
    """
    watch = watch or Stopwatch()
    with only_writer(run.folder):
        remove_leftovers(run.folder)
        remove_leftovers(run.folder / runs.CHECKPOINTS)
        with wish.at_once():
            training = Training(run, cores=cores, wish=wish, say=_beside_bars(say))
        watch.lap("network")
        with contextlib.closing(training.archive):
            with wish.at_once():
                training.prepare(resume=resume)
            watch.lap("graph")
            say(f"ready in {watch}")
            with training.progress_bar(disable=not show_progress) as bar:
                reason = training.advance(bar)
    return Outcome(
        progress=training.progress,
        characters_per_second=training.characters / max(training.progress.seconds, 1e-9),
        split=training.judge.split,
        reason=reason,
        signal=training.stopped_by,
    )


def _beside_bars(say: Say) -> Say:
    """Return what says a line without a progress bar running through it."""

    def say_beside(line: str) -> None:
        with tqdm.external_write_mode(sys.stderr):
            say(line)

    return say_beside


class Training:
    """A run in the making: who learns, who judges, what is written down, and where the run stands."""

    def __init__(self, run: Run, *, cores: int, wish: StopWish, say: Say) -> None:
        self.run, self.wish, self.say = run, wish, say
        self.settings = run.config.training
        self.progress = Progress()
        self.stopped_by: Signals | None = None
        ids = run.corpus.split("train")
        self.cut, shrunk = fit_batches(
            len(ids),
            batch_size=self.settings.batch_size,
            sequence_length=self.settings.sequence_length,
            seed=run.config.seed,
            shuffle=self.settings.shuffle,
        )
        check_memory(run.config, len(run.corpus.vocabulary))
        precision, replaced = usable_precision(self.settings.precision)
        self.timetable = make_timetable(self.settings, self.cut)
        self.judge = Judge(run)
        self.learner = Learner(
            run.config,
            ids,
            self.cut,
            vocabulary_size=len(run.corpus.vocabulary),
            total_steps=self.timetable.total,
            cores=cores,
            precision=precision,
        )
        self.archive = Archive(run, self.learner, split=self.judge.split, warn=say)
        self._is_saved = False
        self._seconds_per_step = math.inf  # not known yet
        for line in filter(None, (shrunk, replaced)):
            say(line)
        if self.judge.validation is None:
            say("there is no validation text: the best checkpoint is the one with the lowest training loss")

    @property
    def characters(self) -> int:
        """Characters learnt from so far, repetitions counted."""
        return self.progress.step * self.cut.characters_per_step

    def prepare(self, *, resume: bool) -> None:
        """Begin, or go on from the newest whole checkpoint if there is any; build the graph."""
        if resume and checkpoints.saved_steps(self.run.folder / runs.CHECKPOINTS):
            self.progress = self.archive.resume()
            self.say(f"resumed at step {self.progress.step:,} of {self.timetable.total:,}")
        else:
            self.archive.begin()
            self._introduce()
        self.learner.build()

    def _introduce(self) -> None:
        """Describe the run to the person."""
        model = self.run.config.model
        self.say(f"corpus: {self.run.corpus.summary}")
        self.say(
            f"model: {model.layers} x {model.units} units, {to_parameters(self.learner.model).size:,} weights; "
            f"{self.timetable.total:,} steps of {self.cut.batch_size} x {self.cut.sequence_length} characters, "
            f"{self.cut.steps_per_epoch:,} an epoch"
        )

    def progress_bar(self, *, disable: bool) -> "tqdm[Any]":
        """Return the bar over all characters that the run will see."""
        return tqdm(
            total=self.timetable.total * self.cut.characters_per_step,
            initial=self.characters,
            unit="char",
            unit_scale=True,
            disable=disable,
            dynamic_ncols=True,
            smoothing=0.1,
        )

    def advance(self, bar: "tqdm[Any]") -> str:
        """Take steps until the run ends, and save; returns why it ended."""
        started, earlier = time.monotonic(), self.progress.elapsed_seconds
        with self.wish.deferred():
            while True:
                try:
                    self._handle_events()
                    if reason := self._ending():
                        self._finish()
                        return reason
                    self._learn()
                except DivergenceError as diverged:
                    self._go_back(diverged)
                self.progress.elapsed_seconds = earlier + time.monotonic() - started
                self._show(bar)

    def _learn(self) -> None:
        """Take the next steps."""
        self.run.corpus.check_size()
        progress, first = self.progress, self.progress.step
        count = min(
            self.timetable.steps_to_next_event(first),
            self.settings.steps_per_call,
            max(1, int(SECONDS_PER_CALL / self._seconds_per_step)),
        )
        lesson = self.learner.learn(first, count, rate_scale=self._rate_scale)
        progress.step += count
        progress.seconds += lesson.seconds
        progress.pending_losses += lesson.losses
        progress.last_norm = lesson.norms[-1]
        self._seconds_per_step = lesson.seconds / count
        self._is_saved = False
        results = zip(lesson.losses, lesson.norms, strict=True)
        divergence.watch(results, first=first, progress=progress, settings=self.settings.divergence)

    @property
    def _rate_scale(self) -> float:
        return divergence.rate_scale(self.progress, self.settings.divergence)

    def _go_back(self, diverged: DivergenceError) -> None:
        """Go back to a checkpoint and on at a lower rate; raises CharlmError where that was done too often."""
        if len(self.progress.rollbacks) >= self.settings.divergence.max_rollbacks:
            raise divergence.give_up(diverged, self.progress)
        self.progress = self.archive.go_back(diverged, self.progress)
        self._is_saved = False
        scale = f"{self._rate_scale:g}"
        self.say(f"{diverged}; going on from step {self.progress.step:,} with the learning rate times {scale}")

    def _handle_events(self) -> None:
        """Log, evaluate and save where it is time to, and has not been done."""
        step = self.progress.step
        if self.timetable.logs_at(step):
            self._log()
        if self.timetable.evaluates_at(step):
            self._evaluate()
        if self.timetable.saves_at(step) and not self._is_saved:
            self._save()

    def _ending(self) -> str | None:
        """Return why the run ends here, or None."""
        progress, stopping, minutes = self.progress, self.settings.early_stopping, self.settings.max_minutes
        if progress.evaluated_step == progress.step >= self.timetable.total:
            return "all steps done"
        if stopping is not None and progress.evaluations_without_best >= stopping.patience:
            return f"no new best in {stopping.patience} evaluations"
        if self.wish.signal is not None:
            self.stopped_by = self.wish.signal
            return f"stopped by {self.wish.signal.name}"
        if minutes is not None and progress.elapsed_seconds >= 60 * minutes:
            return f"training.max_minutes: {minutes:g} are over"
        return None

    def _finish(self) -> None:
        """Save what is not saved yet.

        Where the clock has ended the run between two evaluations, there is one more for the person: after the
        checkpoint, so that a run that goes on from there does not know of it.
        """
        if not self._is_saved:
            self._save()
        if self.stopped_by is None:
            self._log()
            self._evaluate()

    def _save(self) -> None:
        self.archive.save(self.progress)
        self._is_saved = True

    def _log(self) -> None:
        """Log the steps since the last line, if there are any."""
        progress = self.progress
        if not progress.pending_losses:
            return
        progress.train_nats = float(np.mean(progress.pending_losses))
        characters = len(progress.pending_losses) * self.cut.characters_per_step
        seconds = progress.seconds - progress.logged_seconds
        self.archive.journal.log(
            {
                **self._position("train", progress.train_nats),
                "learning_rate": float(self.learner.rates(progress.step - 1, 1, scale=self._rate_scale)[0]),
                "gradient_norm": progress.last_norm,
                "characters_per_second": characters / max(seconds, 1e-9),
            }
        )
        progress.pending_losses = []
        progress.logged_seconds = progress.seconds

    def _evaluate(self) -> None:
        """Evaluate, if that was not done at this step; at a signal it is put off until the run is resumed."""
        progress, step = self.progress, self.progress.step
        if progress.evaluated_step == step:
            return
        self.run.corpus.check_size()
        try:
            with self.wish.at_once():
                verdict = self.judge.evaluate(self.archive.bundle(progress))
        except Stopped:
            return
        nats = verdict.nats_per_char
        if nats is not None:
            self.archive.journal.log(self._position("validation", nats))
        nats = progress.train_nats if nats is None else nats
        is_best = self.judge.rank(nats, progress, is_regular=self.timetable.evaluates_at(step))
        if is_best:
            self.archive.save_best(progress)
        split, ending = self.judge.split, ", the best so far" if is_best else ""
        self.say(
            f"step {step:,} of {self.timetable.total:,}: {nats:.4f} nats per character on the {split} text{ending}"
        )
        self.archive.journal.show(self.learner.model, verdict.sample, step=step)
        progress.evaluated_step = step
        self._is_saved = False

    def _position(self, split: str, nats: float) -> dict[str, Any]:
        return {
            "step": self.progress.step,
            "epoch": self.progress.step / self.cut.steps_per_epoch,
            "characters": self.characters,
            "seconds": self.progress.seconds,
            "split": split,
            "nats_per_char": nats,
        }

    def _show(self, bar: "tqdm[Any]") -> None:
        nats = [self.progress.train_nats, *self.progress.pending_losses][-1]
        epoch = min(self.progress.step, self.timetable.total - 1) // self.cut.steps_per_epoch + 1
        epochs = -(-self.timetable.total // self.cut.steps_per_epoch)
        bar.set_description(f"epoch {epoch}/{epochs}", refresh=False)
        bar.set_postfix_str(f"loss {nats:.3f}, {nats / math.log(2):.3f} bits/char", refresh=False)
        bar.update(self.characters - bar.n)
