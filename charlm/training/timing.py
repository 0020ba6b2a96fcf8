"""How long a run takes on this machine, from a few steps that are timed and then undone.

    seconds(S) = S * step + ceil(S / E) * evaluation + saved(S) * checkpoint

S steps, an evaluation every E of them, and saved(S) checkpoints: at the start, every C of them, at each evaluation. If
windows grow, S steps take as long as the characters that they read do in steps of `sequence_length`. The figures are
those of this machine under its present load.
"""

import bisect
import contextlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from charlm.config.schema import Config, TrainingConfig
from charlm.errors import CharlmError, counted
from charlm.evaluation.scoring import ids_read
from charlm.runs.folder import METRICS_FILE
from charlm.runs.run import Run
from charlm.storage.files import temporary_folder
from charlm.text.corpus import Corpus
from charlm.training.checkpoints import Progress
from charlm.training.interface import Engine, EngineFactory
from charlm.training.loop import Training
from charlm.training.preparation import Preparation, gives_length, new_engine, settle
from charlm.training.schedule import evaluation_period, make_schedule, mean_growth
from charlm.training.signals import Session
from charlm.training.soft_targets import NGRAM_PARTS, cross_predict
from charlm.training.steps import DivergenceError

STEP_SECONDS = 3.0
"""How long steps are timed, at least."""
TIMED_SHARE = 0.05
"""The share of the time of a run for which steps are timed, at most."""
EVALUATED_SHARE = 0.2
"""The share of the time of a run of some minutes that its evaluations should take at most."""
TIMED_CHARACTERS = 20_000
"""How much of the validation text is scored to time an evaluation, and the least that an evaluation is reduced to."""
FEW_STEPS = 200
"""With fewer steps, a network learns little more than how often each character occurs."""
MAX_STEPS = 1_000_000_000
"""The largest number of steps that a config takes."""


