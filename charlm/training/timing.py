"""How long a run takes on this machine, from a few steps and one mark that are timed and then undone.

    seconds(S) = start + teachers + n-grams + S * step + marks * mark + end

S steps; at a mark, the run is evaluated and saved; in the end, the temperature at which it writes is chosen. If windows
grow, S steps take as long as the characters that they read do in steps of `sequence_length`. The figures are those of
this machine under its present load.
"""

import bisect
import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from charlm.config.recipes import smaller_recipe
from charlm.config.schema import Config, TrainingConfig
from charlm.errors import CharlmError, counted
from charlm.evaluation.scoring import ids_read
from charlm.runs.folder import CHECKPOINTS, saved_steps
from charlm.runs.run import Run
from charlm.sampling.generation import TextRequest, generate_text
from charlm.sampling.sampler import Sampler
from charlm.storage import temporary_folder
from charlm.text.corpus import Corpus
from charlm.training.checkpoints import Progress
from charlm.training.evaluating import DivergenceError, evaluate, one_thread, open_text
from charlm.training.events import RunLog
from charlm.training.interface import Engine, EngineFactory
from charlm.training.marks import Training
from charlm.training.preparation import Preparation, gives_length, prepare_teacher
from charlm.training.schedule import make_schedule, mean_growth
from charlm.training.signals import Session
from charlm.training.soft_targets import NGRAM_PARTS, cross_predict, open_soft_targets
from charlm.training.temperature import TYPICAL_CHARACTERS

TIMED_STEPS, TIMED_SECONDS = 20, 3.0
"""How many steps are timed, at most for so long; at least one call of the engine."""
TIMED_SHARE = 0.05
"""The share of the time of a run for which steps are timed, at most."""
TIMED_CHARACTERS, TIMED_SAMPLE = 20_000, 200
"""How much of the validation text is scored to time a mark, and how much is written to time the end."""
MARK_SHARE, FEWEST_MARKS = 0.2, 3
"""The share of the time of a run of some minutes that its marks take at most, if they are more than so many."""
ENOUGH_STEPS = 1000
"""The steps that must fit into the minutes for a recipe to be taken that nobody has named."""
FEW_STEPS = 200
"""With fewer steps, a network learns little more than how often each character occurs."""
MAX_STEPS = 1_000_000_000
"""The largest number of steps that a config takes."""


@dataclass(frozen=True)
class Costs:
    """How long each part of a run takes, in seconds."""

    step_seconds: float
    """One step of `sequence_length` characters, with the reading of its windows."""
    mark_seconds: float
    """One evaluation, with the sample, the logs and the checkpoint."""
    start_seconds: float
    """Building the engine, and its first call."""
    end_seconds: float = 0.0
    """Choosing a temperature, as a rule; 0 = the user has."""
    teacher_seconds: float = 0.0
    """The teachers that the run trains first, and their reading of the text; 0 = it trains none."""
    ngram_seconds: float = 0.0
    """Counting the n-grams that the run learns from; 0 = there are none."""

    def run_seconds(self, settings: TrainingConfig, steps: int) -> float:
        """Return how long a run of some steps takes after its start, 0 or more of them."""
        training = steps * mean_growth(settings) * self.step_seconds
        marks = min(steps, settings.evaluations)
        return self.teacher_seconds + self.ngram_seconds + training + marks * self.mark_seconds + self.end_seconds

    def steps_within(self, settings: TrainingConfig, seconds: float) -> int:
        """Return the most steps with all marks for which `run_seconds` is at most `seconds`; 0 = not even one."""
        left = seconds - self.run_seconds(settings, 0) - settings.evaluations * self.mark_seconds
        return min(MAX_STEPS, max(0, int(left / (mean_growth(settings) * self.step_seconds))))

    def with_marks_for(self, settings: TrainingConfig, seconds: float) -> TrainingConfig:
        """Return settings with fewer marks, if they would take more than MARK_SHARE of a run of so many seconds."""
        affordable = int(MARK_SHARE * (seconds - self.run_seconds(settings, 0)) / max(self.mark_seconds, 1e-9))
        fewest = min(FEWEST_MARKS, settings.evaluations)
        return settings.model_copy(update={"evaluations": max(fewest, min(settings.evaluations, affordable))})


