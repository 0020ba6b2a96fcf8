"""The search: one trial after the other until the time is over, there are enough, or there is nothing left to try.

It may end at any moment, also by a kill. The next search in the same folder then runs the trial in training again.
"""

import contextlib
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals
from types import TracebackType
from typing import Any, NoReturn

from optuna.trial import FrozenTrial, TrialState
from tqdm import tqdm

from charlm.errors import CharlmError, harmless
from charlm.storage.locks import taking_turns
from charlm.training.checkpoints import Progress
from charlm.training.display import Say, above_bar
from charlm.training.loop import Outcome
from charlm.tuning.search_folder import BEST_FILE, draw_search, write_picture, write_recipe
from charlm.tuning.space import values_of_recipe
from charlm.tuning.study import ERROR, SECONDS, SETTINGS, TURN, Study, Turn
from charlm.tuning.trial import EVALUATIONS, Workplace, evaluation_index, plan_trial, train_trial

MAX_FAILURES = 3
"""Trials that fail one after the other, after which something must be wrong with all of them."""
HOPELESS, TIME_IS_OVER = "pruned: worse than the median of the other trials so far", "the time is over"
NOTHING_LEFT, ENOUGH = "nothing is left to try", "enough trials"
STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
    TrialState.FAIL: "failed",
}


@dataclass(frozen=True)
class TrialSummary:
    """A trial of a search."""

    number: int
    state: str
    """One of STATES."""
    nats_per_char: float | None
    """The lowest loss of a complete trial, the last one of a pruned trial."""
    seconds: float | None
    """Of training alone; None = not known yet."""
    values: Mapping[str, Any]
    """What was tried, by dotted keys."""
    run: Path | None
    """The folder of its run; None = another process has it in another folder."""
    error: str | None
    """Why it has failed."""


@dataclass(frozen=True)
class SearchResult:
    """How a search ended."""

    out: Path
    """The folder of the search."""
    recipe: Path
    """The file of the best recipe."""
    best: TrialSummary | None
    """None = no trial is complete."""
    trials: tuple[TrialSummary, ...]
    """All trials of the study, those of other processes included."""
    reason: str
    """Why it ended, for the user."""
    signal: Signals | None
    """The signal that ended it, or None."""