@dataclass(frozen=True)
class Costs:
    """How long each part of a run takes, in seconds."""

    step_seconds: float
    """One step of `sequence_length` characters, with the reading of its windows."""
    evaluation_seconds: float
    """One evaluation, with the sample and the log."""
    checkpoint_seconds: float
    """One checkpoint, with the models of the run."""
    start_seconds: float
    """Building the engine, and its first call."""

    def run_seconds(self, settings: TrainingConfig, steps: int, *, fewest: int = 0) -> float:
        """Return how long a run takes after its start.

        Args:
            settings: Decide how often the run is evaluated and saved.
            steps: The steps of the whole run, 0 or more.
            fewest: The evaluations that it gets at least.

        """
        period = evaluation_period(settings, steps, fewest=fewest)
        evaluations, saves = -(-steps // period), settings.checkpoint_every
        before = max(0, steps - 1)  # the last step is saved in any case
        checkpoints = 1 + before // saves + before // period - before // math.lcm(saves, period) + (steps > 0)
        training = steps * mean_growth(settings) * self.step_seconds
        return training + evaluations * self.evaluation_seconds + checkpoints * self.checkpoint_seconds

    def steps_within(self, settings: TrainingConfig, seconds: float, *, fewest: int = 0) -> int:
        """Return the largest number of steps for which `run_seconds` is at most `seconds`; 0 = not even one.

        If the period of the evaluations grows with the number of steps, a longer run may take less time. Among the
        steps with the same period it does not: each such span is searched, the last one first. The last is that of the
        steps that would fit without evaluations.
        """
        without = replace(self, evaluation_seconds=0.0)
        last = bisect.bisect_right(range(1, MAX_STEPS), seconds, key=lambda steps: without.run_seconds(settings, steps))
        while last:
            period = evaluation_period(settings, last, fewest=fewest)
            span = range(1, last + 1)
            first = bisect.bisect_left(span, period, key=lambda n: evaluation_period(settings, n, fewest=fewest))
            span = span[first:]
            if count := bisect.bisect_right(
                span, seconds, key=lambda steps: self.run_seconds(settings, steps, fewest=fewest)
            ):
                return span[count - 1]
            last = first
        return 0


def measure(
    config: Config,
    corpus: Corpus,
    engine: Engine,
    *,
    session: Session,
    step_seconds: float = STEP_SECONDS,
    clock: Callable[[], float] = time.perf_counter,
) -> Costs:
    """Take some steps of a run, evaluate and save it, all in a temporary folder that is removed.

    The engine is then set back: a run that uses it ends with the same bytes as one with a new engine.

    Args:
        config: Every setting of the run; `training.parts` is a number.
        corpus: Its text.
        engine: The engine of the run, in its first state.
        session: Of a `stop_on_signal` block; a signal ends the measurement at once. Nothing is said.
        step_seconds: How long to take steps, at least. The first call of the engine comes before that.
        clock: Returns the time in seconds.

    Raises:
        CharlmError: the temporary folder cannot be written.
        Stopped: a signal came.

    """
    evaluated = _evaluated_characters(config, corpus)
    timed = min(evaluated, TIMED_CHARACTERS)
    endless = config.training.with_steps(MAX_STEPS).model_copy(update={"evaluate_characters": max(2, timed)})
    with temporary_folder() as folder, session.at_once():
        started = clock()
        (folder / METRICS_FILE).touch()
        training = Training(
            Run(folder, config.model_copy(update={"training": endless}), corpus),
            engine,
            session=Session(),
            clock=clock,
        )
        with contextlib.closing(training.recorder.outputs):
            training.prepare(resume=False)
            first_state = engine.tensors()
            schedule = training.schedule
            training.progress.step = next(phase.first for phase in schedule.phases if phase.batches == schedule.batches)
            _time_steps(training, 0.0, clock)  # the first call is slower than the others
            start = clock() - started
            step = _time_steps(training, step_seconds, clock)
            engine.restore(first_state)
            checkpoint, evaluation = _time_records(training, clock)
    return Costs(step, evaluation * ids_read(evaluated) / ids_read(timed), checkpoint, start)


def _evaluated_characters(config: Config, corpus: Corpus) -> int:
    return min(len(corpus.split("validation")), config.training.evaluate_characters)


def check_minutes(minutes: float, overrides: Mapping[str, Any]) -> None:
    """Check the minutes that a run is to take.

    Args:
        minutes: More than 0.
        overrides: Settings by sections; they must leave the length of the run alone.

    Raises:
        CharlmError: the minutes are not a number more than 0, or an override gives the length.

    """
    if not 0 < minutes < math.inf:
        raise CharlmError(f"minutes: found {minutes:g}; must be a finite number above 0")
    if key := gives_length(overrides):
        raise CharlmError(f"minutes {minutes:g}: decides {key}, which an override gives as well; leave one of them out")


@dataclass(frozen=True)
class Estimate:
    """How long a run takes on this machine."""

    costs: Costs
    """Of the run itself."""
    teacher_seconds: float
    """The teachers that the run trains first, and their reading of the text; 0 = it trains none."""
    ngram_seconds: float = 0.0
    """Counting the n-grams that the run learns from; 0 = there are none."""

    @property
    def seconds_before(self) -> float:
        """What comes before the first step of the run, beside its start."""
        return self.teacher_seconds + self.ngram_seconds

    def steps_within(self, prepared: Preparation, seconds: float) -> int:
        """Return the largest number of steps with which the run and its teachers take at most `seconds`; 0 = none."""
        settings, fewest = prepared.config.training, prepared.fewest_evaluations
        return self.costs.steps_within(settings, seconds - self.seconds_before, fewest=fewest)

    def run_seconds(self, prepared: Preparation, steps: int) -> float:
        """Return how long the run and what comes before it take with some steps."""
        settings, fewest = prepared.config.training, prepared.fewest_evaluations
        return self.seconds_before + self.costs.run_seconds(settings, steps, fewest=fewest)


def afford_evaluations(
    prepared: Preparation, found: Estimate, engines: EngineFactory, *, seconds: float
) -> tuple[Preparation, Estimate]:
    """Let evaluations read less of the validation text if they would take too much of the time of a run.

    Args:
        prepared: The run; if the user has said how often it is evaluated, nothing is changed.
        found: How long it takes.
        engines: The machines that train it; they do what the chief says.
        seconds: For the run and its teachers.

    Returns:
        Both, with a smaller `training.evaluate_characters`, or as they were.

    """
    length, one = _evaluated_characters(prepared.config, prepared.corpus), found.costs.evaluation_seconds
    most = EVALUATED_SHARE * max(0.0, seconds - found.seconds_before)
    least, characters = min(length, TIMED_CHARACTERS), length
    if prepared.fewest_evaluations * one > most:
        fitting = ids_read(length) * most / (prepared.fewest_evaluations * one) - (ids_read(length) - length)
        characters = max(least, int(fitting))
    characters = engines.share(characters)
    if characters == length:
        return prepared, found
    costs = replace(found.costs, evaluation_seconds=one * ids_read(characters) / ids_read(length))
    training = prepared.config.training.model_copy(update={"evaluate_characters": characters})
    config = prepared.config.model_copy(update={"training": training})
    return replace(prepared, config=config), replace(found, costs=costs)


def estimate(
    config: Config,
    corpus: Corpus,
    engine: Engine,
    engines: EngineFactory,
    *,
    session: Session,
    step_seconds: float = STEP_SECONDS,
    clock: Callable[[], float] = time.perf_counter,
) -> Estimate:
    """Find out how long a run takes, its teachers included, from a few steps that are timed and undone.

    The arguments and errors are those of `measure`, and `engines` makes the engine of a teacher.
    """
    timed: dict[str, Any] = {"session": session, "step_seconds": step_seconds, "clock": clock}
    costs = measure(config, corpus, engine, **timed)
    teachers = teacher_seconds(config, corpus, engines, **timed)
    return Estimate(costs, teachers, time_ngrams(config, corpus, clock=clock))


def fit_to_minutes(
    prepared: Preparation,
    engine: Engine,
    engines: EngineFactory,
    *,
    minutes: float | None,
    started: float,
    session: Session,
    clock: Callable[[], float] = time.perf_counter,
) -> Config:
    """Return the config with the steps that fit into the minutes, in place of the length that it gave.

    Args:
        prepared: What trains.
        engine: Its engine, in its first state.
        engines: Makes the engine of a teacher.
        minutes: What the user asks for, from `started` on; None = those that the recipe is advised with, from now on,
            and as long as the config says if there are none.
        started: When the program began, in seconds of the clock.
        session: Of a `stop_on_signal` block.
        clock: Returns the time in seconds.

    Raises:
        CharlmError: the minutes that the user asks for are too short for a step.
        Stopped: a signal came.

    """
    config, total = prepared.config, minutes or prepared.advised_minutes
    if total is None:
        return config
    begin = clock() if minutes is None else started
    timed = min(STEP_SECONDS, 60 * total * TIMED_SHARE)
    found = estimate(config, prepared.corpus, engine, engines, session=session, step_seconds=timed, clock=clock)
    seconds = 60 * total - (spent := clock() - begin)
    prepared, found = afford_evaluations(prepared, found, engines, seconds=seconds)
    steps = engines.share(found.steps_within(prepared, seconds))
    if minutes is None:
        steps = max(steps, FEW_STEPS)
    if steps == 0:
        needed = spent + found.run_seconds(prepared, 1)
        raise CharlmError(f"minutes {total:g}: the start and one step take {needed / 60:.2g} min; give more")
    settings = prepared.with_steps(steps)
    epochs = make_schedule(settings, engine.batches).epochs(steps)
    session.say(
        f"{total:g} min: {counted(steps, 'step')} of {1000 * found.costs.step_seconds:.3g} ms, "
        f"{epochs:.3g} epochs, in place of the length in the config"
    )
    if (characters := settings.evaluate_characters) < config.training.evaluate_characters:
        session.say(
            f"evaluations read {characters:,} characters (training.evaluate_characters), so as to take less time"
        )
    if steps < FEW_STEPS:
        enough = (spent + found.run_seconds(prepared, FEW_STEPS)) / 60
        longer = f"--minutes {math.ceil(10 * enough) / 10:g}"
        session.say(f"{counted(steps, 'step')} will teach the network little; {longer} would allow {FEW_STEPS}")
    return prepared.config.model_copy(update={"training": settings})


def teacher_seconds(
    config: Config,
    corpus: Corpus,
    engines: EngineFactory,
    *,
    session: Session,
    step_seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return how long the teachers take that a run would train, and their reading of the text; 0 = there are none.

    A few steps of one are timed. Reading the training text takes as long as evaluating so many characters.

    Args:
        config: Every setting of the run.
        corpus: Its text.
        engines: Makes the engine.
        session: Of a `stop_on_signal` block; nothing is said.
        step_seconds: How long to time steps, at least.
        clock: Returns the time in seconds.

    Raises:
        CharlmError: what `new_engine` and `measure` raise.
        Stopped: a signal came.

    """
    seeds = config.training.own_teachers
    if not seeds:
        return 0.0
    with session.silent():
        teacher = settle(config.of_teacher(seeds[0]), corpus, engines=engines, is_recorded=True, say=session.say)
        engine = new_engine(teacher, corpus, engines, session=session)
    costs = measure(teacher, corpus, engine, session=session, step_seconds=step_seconds, clock=clock)
    steps = make_schedule(teacher.training, engine.batches).total
    evaluated = _evaluated_characters(config, corpus)
    reading = costs.evaluation_seconds * len(corpus.split("train")) / evaluated if evaluated else 0.0
    return len(seeds) * (costs.start_seconds + costs.run_seconds(teacher.training, steps) + reading)


def time_ngrams(config: Config, corpus: Corpus, *, clock: Callable[[], float] = time.perf_counter) -> float:
    """Return how long the n-grams take that a run would learn from, by one of their parts; 0 = it has none."""
    ids, started = corpus.split("train"), clock()
    if not config.training.ngram_weight:
        return 0.0
    for rows, _ in cross_predict(ids, vocabulary_size=len(corpus.vocabulary)):
        if rows.stop >= len(ids) // NGRAM_PARTS - 1:
            break
    return NGRAM_PARTS * (clock() - started)


def _time_steps(training: Training, seconds: float, clock: Callable[[], float]) -> float:
    """Take steps for some seconds, at least one call of the engine; return the seconds of one step."""
    first, started, now = training.progress.step, clock(), -math.inf
    while count := training.engine.agree(
        training.steps.next_count(training.progress) if now - started < seconds else 0, 0
    )[0]:
        with contextlib.suppress(DivergenceError):  # what was learned is undone in any case
            training.steps.take(count, training.progress)
        now = clock()
    return (now - started) / (training.progress.step - first)


def _time_records(training: Training, clock: Callable[[], float]) -> tuple[float, float]:
    """Save the run, and evaluate it; return the seconds of each."""
    progress = Progress(step=training.progress.step, pending_losses=[1.0])  # finite, even if the steps diverged
    started = clock()
    training.recorder.outputs.save(progress)
    saved = clock()
    training.recorder.evaluate(progress)
    return saved - started, clock() - saved
