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

from charlm.config.schema import EarlyStoppingConfig
from charlm.hardware import memory_bytes, usable_precision
from charlm.runs.folder import CHECKPOINTS, check_no_links
from charlm.runs.run import Run
from charlm.storage.atomic import remove_leftovers
from charlm.storage.locks import only_writer
from charlm.training import divergence
from charlm.training.advice import advise_on_evaluations, advise_on_time
from charlm.training.display import (
    ProgressBar,
    Say,
    above_bar,
    count_weights,
    describe_run,
)
from charlm.training.divergence import DivergenceError
from charlm.training.engine import EngineFactory
from charlm.training.estimate import Estimate
from charlm.training.memory import check_memory
from charlm.training.progress import Progress
from charlm.training.recorder import OnEvaluation, Recorder, ignore_evaluation
from charlm.training.schedule import make_schedule
from charlm.training.signals import StopRequest
from charlm.training.soft_targets import SoftTargets, open_soft_targets
from charlm.training.steps import StepRunner, fit_training_batches
from charlm.training.stopwatch import Stopwatch


@dataclass(frozen=True)
class Outcome:
    """How a training ended."""

    folder: Path
    """The folder of the run."""
    progress: Progress
    characters_per_second: float
    """Of training alone."""
    split: str
    """The text that `progress.best_nats` was measured on: validation, or train if there is no validation text."""
    reason: str
    """Why it ended, for the user."""
    signal: Signals | None
    """The signal that ended it, or None."""
    simple_nats: Mapping[str, float]
    """What simple models score on the validation text, in nats per character, by name; empty if there is none."""
    sample: str
    """What the network of the last evaluation has written; empty if nothing."""


def train(
    run: Run,
    make_engine: EngineFactory,
    *,
    resume: bool,
    request: StopRequest,
    say: Say,
    show_progress: bool = True,
    watch: Stopwatch | None = None,
    measure_memory: Callable[[], int | None] = memory_bytes,
    clock: Callable[[], float] = time.monotonic,
    on_evaluation: OnEvaluation = ignore_evaluation,
) -> Outcome:
    """Train, or continue training, until a limit of the config or a signal.

    Args:
        run: Its folder, config and corpus.
        make_engine: Makes the engine, which computes the steps.
        resume: Whether to continue from the newest checkpoint.
        request: The stop request of a `stop_on_signal` block.
        say: Called with each line for the user.
        show_progress: Whether to show a bar on standard error.
        watch: The stopwatch that has measured the start so far; None = a new one.
        measure_memory: Returns the memory of the machine in bytes; None = not known.
        clock: Returns the time in seconds, for `training.max_minutes`.
        on_evaluation: Called after each evaluation; it may end the run by `request.reason`.

    Raises:
        CharlmError: the config asks for something that the engine does not have, a teacher cannot be used, the network
            does not fit into the memory, the text is too short, training has diverged for good, or a file cannot be
            written. The last checkpoint is then as it was.
        Stopped: a signal came before the first step, when there is nothing to save; or a second signal came.

    """
    watch, say = watch or Stopwatch(), above_bar(say)
    with only_writer(run.folder):
        check_no_links(run.folder)
        remove_leftovers(run.folder)
        remove_leftovers(run.folder / CHECKPOINTS)
        with request.at_once():
            available = measure_memory()
            soft_targets = open_soft_targets(run, available_bytes=available, say=say)
            if soft_targets is not None:
                watch.lap("teachers")
            training = Training(
                run,
                make_engine,
                soft_targets=soft_targets,
                request=request,
                say=say,
                available_bytes=available,
                clock=clock,
                on_evaluation=on_evaluation,
            )
        watch.lap("network")
        with contextlib.closing(training.recorder.outputs):
            with request.at_once():
                training.prepare(resume=resume)
            watch.lap("graph")
            say(f"ready in {watch}")
            with training.progress_bar(disable=not show_progress) as bar:
                reason = training.advance(bar)
    return Outcome(
        folder=run.folder,
        progress=training.progress,
        characters_per_second=training.characters / max(training.progress.seconds, 1e-9),
        split=training.recorder.validator.split,
        reason=reason,
        signal=training.stopped_by,
        simple_nats=training.recorder.report.simple_nats(),
        sample="" if training.recorder.sample is None else training.recorder.sample.text,
    )