class Display:
    """A bar over the time of a search, and lines above it; a context manager.

    Args:
        seconds: The time that the search has.
        say: Takes a line for the user.
        show_progress: Whether to show the bar on standard error.
        clock: Returns the time in seconds.

    """

    def __init__(
        self, seconds: float, *, say: Say, show_progress: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say, self._clock, self._started = above_bar(say), clock, clock()
        self._best, self._seconds = "", round(seconds)
        self._bar: tqdm[NoReturn] | None = None
        with contextlib.suppress(OSError):
            self._bar = tqdm(
                total=self._seconds,
                disable=not show_progress,
                dynamic_ncols=True,
                bar_format="{percentage:3.0f}%|{bar}| {n_fmt} of {total_fmt} s{postfix}",
            )

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            if self._bar is not None:
                self._bar.close()

    def show_start(self, number: int, values: Mapping[str, Any]) -> None:
        """Say that a trial begins."""
        tried = ", ".join(f"{key.rpartition('.')[2]} {_short(value)}" for key, value in values.items())
        self._say(f"trial {number}: {tried}")
        self._update(f"trial {number}")

    def show_evaluation(self, number: int, share: float, nats: float) -> None:
        """Show how far a trial is, and its present loss."""
        self._update(f"trial {number} at {share:.0%}: {nats:.3f}")

    def show_end(self, number: int, result: str) -> None:
        """Say how a trial ended."""
        self._say(f"trial {number}: {result}{f'; {self._best}' if self._best else ''}")
        self._update("")

    def show_best(self, number: int, nats: float) -> None:
        """Keep the best trial so far."""
        self._best = f"best {nats:.4f} (trial {number})"

    def _update(self, present: str) -> None:
        with contextlib.suppress(OSError):
            if self._bar is not None:
                self._bar.set_postfix_str(", ".join(filter(None, (present, self._best))), refresh=False)
                self._bar.n = min(round(self._clock() - self._started), self._seconds)
                self._bar.refresh()


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@dataclass
class Search:
    """A search in progress.

    Args:
        study: Its trials.
        place: What they share.
        display: What the user sees.
        command: What trains on the same text with a recipe, without the recipe.
        seconds: The time that the search has.
        trials: The number of trials that the study may have; None = any.
        clock: Returns the time in seconds.

    """

    study: Study
    place: Workplace
    display: Display
    command: str
    seconds: float
    trials: int | None = None
    clock: Callable[[], float] = time.monotonic
    _longest_seconds: float = 0.0
    _failures: list[str] = field(default_factory=list)

    def run(self) -> SearchResult:
        """Train trials until the search ends.

        Raises:
            CharlmError: several trials in a row have failed, or a file cannot be written.
            Stopped: a signal came while nothing was trained.

        """
        deadline = self.clock() + self.seconds
        self._write_findings()
        while True:
            if self.clock() + self._longest_seconds > deadline:
                return self.result(TIME_IS_OVER)
            turn = self.study.take_turn(at_most=self.trials)
            if turn is None:
                is_enough = self.trials is not None and len(self.study.trials()) >= self.trials
                return self.result(ENOUGH if is_enough else NOTHING_LEFT)
            started = self.clock()
            try:
                outcome = self._train(turn, deadline)
            finally:
                turn.release()
            if outcome is not None:
                if outcome.signal is not None:
                    return self.result(outcome.reason, signal=outcome.signal)
                if outcome.reason == TIME_IS_OVER:
                    return self.result(TIME_IS_OVER)
                self._longest_seconds = max(self._longest_seconds, self.clock() - started)

    def _train(self, turn: Turn, deadline: float) -> Outcome | None:
        """Train a trial and tell the study how it ended; return None if it has failed."""
        request = self.place.request
        request.reason = None
        try:
            settings = plan_trial(self.place, turn.values)
            self.study.plan(turn, settings)

            def watch(progress: Progress, nats: float) -> None:
                """Report an evaluation to the study, and end a trial that is hopeless."""
                index = evaluation_index(progress.step, settings)
                is_hopeless = self.study.report(turn, index, nats)
                self.display.show_evaluation(turn.number, index / EVALUATIONS, nats)
                if progress.step >= settings["training.steps"]:
                    return
                if is_hopeless:
                    request.reason = HOPELESS
                elif self.clock() >= deadline:
                    request.reason = TIME_IS_OVER

            folder = self.study.folder(turn.number)
            self.display.show_start(turn.number, turn.values)
            outcome = train_trial(self.place, folder, settings, say=lambda _: None, on_evaluation=watch)
        except CharlmError as error:
            self._fail(turn, str(error))
            return None
        self._tell(turn, outcome)
        return outcome

    def _tell(self, turn: Turn, outcome: Outcome) -> None:
        if outcome.signal is not None or outcome.reason == TIME_IS_OVER:
            return
        seconds, nats = outcome.progress.seconds, outcome.progress.best_nats
        if outcome.reason == HOPELESS:
            self.study.prune(turn, seconds=seconds)
            self._failures.clear()
            self._write_findings()
            self.display.show_end(turn.number, "pruned")
        elif nats is None:
            self._fail(turn, "no loss is a finite number")
        else:
            self.study.complete(turn, nats, seconds=seconds)
            self._failures.clear()
            self._write_findings()
            self.display.show_end(turn.number, f"{nats:.4f} nats per character")

    def _fail(self, turn: Turn, reason: str) -> None:
        self.study.fail(turn, reason)
        self.display.show_end(turn.number, f"failed: {reason}")
        self._failures.append(reason)
        if len(self._failures) >= MAX_FAILURES:
            raise CharlmError(f"{self.study.out}: the last {MAX_FAILURES} trials have failed; the last one: {reason}")

    def _write_findings(self) -> None:
        """Write the recipe of the best trial of the whole study, and a picture of all trials."""
        with taking_turns(self.study.out / TURN):
            trials = self.study.trials()
            best = _best(trials)
            if best is not None:
                path = self.study.out / BEST_FILE
                head = self._describe_best(best, trials, path)
                write_recipe(path, self.place.space, best.user_attrs[SETTINGS], head=head)
                write_picture(self.study.out, draw_search(trials, self.place.space.search))
                self.display.show_best(best.number, best.value or 0.0)

    def _describe_best(self, best: FrozenTrial, trials: list[FrozenTrial], path: Path) -> list[str]:
        ended = sum(trial.state in {TrialState.COMPLETE, TrialState.PRUNED} for trial in trials)
        lines = [
            f"{self.command} -c {shlex.quote(str(path))}",
            f"Trial {best.number} of {ended} of a search over {self.place.space.path.name}: {best.value:.4f} nats per "
            f"character",
            f"on the validation text, after {best.user_attrs[SECONDS]:.1f} s of training.",
        ]
        first = trials[0]
        values = values_of_recipe(self.place.space)
        if first.state == TrialState.COMPLETE and first.params == values and first.number != best.number:
            lines.append(f"The recipe that the search began with has {first.value:.4f} at equal time.")
        return [harmless(line) for line in lines]

    def result(self, reason: str, *, signal: Signals | None = None) -> SearchResult:
        """Return what the search has found by now, and why it ended."""
        trials = self.study.trials()
        best = _best(trials)
        return SearchResult(
            out=self.study.out,
            recipe=self.study.out / BEST_FILE,
            best=None if best is None else self._summarize(best),
            trials=tuple(map(self._summarize, trials)),
            reason=reason,
            signal=signal,
        )

    def _summarize(self, trial: FrozenTrial) -> TrialSummary:
        return TrialSummary(
            number=trial.number,
            state=STATES[trial.state],
            nats_per_char=trial.value,
            seconds=trial.user_attrs.get(SECONDS),
            values=trial.params,
            run=self.study.folder(trial.number) if self.study.is_here(trial) else None,
            error=trial.user_attrs.get(ERROR),
        )


def _best(trials: list[FrozenTrial]) -> FrozenTrial | None:
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]
    return min(complete, key=lambda trial: (trial.value, trial.number), default=None)
