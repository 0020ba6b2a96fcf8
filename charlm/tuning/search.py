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

from charlm.config.schema import Config
from charlm.config.yaml import dump_yaml
from charlm.errors import CharlmError, harmless
from charlm.runs.run import begin_run, folder_aside
from charlm.storage.atomic import write_file
from charlm.storage.locks import only_writer
from charlm.text.corpus import Corpus
from charlm.training import loop
from charlm.training.checkpoints import Progress
from charlm.training.engine import Engine, EngineFactory
from charlm.training.loop import Outcome, new_engine
from charlm.training.parts import fill_parts
from charlm.training.schedule import mean_growth
from charlm.training.signals import Session
from charlm.training.timing import STEP_SECONDS, measure
from charlm.tuning.space import Space
from charlm.tuning.study import ENDED, ERROR, SECONDS, SETTINGS, Study

BEST_FILE = "best.yaml"
MAX_FAILURES = 3
"""Trials that fail one after the other, after which something must be wrong with all of them."""
HOPELESS, TIME_IS_OVER = "pruned: worse than the median of the other trials so far", "the time is over"
NOTHING_LEFT, ENOUGH = "nothing is left to try", "enough trials"
EVALUATIONS = 10
"""In a whole trial."""
TIMED_SHARE = 0.05
"""The share of the time of a trial for which steps are timed, at most."""
TimeStep = Callable[[Config, Corpus, Engine, Session, float], float]
"""Returns how long a step takes, from steps that are taken for some seconds and undone."""


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


def time_step(config: Config, corpus: Corpus, engine: Engine, session: Session, seconds: float) -> float:
    """Return how long a step of a trial takes; a `TimeStep`, which raises as `charlm.training.timing.measure`."""
    return measure(config, corpus, engine, session=session, step_seconds=seconds).step_seconds


def plan_trial(
    space: Space,
    values: Mapping[str, Any],
    corpus: Corpus,
    make_engine: EngineFactory,
    *,
    seconds: float,
    session: Session,
    time_step: TimeStep = time_step,
) -> tuple[dict[str, Any], Engine]:
    """Decide the length of a trial.

    Args:
        space: What is searched.
        values: The values that are tried, by dotted keys.
        corpus: The text.
        make_engine: Makes the engine.
        seconds: How long the trial is to train, without evaluations and start-up.
        session: Of a `stop_on_signal` block.
        time_step: Returns how long a step takes.

    Returns:
        The settings that differ from the recipe, by dotted keys (the values, the length, and the fixed ones), and the
        engine in its first state.

    Raises:
        CharlmError: the values are not valid together, or the engine cannot use them.
        Stopped: a signal came.

    """
    config = _config(space, {**values, **_length(EVALUATIONS)})
    engine = new_engine(config, corpus, make_engine, say=lambda _: None)
    step_seconds = time_step(config, corpus, engine, session, min(STEP_SECONDS, TIMED_SHARE * seconds))
    steps = max(EVALUATIONS, round(seconds / step_seconds / mean_growth(config.training)))
    return {**space.fixed, **values, **_length(steps)}, engine


def _config(space: Space, settings: Mapping[str, Any]) -> Config:
    """Return the config of a trial; texts are not sampled, since they take time, and nobody reads them."""
    return fill_parts(space.config({**settings, "sampling.length": 0}))


def _length(steps: int) -> dict[str, Any]:
    """Return the settings of a run of some steps: evaluated at equal parts of it, and saved once, at its end."""
    every = -(-steps // EVALUATIONS)
    return {
        "training.epochs": None,
        "training.steps": steps,
        "training.early_stopping": None,
        "training.evaluate_every": every,
        "training.checkpoint_every": steps,
    }


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
            CharlmError: another process searches in the folder, several trials in a row have failed, or a file cannot
                be written.
            Stopped: a signal came while nothing was trained.

        """
        with only_writer(self.study.out):
            return self._run(deadline=self.clock() + self.seconds)

    def _run(self, deadline: float) -> SearchResult:
        self.study.enqueue_unfinished()
        self._write_best()
        while True:
            if self.clock() + self._longest_seconds > deadline:
                return self.result(TIME_IS_OVER)
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
        try:
            settings, engine = plan_trial(
                space,
                trial.params,
                self.corpus,
                self.make_engine,
                seconds=self.trial_seconds,
                session=session,
                time_step=self.time_step,
            )

            def watch(progress: Progress, nats: float) -> None:
                """Report an evaluation to the study, and end a trial that is hopeless."""
                evaluation = -(-progress.step // settings["training.evaluate_every"])  # 1 to EVALUATIONS
                trial.report(nats, evaluation)
                if progress.step >= settings["training.steps"]:
                    return
                if trial.should_prune():
                    session.reason = HOPELESS
                elif self.clock() >= deadline:
                    session.reason = TIME_IS_OVER

            session.on_evaluation = watch
            folder = self.study.folder(trial.number)
            with folder_aside(folder) as aside:
                run = begin_run(folder, _config(space, settings), self.corpus, aside=aside)
            with session.silent():
                outcome = loop.train(run, engine, resume=False, session=session)
        except CharlmError as error:
            self._fail(trial, str(error))
            return None
        self._tell(trial, outcome, settings)
        return outcome

    def _tell(self, trial: Trial, outcome: Outcome, settings: Mapping[str, Any]) -> None:
        """Tell the study and the user how a trial ended; one that is run again has not ended."""
        if outcome.signal is not None or outcome.reason == TIME_IS_OVER:
            return
        seconds, nats = outcome.progress.seconds, outcome.progress.best_nats
        if outcome.reason != HOPELESS and nats is None:
            self._fail(trial, "no loss is a finite number")
            return
        if outcome.reason == HOPELESS:
            self.study.end(trial, TrialState.PRUNED, {SECONDS: seconds})
        else:
            self.study.end(trial, TrialState.COMPLETE, {SETTINGS: dict(settings), SECONDS: seconds}, nats=nats)
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
            f"Trial {best.number} of {ended} of a search over {space.path.name}: {best.value:.4f} nats a character",
            f"on the validation text, after {best.user_attrs[SECONDS]:.1f} s of training.",
        )
        values = space.config(best.user_attrs[SETTINGS]).model_dump(mode="json", exclude_defaults=True)
        write_file(path, ("".join(f"# {harmless(line)}\n" for line in head) + dump_yaml(values)).encode())
        return f"; best {best.value:.4f} (trial {best.number})"

    def result(self, reason: str, *, signal: Signals | None = None) -> SearchResult:
        """Return what the search has found by now, and why it ended."""
        trials = self.study.trials()
        best = _best(trials)
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
