"""The training loop: it alternates steps with logs, evaluations, samples and checkpoints until the run ends.

A step never depends on the clock or on how steps are grouped into calls. So a run is repeatable to the last bit,
however often it is interrupted and resumed.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import NoReturn

from tqdm import tqdm

from charlm.config.file import load_config
from charlm.config.recipes import find_recipe, suited_recipe
from charlm.runs.folder import CHECKPOINTS
from charlm.runs.run import Run
from charlm.storage.files import remove_leftovers
from charlm.storage.locks import only_writer
from charlm.text.findings import describe_text
from charlm.training.checkpoints import Progress
from charlm.training.display import describe_run, is_improving, progress_bar, update_bar
from charlm.training.interface import Engine
from charlm.training.recorder import Recorder
from charlm.training.schedule import Schedule, make_schedule
from charlm.training.signals import Session
from charlm.training.soft_targets import SoftTargets, open_soft_targets
from charlm.training.steps import StepRunner


@dataclass(frozen=True)
class Outcome:
    """How a training ended."""

    folder: Path
    """The folder of the run."""
    progress: Progress
    nats_per_char: float | None
    """The loss of the best model. None = there is none."""
    characters_per_second: float
    """Of training alone."""
    split: str
    """The text that `nats_per_char` was measured on: validation, or train if there is no validation text."""
    measured_on: str
    """The same for the user: which text, and how much of it if not all."""
    reason: str
    """Why it ended, for the user."""
    signal: Signals | None
    """The signal that ended it, or None."""
    baseline_nats: Mapping[str, float]
    """What simple models score on the validation text, in nats per character, by name; empty if there is none."""
    sample: str
    """What the network of the last evaluation has written; empty if nothing."""
    longer: tuple[str, ...]
    """The settings with which a resume goes on, for instance ("training.epochs=24",): as long as the recipe for such a
    text trains, or twice as long as so far; none if the network was not still improving."""
    worker: int = 0
    """Which of the machines of TF_CONFIG this is; the run is in the folder of worker 0 alone."""


def train(
    run: Run,
    engine: Engine,
    *,
    resume: bool,
    session: Session,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Train, or continue training, until a limit of the config or a signal.

    Args:
        run: Its folder, config and corpus.
        engine: What computes the steps, in its first state; see `charlm.training.preparation.new_engine`.
        resume: Whether to continue from the newest checkpoint.
        session: Its user, from a `stop_on_signal` block.
        clock: Returns the time in seconds.

    Raises:
        CharlmError: a teacher cannot be used, training has diverged, or a file cannot be written. The last checkpoint
            is then as it was.
        Stopped: a signal came before the first step, when there is nothing to save; or a second signal came.

    """
    with only_writer(run.folder, clock=clock):
        remove_leftovers(run.folder)
        remove_leftovers(run.folder / CHECKPOINTS)
        with session.at_once():
            soft_targets = open_soft_targets(run, say=session.say)
            training = Training(run, engine, soft_targets=soft_targets, session=session, clock=clock)
        with contextlib.closing(training.recorder.outputs):
            with session.at_once():
                training.prepare(resume=resume)
            with progress_bar(training.schedule, training.progress, disable=not session.show_progress) as bar:
                reason = training.advance(bar)
    recorder = training.recorder
    progress, characters = training.progress, training.schedule.characters(training.progress.step)
    return Outcome(
        folder=run.folder,
        progress=progress,
        nats_per_char=progress.best_nats,
        characters_per_second=characters / max(progress.seconds, 1e-9),
        split=recorder.validator.split,
        measured_on=recorder.validator.measured_on,
        reason=reason,
        signal=training.stopped_by,
        baseline_nats=recorder.validator.baseline_nats,
        sample=recorder.sample,
        longer=_longer(run, training.schedule, progress) if is_improving(progress, recorder.difference) else (),
        worker=engine.machines.index,
    )


