"""The search: one trial after the other until the time is over, there are enough, or there is nothing left to try.

It may end at any moment, also by a kill. The next search in the same folder then runs the trial in training again.

A trial is an ordinary run of a recipe with some values, which is evaluated at equal parts of its length. Some steps of
the network are timed before it, so that all trials train for the same time. The number of steps that follows from it is
kept in the config of the trial. So a trial can be repeated, which one that ends by the clock cannot, and its learning
rates fall to their end. Proposing values is left to `charlm.tuning.study`.
"""

import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals
from typing import Any

from optuna.trial import FrozenTrial, Trial, TrialState

from charlm.config.yaml import dump_yaml
from charlm.errors import CharlmError, escape_controls
from charlm.runs.run import begin_run, scratch_run
from charlm.storage.atomic import write_file
from charlm.text.corpus import Corpus
from charlm.training.checkpoints import Progress
from charlm.training.interface import Engine, EngineFactory
from charlm.training.loop import Outcome
from charlm.training.preparation import Preparation, prepare
from charlm.training.schedule import mean_growth
from charlm.training.signals import Session
from charlm.training.timing import EVALUATED_SHARE, STEP_SECONDS, TIMED_SHARE, Estimate, estimate
from charlm.training.trainer import train_run
from charlm.tuning.space import Space
from charlm.tuning.study import ENDED, ERROR, SECONDS, VALUES, Study

BEST_FILE = "best.yaml"
MAX_FAILURES = 3
"""Trials that fail one after the other, after which something must be wrong with all of them."""
HOPELESS, TIME_IS_OVER = "pruned: worse than the median of the other trials so far", "the time is over"
NO_TIME_LEFT = "another trial would not fit into the time"
NOTHING_LEFT, ENOUGH = "nothing is left to try", "enough trials"
EVALUATIONS, FEWEST_EVALUATIONS = 10, 4
"""In a whole trial, at most and at least."""


@dataclass(frozen=True)
class TrialSummary:
    """A trial of a search."""

    number: int
    state: str
    """complete, pruned, running, waiting or fail."""
    nats_per_char: float | None
    """The lowest loss of a complete trial, the last one of a pruned trial."""
    seconds: float | None
    """Of training alone; None = not known yet."""
    settings: Mapping[str, Any]
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
    recipe: Path | None
    """The file of the best recipe; None = no trial is complete."""
    best: TrialSummary | None
    """Its trial."""
    trials: tuple[TrialSummary, ...]
    """All trials of the study."""
    reason: str
    """Why it ended, for the user."""
    signal: Signals | None
    """The signal that ended it, or None."""


def prepare_trial(
    space: Space, values: Mapping[str, Any], corpus: Corpus, engines: EngineFactory, *, scratch: Path, session: Session
) -> Preparation:
    """Settle a trial, all but its length.

    Its text is not sampled, since that takes time and nobody reads it, and a search ends hopeless trials itself.

    Args:
        space: What is searched.
        values: The values that are tried, by dotted keys.
        corpus: The text.
        engines: Makes the engines.
        scratch: A folder; nothing is written there, as there is a corpus.
        session: Of a `stop_on_signal` block.

    Raises:
        CharlmError: the values are not valid together, or this machine cannot use them.

    """
    return prepare(
        corpus,
        recipe=space.recipe,
        overrides=space.overrides({**values, "training.early_stopping": None, "sampling.length": 0}),
        scratch=scratch,
        engines=engines,
        session=session,
    )