def measure(
    config: Config, corpus: Corpus, engine: Engine, *, session: Session, step_seconds: float = TIMED_SECONDS
) -> Costs:
    """Take some steps of a run, evaluate and save it, all in a temporary folder that is removed.

    The engine is then set back: a run that uses it ends with the same bytes as one with a new engine.

    Args:
        config: Every setting of the run; `training.parts` is a number.
        corpus: Its text.
        engine: The engine of the run, in its first state.
        session: Of a `stop_on_signal` block; a signal ends the measurement at once. Nothing is said.
        step_seconds: How long to take steps, at most; 0 = a single call of the engine after the first.

    Raises:
        CharlmError: the temporary folder cannot be written.
        Stopped: a signal came.

    """
    endless = config.model_copy(update={"training": config.training.with_steps(MAX_STEPS)})
    with temporary_folder() as folder, session.at_once(), contextlib.closing(RunLog(folder)) as log:
        started, run = session.clock(), Run(folder, endless, corpus)
        schedule = make_schedule(endless.training, engine.batches)
        first = next(phase.first for phase in schedule.phases if phase.batches == schedule.batches)
        whole = open_text(run, has_baselines=False)  # the run itself computes them once
        part = replace(whole, ids=None if whole.ids is None else whole.ids[:TIMED_CHARACTERS])
        training = Training(run, engine, schedule, Session(clock=session.clock), part, None, log, Progress(step=first))
        engine.build(schedule.lengths)
        first_state = engine.tensors()
        _time_steps(training, 0.0)  # the first call is slower than the others
        start = session.clock() - started
        step = _time_steps(training, step_seconds)
        engine.restore(first_state)
        training.progress, started = Progress(step=first), session.clock()
        training.evaluate()
        mark = session.clock() - started
        if whole.ids is not None and part.ids is not None:  # the whole text takes longer
            started = session.clock()
            evaluate(run, training.network(), part, train_nats=0.0, has_sample=False)
            mark += (ids_read(len(whole.ids)) / ids_read(len(part.ids)) - 1) * (session.clock() - started)
        end = _time_end(training)
    return Costs(step, mark, start, end)


def _time_end(training: Training) -> float:
    """Let a network write a little; return the seconds in which it writes until a temperature is found, as a rule."""
    run, clock = training.run, training.session.clock
    if not run.config.sampling.chooses_temperature:
        return 0.0
    model, started = training.network(), clock()
    with one_thread():
        str(generate_text(model, TextRequest(TIMED_SAMPLE, Sampler(), run.config.seed)))
    return TYPICAL_CHARACTERS / TIMED_SAMPLE * (clock() - started)


def estimate(
    config: Config,
    corpus: Corpus,
    engine: Engine,
    engines: EngineFactory,
    *,
    session: Session,
    step_seconds: float = TIMED_SECONDS,
) -> Costs:
    """Find out how long a run takes, its teachers and n-grams included.

    The arguments and errors are those of `measure`, and `engines` makes the engine of a teacher, of which a few steps
    are timed; what `prepare` raises is raised too.
    """
    found, teacher_seconds = measure(config, corpus, engine, session=session, step_seconds=step_seconds), 0.0
    if seeds := config.training.used_teachers.seeds:
        with session.silent(), temporary_folder() as folder:
            teacher = prepare_teacher(config, corpus, seeds[0], folder=folder, engines=engines, session=session)
        one = measure(teacher.config, corpus, teacher.engine, session=session, step_seconds=step_seconds)
        settings = teacher.config.training
        steps = make_schedule(settings, teacher.engine.batches).total
        teacher_seconds = len(seeds) * (one.start_seconds + one.run_seconds(settings, steps))
    ngram_seconds = time_ngrams(config, corpus, session=session)
    return replace(found, teacher_seconds=teacher_seconds, ngram_seconds=ngram_seconds)


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


