"""The search: one trial after the other until the time is over, there are enough, or there is nothing left to try.

It may end at any moment, also by a kill. The next search in the same folder then runs the trial in training again.
"""

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from charlm.config.yaml import dump_yaml
from charlm.errors import CharlmError, harmless
from charlm.storage.atomic import write_file
from charlm.storage.locks import taking_turns
from charlm.text.corpus import Corpus
from charlm.training.checkpoints import Progress
from charlm.training.engine import EngineFactory
from charlm.training.loop import Outcome
from charlm.training.signals import Session
from charlm.tuning.space import Space, values_of_recipe
from charlm.tuning.study import ERROR, SECONDS, SETTINGS, TURN, Study, Turn
from charlm.tuning.trial import TimeStep, evaluation_index, plan_trial, time_step, train_trial

BEST_FILE = "best.yaml"
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
    run: Path
    """The folder of its run."""
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


@dataclass
class Search:
    """A search in progress.

    Args:
        study: Its trials.
        corpus: The text.
        make_engine: Makes the engine of each trial.
        session: Its user, from a `stop_on_signal` block.
        command: What trains on the same text with a recipe, without the recipe.
        seconds: The time that the search has.
        trial_seconds: How long each trial trains, without evaluations and start-up.
        trials: The number of trials that the study may have; None = any.
        time_step: Returns how long a step takes.
        clock: Returns the time in seconds.

    """

    study: Study
    corpus: Corpus
    make_engine: EngineFactory
    session: Session
    command: str
    seconds: float
    trial_seconds: float
    trials: int | None = None
    time_step: TimeStep = time_step
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
        self._write_best()
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
        space, session = self.study.space, self.session
        session.reason = None
        tried = ", ".join(f"{key.rpartition('.')[2]} {_short(value)}" for key, value in turn.values.items())
        session.say(f"trial {turn.number}: {tried}")
        try:
            settings, engine = plan_trial(
                space,
                turn.values,
                self.corpus,
                self.make_engine,
                seconds=self.trial_seconds,
                session=session,
                time_step=self.time_step,
            )

            def watch(progress: Progress, nats: float) -> None:
                """Report an evaluation to the study, and end a trial that is hopeless."""
                is_hopeless = self.study.report(turn, evaluation_index(progress.step, settings), nats)
                if progress.step >= settings["training.steps"]:
                    return
                if is_hopeless:
                    session.reason = HOPELESS
                elif self.clock() >= deadline:
                    session.reason = TIME_IS_OVER

            session.on_evaluation = watch
            folder = self.study.folder(turn.number)
            outcome = train_trial(folder, space, settings, self.corpus, engine, session=session)
        except CharlmError as error:
            self._fail(turn, str(error))
            return None
        self._tell(turn, outcome, settings)
        return outcome

    def _tell(self, turn: Turn, outcome: Outcome, settings: Mapping[str, Any]) -> None:
        """Tell the study and the user how a trial ended; one that is run again has not ended."""
        if outcome.signal is not None or outcome.reason == TIME_IS_OVER:
            return
        seconds, nats = outcome.progress.seconds, outcome.progress.best_nats
        if outcome.reason != HOPELESS and nats is None:
            self._fail(turn, "no loss is a finite number")
            return
        if outcome.reason == HOPELESS:
            self.study.prune(turn, seconds=seconds)
        else:
            self.study.complete(turn, nats or 0.0, seconds=seconds, settings=settings)
        self._failures.clear()
        best = self._write_best()
        result = "pruned" if outcome.reason == HOPELESS else f"{nats:.4f} nats per character"
        self.session.say(f"trial {turn.number}: {result}{best}")

    def _fail(self, turn: Turn, reason: str) -> None:
        self.study.fail(turn, reason)
        self.session.say(f"trial {turn.number}: failed: {reason}")
        self._failures.append(reason)
        if len(self._failures) >= MAX_FAILURES:
            raise CharlmError(f"{self.study.out}: the last {MAX_FAILURES} trials have failed; the last one: {reason}")

    def _write_best(self) -> str:
        """Write the recipe of the best trial of the whole study; return what to say of it."""
        with taking_turns(self.study.out / TURN):
            trials = self.study.trials()
            best = _best(trials)
            if best is None:
                return ""
            path = self.study.out / BEST_FILE
            head = self._describe_best(best, trials, path)
            write_recipe(path, self.study.space, best.user_attrs[SETTINGS], head=head)
            return f"; best {best.value:.4f} (trial {best.number})"

    def _describe_best(self, best: FrozenTrial, trials: list[FrozenTrial], path: Path) -> list[str]:
        space = self.study.space
        ended = sum(trial.state in {TrialState.COMPLETE, TrialState.PRUNED} for trial in trials)
        lines = [
            f"{self.command} -c {shlex.quote(str(path))}",
            f"Trial {best.number} of {ended} of a search over {space.path.name}: {best.value:.4f} nats per character",
            f"on the validation text, after {best.user_attrs[SECONDS]:.1f} s of training.",
        ]
        first = trials[0]
        is_recipe = first.state == TrialState.COMPLETE and first.params == values_of_recipe(space)
        if is_recipe and first.number != best.number:
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
            run=self.study.folder(trial.number),
            error=trial.user_attrs.get(ERROR),
        )


def _best(trials: list[FrozenTrial]) -> FrozenTrial | None:
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]
    return min(complete, key=lambda trial: (trial.value, trial.number), default=None)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_recipe(path: Path, space: Space, settings: Mapping[str, Any], *, head: Sequence[str]) -> None:
    """Write the recipe of a trial: what differs from the defaults, below some lines of comment.

    Args:
        path: The file; an old one is replaced.
        space: What is searched.
        settings: What differs from its recipe, by dotted keys.
        head: The lines, each without a line break.

    Raises:
        CharlmError: the file cannot be written.

    """
    values = space.config(settings).model_dump(mode="json", exclude_defaults=True)
    comment = "".join(f"# {line}\n" for line in head)
    write_file(path, (comment + dump_yaml(values)).encode())