def length_of_trial(prepared: Preparation, found: Estimate, seconds: float) -> dict[str, int]:
    """Return the settings of the section training that make a trial train for some seconds, its teachers included.

    It is evaluated at equal parts of its length, as often as that costs little, and saved once, at its end.
    """
    training, costs = prepared.config.training, found.costs
    afforded = EVALUATED_SHARE * seconds / max(costs.evaluation_seconds, 1e-9)
    evaluations = max(FEWEST_EVALUATIONS, int(min(EVALUATIONS, afforded)))
    steps = round((seconds - found.teacher_seconds) / costs.step_seconds / mean_growth(training))
    steps = max(evaluations, steps)
    return {"steps": steps, "evaluate_every": -(-steps // evaluations), "checkpoint_every": steps}


@dataclass
class Search:
    """A search in progress.

    Args:
        study: Its trials.
        corpus: The text.
        engines: Makes the engine of each trial.
        session: Its user, from a `stop_on_signal` block.
        command: What trains on the same text with a recipe, without the recipe.
        seconds: The time that the search has.
        trial_seconds: How long each trial trains, without evaluations and start-up.
        trials: The number of trials that the study may have; None = any.
        estimate: Finds out how long a trial takes.
        clock: Returns the time in seconds.

    """

    study: Study
    corpus: Corpus
    engines: EngineFactory
    session: Session
    command: str
    seconds: float
    trial_seconds: float
    trials: int | None = None
    estimate: Callable[..., Estimate] = estimate
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
        self.study.enqueue_unfinished()
        self._write_best()
        while True:
            if self.clock() + self._longest_seconds > deadline:
                return self.result(TIME_IS_OVER if self.clock() > deadline else NO_TIME_LEFT)
            if self.trials is not None and sum(trial.state in ENDED for trial in self.study.trials()) >= self.trials:
                return self.result(ENOUGH)
            trial = self.study.next_trial()
            if trial is None:
                return self.result(NOTHING_LEFT)
            started = self.clock()
            outcome = self._train(trial, deadline)
            if outcome is not None:
                if outcome.signal is not None:
                    return self.result(outcome.reason, signal=outcome.signal)
                if outcome.reason == TIME_IS_OVER:
                    return self.result(TIME_IS_OVER)
                self._longest_seconds = max(self._longest_seconds, self.clock() - started)

    def _train(self, trial: Trial, deadline: float) -> Outcome | None:
        """Train a trial and tell the study how it ended; return None if it has failed."""
        space, session = self.study.space, self.session
        session.reason = None
        values = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in trial.params.items()}
        tried = ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in values.items())
        session.say(f"trial {trial.number}: {tried}")
        folder = self.study.folder(trial.number)
        try:
            with scratch_run(folder) as scratch, session.silent():
                prepared = prepare_trial(
                    space, trial.params, self.corpus, self.engines, scratch=scratch, session=session
                )
                engine = prepared.new_engine(self.engines, session=session)
                training = prepared.config.training.model_copy(update=self._length(prepared, engine))
                config = prepared.config.model_copy(update={"training": training.with_steps(training.steps or 1)})
                run = begin_run(folder, config, self.corpus, scratch=scratch)
            steps = config.training.steps or 1

            def watch(progress: Progress, nats: float) -> None:
                """Report an evaluation to the study, and end a trial that is hopeless."""
                trial.report(nats, round(EVALUATIONS * progress.step / steps))  # each of them once
                if progress.step < steps and trial.should_prune():
                    session.reason = HOPELESS

            def watch_time(step: int, _nats: float) -> None:
                """End a trial that the time is not enough for."""
                if step < steps and self.clock() >= deadline:
                    session.reason = TIME_IS_OVER

            session.on_evaluation, session.on_step = watch, watch_time
            with session.silent():
                outcome = train_run(run, self.engines, engine=engine, session=session)
        except CharlmError as error:
            if isinstance(error.__cause__, OSError):  # of the machine, not of the values: they are tried again
                raise
            self._fail(trial, str(error))
            return None
        self._tell(trial, outcome)
        return outcome

    def _length(self, prepared: Preparation, engine: Engine) -> dict[str, int]:
        """Return the settings of a trial that decide its length, from steps that are timed."""
        timed = min(STEP_SECONDS, TIMED_SHARE * self.trial_seconds)
        found = self.estimate(
            prepared.config, self.corpus, engine, self.engines, session=self.session, step_seconds=timed
        )
        return length_of_trial(prepared, found, self.trial_seconds)

    def _tell(self, trial: Trial, outcome: Outcome) -> None:
        """Tell the study and the user how a trial ended; one that is run again has not ended."""
        if outcome.signal is not None or outcome.reason == TIME_IS_OVER:
            self.session.say(f"trial {trial.number}: not at its end; the next search in this folder runs it again")
            return
        seconds, nats = outcome.progress.seconds, outcome.nats_per_char
        if outcome.reason != HOPELESS and nats is None:
            self._fail(trial, "no loss is a finite number")
            return
        if outcome.reason == HOPELESS:
            self.study.end(trial, TrialState.PRUNED, {SECONDS: seconds})
        else:
            self.study.end(trial, TrialState.COMPLETE, {VALUES: trial.params, SECONDS: seconds}, nats=nats)
        self._failures.clear()
        best = self._write_best()
        result = "pruned" if outcome.reason == HOPELESS else f"{nats:.4f} nats per character"
        self.session.say(f"trial {trial.number}: {result}{best}")

    def _fail(self, trial: Trial, reason: str) -> None:
        self.study.end(trial, TrialState.FAIL, {ERROR: reason})
        self.session.say(f"trial {trial.number}: failed: {reason}")
        self._failures.append(reason)
        if len(self._failures) >= MAX_FAILURES:
            raise CharlmError(f"{self.study.out}: the last {MAX_FAILURES} trials have failed; the last one: {reason}")

    def _write_best(self) -> str:
        """Write the recipe of the best trial of the whole study; return what to say of it."""
        trials, space, path = self.study.trials(), self.study.space, self.study.out / BEST_FILE
        best = _best(trials)
        if best is None:
            return ""
        ended = sum(trial.state in ENDED for trial in trials)
        head = (
            f"{self.command} -c {shlex.quote(str(path))}",
            f"Trial {best.number} of {ended} of a search over {space.path.name}: {best.value:.4f} nats per character",
            f"on the validation text, after {best.user_attrs[SECONDS]:.1f} s of training. It trains as long as "
            f"{space.recipe.stem} does; --minutes N takes another time.",
        )
        values = space.config(best.user_attrs[VALUES]).model_dump(mode="json", exclude_defaults=True)
        write_file(path, ("".join(f"# {escape_controls(line)}\n" for line in head) + dump_yaml(values)).encode())
        return f"; best {best.value:.4f} (trial {best.number})"

    def result(self, reason: str, *, signal: Signals | None = None) -> SearchResult:
        """Return what the search has found by now, and why it ended."""
        trials = self.study.trials()
        best = _best(trials)
        if best is None:
            reason += " before a trial was complete"
        return SearchResult(
            out=self.study.out,
            recipe=None if best is None else self.study.out / BEST_FILE,
            best=None if best is None else self._summarize(best),
            trials=tuple(map(self._summarize, trials)),
            reason=reason,
            signal=signal,
        )

    def _summarize(self, trial: FrozenTrial) -> TrialSummary:
        return TrialSummary(
            number=trial.number,
            state=trial.state.name.lower(),
            nats_per_char=trial.value,
            seconds=trial.user_attrs.get(SECONDS),
            settings=trial.params,
            run=self.study.folder(trial.number),
            error=trial.user_attrs.get(ERROR),
        )


def _best(trials: list[FrozenTrial]) -> FrozenTrial | None:
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]
    return min(complete, key=lambda trial: (trial.value, trial.number), default=None)