def fit_to_minutes(
    prepared: Preparation, folder: Path, *, minutes: float | None, started: float, session: Session
) -> Preparation:
    """Return what trains with the steps that fit into the minutes, in place of the length that its config gave.

    If no recipe was named, and ENOUGH_STEPS do not fit, the next smaller recipe is taken, and so on.

    Args:
        prepared: What trains; its engine is in its first state.
        folder: That of the run. Soft targets of n-grams alone are counted here and now, so that their time is known.
        minutes: What the user asks for, from `started` on; None = those that the recipe is advised with, from now on,
            and as long as the config says if there are none.
        started: When the program began, in seconds of the clock.
        session: Of a `stop_on_signal` block.

    Raises:
        CharlmError: the minutes that the user asks for are too short for a step.
        Stopped: a signal came.

    """
    if minutes is None and prepared.is_advised and (better := prepared.advice.better):
        session.say(f"better, in about {prepared.advice.times:g} times the time: -c {better}")
    total, has_teachers = minutes or prepared.advised_minutes, bool(prepared.config.training.used_teachers.seeds)
    if total is None:
        return prepared
    if minutes is not None and has_teachers:
        raise CharlmError(
            f"minutes {total:g}: the recipe trains teachers first, as long as they need; leave them out: "
            f"-s training.teachers=null"
        )
    begin = session.clock() if minutes is None else started
    timed = min(TIMED_SECONDS, 60 * total * TIMED_SHARE)
    while True:
        config, corpus, engine = prepared.config, prepared.corpus, prepared.engine
        found = measure(config, corpus, engine, session=session, step_seconds=timed)
        left = 60 * total - (session.clock() - begin)
        is_enough = found.steps_within(found.with_marks_for(config.training, left), left) >= ENOUGH_STEPS
        smaller = smaller_recipe(config.recipe) if prepared.is_advised else None
        if smaller is None or engine.machines.share(is_enough):
            break
        session.say(
            f"recipe: {smaller} instead: {ENOUGH_STEPS:,} steps of {config.recipe} take longer than {total:g} min"
        )
        # a text that is too long to learn from n-grams takes too long to count, too
        config, first, engine = prepared.take_recipe(smaller, has_ngrams=bool(config.training.ngram_weight))
        prepared = replace(prepared, config=config, first=first, engine=engine)
    if not has_teachers:  # their time, as nobody has asked for a time, comes on top
        open_soft_targets(Run(folder, config, corpus), say=session.say)
    seconds = 60 * total - (spent := session.clock() - begin)
    settings = found.with_marks_for(config.training, seconds)
    settings = settings.model_copy(update={"evaluations": engine.machines.share(settings.evaluations)})
    steps = engine.machines.share(found.steps_within(settings, seconds))
    if minutes is None:
        steps = max(steps, FEW_STEPS)
    if steps == 0:
        needed = spent + found.run_seconds(settings, 1)
        raise CharlmError(f"minutes {total:g}: the start and one step take {needed / 60:,.3g} min; give more")
    settings = settings.with_steps(steps)
    epochs = make_schedule(settings, engine.batches).epochs(steps)
    session.say(
        f"{total:g} min: {counted(steps, 'step')} of {1000 * found.step_seconds:,.4g} ms, {epochs:,.4g} epochs, "
        f"{counted(settings.evaluations, 'evaluation')}, in place of the length in the config"
    )
    if steps < FEW_STEPS:
        enough = (spent + found.run_seconds(settings, FEW_STEPS)) / 60
        longer = f"--minutes {math.ceil(10 * enough) / 10:g}"
        session.say(f"{counted(steps, 'step')} will teach the network little; {longer} would allow {FEW_STEPS}")
    return replace(prepared, config=config.model_copy(update={"training": settings}))


def lengthen(run: Run, engine: Engine, *, minutes: float, started: float, session: Session) -> Config:
    """Return the config of a run with as many more steps as fit into some minutes; arguments as for `fit_to_minutes`.

    Raises:
        CharlmError: the minutes are too short for a step.
        Stopped: a signal came.

    """
    timed = min(TIMED_SECONDS, 60 * minutes * TIMED_SHARE)
    found = measure(run.config, run.corpus, engine, session=session, step_seconds=timed)
    seconds = 60 * minutes - (session.clock() - started)
    done, settings = max(saved_steps(run.folder / CHECKPOINTS), default=0), run.config.training
    marks = found.with_marks_for(settings, seconds).evaluations

    def takes(steps: int) -> float:
        """Return how long so many more steps take, which read what a run of that length reads from here on."""
        schedule = make_schedule(settings.with_steps(done + steps), engine.batches)
        characters = schedule.characters(done + steps) - schedule.characters(done)
        return (
            characters / engine.batches.characters_per_step * found.step_seconds
            + marks * found.mark_seconds
            + found.end_seconds
        )

    steps = engine.machines.share(bisect.bisect_right(range(1, MAX_STEPS - done), seconds, key=takes))
    if not steps:
        raise CharlmError(f"minutes {minutes:g}: the start and one step take longer; give more")
    total = done + steps
    evaluations = engine.machines.share(min(1000, -(-marks * total // steps)))
    session.say(f"{minutes:g} min: {counted(steps, 'more step')} of {1000 * found.step_seconds:,.4g} ms")
    training = settings.with_steps(total).model_copy(update={"evaluations": evaluations})
    return run.config.model_copy(update={"training": training})


def time_ngrams(config: Config, corpus: Corpus, *, session: Session) -> float:
    """Return how long the n-grams take that a run would learn from, by one of their parts; 0 = it has none."""
    ids, started = corpus.split("train"), session.clock()
    if not config.training.ngram_weight:
        return 0.0
    for rows, _ in cross_predict(ids, vocabulary_size=len(corpus.vocabulary)):
        if rows.stop >= len(ids) // NGRAM_PARTS - 1:
            break
    return NGRAM_PARTS * (session.clock() - started)


def _time_steps(training: Training, seconds: float) -> float:
    """Take TIMED_STEPS, or those of some seconds, at least one call of the engine; return the seconds of one step."""
    progress, clock, step_seconds = training.progress, training.session.clock, math.inf
    first, started, now = progress.step, clock(), -math.inf
    while count := training.engine.machines.share(
        training.next_count(step_seconds=step_seconds)
        if now - started < seconds and progress.step - first < TIMED_STEPS
        else 0
    ):
        before = progress.seconds
        with contextlib.suppress(DivergenceError):  # what was learned is undone in any case
            training.take_steps(count)
        step_seconds, now = (progress.seconds - before) / count, clock()
    return (now - started) / (progress.step - first)