class Training:
    """A run in progress: its engine, its steps, its recorder, and how far it is.

    Args:
        run: Its folder, config and corpus.
        make_engine: Makes the engine.
        soft_targets: What `open_soft_targets` returned; None = none, or steps that are only timed.
        request: The stop request of a `stop_on_signal` block.
        say: Called with each line for the user.
        available_bytes: The memory of the machine; None = not known.
        clock: Returns the time in seconds.
        on_evaluation: Called after each evaluation.

    Raises:
        CharlmError: the text is too short, the network does not fit into the memory, or the engine cannot be made.

    """

    def __init__(
        self,
        run: Run,
        make_engine: EngineFactory,
        *,
        soft_targets: SoftTargets | None = None,
        request: StopRequest,
        say: Say,
        available_bytes: int | None,
        clock: Callable[[], float],
        on_evaluation: OnEvaluation,
    ) -> None:
        self.run, self.request, self.say, self.clock = run, request, say, clock
        self.settings = run.config.training
        self.progress = Progress()
        self.stopped_by: Signals | None = None
        self.batches, shrunk = fit_training_batches(run.corpus, run.config)
        vocabulary_size = len(run.corpus.vocabulary)
        check_memory(run.config, vocabulary_size, available_bytes=available_bytes)
        precision, replaced = usable_precision(self.settings.precision)
        self.schedule = make_schedule(self.settings, self.batches)
        self.engine = make_engine(run.config, self.batches, vocabulary_size=vocabulary_size, precision=precision)
        self.steps = StepRunner(run, self.engine, self.batches, self.schedule, soft_targets=soft_targets)
        self.recorder = Recorder(
            run,
            self.engine,
            self.batches,
            self.schedule,
            rates=self.steps.rates,
            last_change=lambda: self.steps.last_change,
            request=request,
            say=say,
            on_evaluation=on_evaluation,
        )
        for line in filter(None, (shrunk, replaced)):
            say(line)
        if self.recorder.validator.validation is None:
            say("there is no validation text: best/ has the lowest training loss")
        self.stopping = _early_stopping(run)

    @property
    def characters(self) -> int:
        """Characters trained on so far, repetitions counted."""
        return self.progress.step * self.batches.characters_per_step

    def prepare(self, *, resume: bool) -> None:
        """Build the engine, and continue from the newest whole checkpoint if `resume` and there is any.

        Without a checkpoint the run starts at step 0, if there is nothing to lose.

        Raises:
            CharlmError: no checkpoint is whole, there is none although the run has been trained, the newest does not
                fit the config or the text, or a file cannot be written.

        """
        if resume and self.recorder.outputs.has_checkpoint():
            self.progress = self.recorder.outputs.resume()
            self.say(f"resumed at step {self.progress.step:,} of {self.schedule.total:,}")
        else:
            self.recorder.outputs.begin()
            for line in describe_run(self.run, self.recorder.report.facts(), self.batches, steps=self.schedule.total):
                self.say(line)
            if self.run.config.training.first_weights is not None:
                self.recorder.record_start(self.progress)
        if self.stopping is not None and self.stopping.min_weights_per_character:
            self.say(f"the text is small for this network: early stopping, patience {self.stopping.patience}")
        if advice := advise_on_evaluations(self.schedule):
            self.say(advice)
        self.engine.build()
        if simple := self.recorder.report.simple_nats():
            scores = ", ".join(f"{name} {nats:.3f}" for name, nats in simple.items())
            self.say(f"to beat: {scores} nats on the validation text")

    def progress_bar(self, *, disable: bool) -> ProgressBar:
        """Return the progress bar of this run."""
        return ProgressBar(self.batches, self.schedule, self.progress, disable=disable)

    def advance(self, bar: ProgressBar) -> str:
        """Take steps until the run ends, and save; return why it ended.

        Raises:
            CharlmError: training has diverged for good, or a file cannot be read or written.
            Stopped: a second signal came.

        """
        started, earlier = self.clock(), self.progress.elapsed_seconds
        estimate = Estimate(self.schedule.total)
        with self.request.deferred():
            while True:
                try:
                    self.recorder.record_due(self.progress)
                    if reason := self._ending():
                        self.recorder.finish(self.progress, is_stopped=self.stopped_by is not None)
                        return reason
                    self.steps.take_steps(self.progress)
                except DivergenceError as diverged:
                    self._roll_back(diverged)
                elapsed = self.clock() - started
                self.progress.elapsed_seconds = earlier + elapsed
                if (seconds_left := estimate.update(self.progress.step, elapsed)) is not None:
                    for line in advise_on_time(self._limited(seconds_left)):
                        self.say(line)
                bar.update(self.progress)

    def _roll_back(self, diverged: DivergenceError) -> None:
        """Return to a checkpoint and lower the learning rates; raise CharlmError if that was done too often."""
        settings = self.settings.divergence
        if len(self.progress.rollbacks) >= settings.max_rollbacks:
            raise divergence.too_many_rollbacks(diverged, self.progress)
        self.progress = self.recorder.outputs.roll_back(diverged, self.progress)
        scale = f"{divergence.rate_scale(self.progress, settings):g}"
        self.say(f"{diverged}; continuing from step {self.progress.step:,} with the learning rate times {scale}")

    def _limited(self, seconds_left: float) -> float:
        """Return how long the run still takes, given how long its steps do."""
        minutes = self.settings.max_minutes
        return seconds_left if minutes is None else min(seconds_left, 60 * minutes - self.progress.elapsed_seconds)

    def _ending(self) -> str | None:
        """Return why the run ends here, or None."""
        progress, stopping, minutes = self.progress, self.stopping, self.settings.max_minutes
        if progress.evaluated_step == progress.step >= self.schedule.total:
            return "all steps done"
        if self.request.reason is not None:
            return self.request.reason
        if stopping is not None and progress.evaluations_without_best >= stopping.patience:
            return f"no new best in {stopping.patience} evaluations"
        if self.request.signal is not None:
            self.stopped_by = self.request.signal
            return f"stopped by {self.request.signal.name}"
        if minutes is not None and progress.elapsed_seconds >= 60 * minutes:
            return f"training.max_minutes: the limit of {minutes:g} minutes is reached"
        return None


def _early_stopping(run: Run) -> EarlyStoppingConfig | None:
    """Return when a run ends because its validation loss no longer falls, or None if its text is large enough."""
    stopping = run.config.training.early_stopping
    if stopping is None:
        return None
    start, end = run.corpus.splits["train"]
    is_small = count_weights(run) >= stopping.min_weights_per_character * (end - start)
    return stopping if is_small else None