class Training:
    """A run in progress: its engine, its steps, its recorder, and how far it is.

    Args:
        run: Its folder, config and corpus.
        engine: What computes the steps.
        soft_targets: What `open_soft_targets` returned; None = none, or steps that are only timed.
        session: Its user.
        clock: Returns the time in seconds.

    Raises:
        CharlmError: the text is too short.

    """

    def __init__(
        self,
        run: Run,
        engine: Engine,
        *,
        soft_targets: SoftTargets | None = None,
        session: Session,
        clock: Callable[[], float],
    ) -> None:
        self.run, self.engine, self.session, self.clock = run, engine, session, clock
        self.settings = run.config.training
        self.progress = Progress()
        self.stopped_by: Signals | None = None
        self.schedule = make_schedule(self.settings, engine.batches)
        self.steps = StepRunner(run, engine, self.schedule, soft_targets=soft_targets)
        self.recorder = Recorder(run, engine, self.schedule, session=session)

    def prepare(self, *, resume: bool) -> None:
        """Build the engine, and continue from the newest whole checkpoint if `resume` and there is any.

        Without a checkpoint the run starts at step 0, if there is nothing to lose.

        Raises:
            CharlmError: no checkpoint is whole, there is none although the run has been trained, the newest does not
                fit the config or the text, or a file cannot be written.

        """
        if self.recorder.validator.validation is None:
            self.session.say("there is no validation text: the best model is that of the lowest training loss")
        if resume and self.recorder.outputs.has_checkpoint():
            self.progress = self.recorder.outputs.resume()
            self.session.say(f"resumed at step {self.progress.step:,} of {self.schedule.total:,}")
        else:
            self.recorder.outputs.begin()
            if self.settings.keep_checkpoints:
                self.recorder.save(self.progress)
            findings = describe_text(self.run.corpus).findings
            for line in describe_run(self.run, findings, self.schedule):
                self.session.say(line)
            if self.settings.first_weights is not None:
                self.recorder.record_start(self.progress)
        self.engine.build(self.schedule.lengths)
        if simple := self.recorder.validator.baseline_nats:
            scores = ", ".join(f"{name} {nats:.3f}" for name, nats in simple.items())
            self.session.say(f"nats per character (lower is better): {scores}")

    def advance(self, bar: "tqdm[NoReturn]") -> str:
        """Take steps until the run ends, and save; return why it ended.

        Raises:
            CharlmError: training has diverged, or a file cannot be read or written.
            Stopped: a second signal came.

        """
        started, earlier = self.clock(), self.progress.elapsed_seconds
        with self.session.deferred():
            while True:
                self.recorder.record_due(self.progress)
                reason, signal = self._ending(), self.session.signal
                is_ending = reason is not None or signal is not None
                count, number = self.engine.machines.agree(
                    step=self.progress.step,
                    count=0 if is_ending else self.steps.next_count(self.progress),
                    signal=signal if reason is None and signal is not None else 0,
                )
                if not count:
                    self.stopped_by = Signals(number) if number else None
                    self.progress.elapsed_seconds = earlier + self.clock() - started
                    self.recorder.finish(self.progress, is_stopped=self.stopped_by is not None)
                    return f"stopped by {self.stopped_by.name}" if self.stopped_by else reason or "ended by worker 0"
                first, losses = self.progress.step + 1, self.steps.take(count, self.progress)
                self.progress.elapsed_seconds = earlier + self.clock() - started
                for step, nats in enumerate(losses, first):
                    self.session.on_step(step, nats)
                update_bar(bar, self.progress, self.schedule)

    def _ending(self) -> str | None:
        """Return why the run ends here, or None; a signal is no such reason, as the run can be resumed then."""
        progress, patience = self.progress, self.settings.early_stopping
        if progress.evaluated_step == progress.step >= self.schedule.total:
            return "all steps done"
        if self.session.reason is not None:
            return self.session.reason
        if patience is not None and progress.evaluations_without_best >= patience:
            return f"no new best in {patience} evaluations"
        return None


def _longer(run: Run, schedule: Schedule, progress: Progress) -> tuple[str, ...]:
    """Return the settings with which the run goes on to the length that is usual for its text, or twice as far."""
    settings, (start, end) = run.config.training, run.corpus.splits["train"]
    limits = {"epochs": settings.epochs, "steps": settings.steps}
    usual = load_config(find_recipe(suited_recipe(end - start).recipe)).training
    for name, done, wanted in (
        ("epochs", schedule.epochs(progress.step), usual.epochs),
        ("steps", progress.step, usual.steps),
    ):
        if wanted is not None and done < wanted:
            others = [other for other, limit in limits.items() if other != name and limit is not None]
            return (f"training.{name}={wanted}", *(f"training.{other}=null" for other in others))
    return tuple(f"training.{name}={2 * limit}" for name, limit in limits.items() if limit is not None)
