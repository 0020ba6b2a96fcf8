"""The training loop: steps alternate with logs, evaluations, samples and checkpoints.

A step never depends on the clock or on the grouping of steps into calls. A run is therefore
repeatable to the bit, however often it is interrupted and resumed.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from signal import Signals
from typing import Any

from charlm.errors import Advice
from charlm.evaluation.baselines import NGRAM
from charlm.evaluation.scoring import Score
from charlm.events import BaselinesScored, Ended, NoValidationText, Started, TemperatureChosen
from charlm.network.architecture import architecture
from charlm.network.model_file import TrainedModel, read_fields, read_model, write_model
from charlm.runs.folder import BEST, CHECKPOINTS, ENDED_FILE, LAST, saved_steps
from charlm.runs.run import Run
from charlm.storage import remove_leftovers
from charlm.text.findings import find_problems
from charlm.training import saving
from charlm.training.active_run import ActiveRun
from charlm.training.checkpoints import Progress
from charlm.training.evaluating import (
    DivergenceError,
    EvaluatedText,
    open_text,
    recites,
    sample_text,
)
from charlm.training.interface import Engine
from charlm.training.logs import RunLog
from charlm.training.outcome import Outcome, describe_outcome, suggest_next
from charlm.training.saving import Restored
from charlm.training.schedule import Schedule, make_schedule
from charlm.training.session import Session
from charlm.training.soft_targets import open_soft_targets
from charlm.training.suggestion import End
from charlm.training.temperature import RECITAL, choose_temperature
from charlm.training.timing import Deadline


def train(
    run: Run,
    engine: Engine,
    *,
    session: Session,
    deadline: Deadline | None = None,
    text: EvaluatedText | None = None,
) -> Outcome:
    """Train from the newest checkpoint, or from step 0, to the end of the run or a signal.

    Args:
        run: The run, whose folder this process owns.
        engine: The engine, in its first state.
        session: The caller's side, in a `stop_on_signal` block.
        deadline: Time limit of the run; None = it takes all its steps.
        text: Text that its evaluations read; None = open it now.

    Raises:
        CharlmError: A teacher is not usable, training has diverged, the text is too short, no
            checkpoint is undamaged or fits the config and the text, or a file cannot be read or
            written. The last checkpoint is then unchanged.
        Stopped: A signal arrived before the first step, or a second signal arrived.

    """
    with contextlib.ExitStack() as logs:
        with session.interruption.immediate():
            text = text or open_text(run)
            training = _open(run, engine, logs, session=session, text=text)
            _begin(training)
        with session.interruption.deferred(), _advice_on_divergence(run):
            reason, signal = _take_all_steps(training, deadline)
            samples = ("", "") if signal else _end(training, deadline)
    session.on_event(Ended(run.folder, reason, training.progress.step))
    return describe_outcome(training, reason=reason, signal=signal, samples=samples)


@contextlib.contextmanager
def _advice_on_divergence(run: Run) -> Iterator[None]:
    """Add advice to a DivergenceError if the run has a checkpoint to continue from."""
    try:
        yield
    except DivergenceError as error:
        if not saved_steps(run.folder / CHECKPOINTS):
            raise
        advice = Advice("lower the learning rate", run.folder)
        raise DivergenceError(str(error), advice=advice) from None


def _take_all_steps(training: ActiveRun, deadline: Deadline | None) -> tuple[str, Signals | None]:
    """Take steps until the run ends, and save it; return why it ends, and the signal that ends it.

    Raises:
        CharlmError: Training has diverged, or a file cannot be read or written.
        Stopped: A second signal arrived.

    """
    progress, session = training.progress, training.session
    started = session.clock() - progress.elapsed_seconds
    step_seconds = math.inf
    while True:
        _record(training, deadline)
        reason = _reason_to_end(training)
        signal = session.interruption.signal
        count, number = training.engine.workers.agree(
            step=progress.step,
            count=0 if reason or signal else training.next_count(step_seconds=step_seconds),
            signal=0 if reason or signal is None else signal,
        )
        if not count:
            progress.elapsed_seconds = session.clock() - started
            training.save()
            if number:
                signal = Signals(number)
                return f"stopped by {signal.name}", signal
            return reason or "ended by worker 0", None
        first = progress.step
        seconds = progress.seconds
        call_started = session.clock()
        losses = training.take_steps(count)
        step_seconds = (progress.seconds - seconds) / count
        now = session.clock()
        if deadline is not None:
            deadline.note_steps(training.schedule, first, progress.step, now - call_started)
        progress.elapsed_seconds = now - started
        session.on_event(training.steps_taken(losses))


def _record(training: ActiveRun, deadline: Deadline | None) -> None:
    """Log, evaluate and save, then change the length of a run that would miss its deadline."""
    progress, clock = training.progress, training.session.clock
    started, evaluated_step = clock(), progress.evaluated_step
    training.record()
    if deadline is None or not progress.step or _reason_to_end(training):
        return
    is_evaluation = progress.evaluated_step != evaluated_step
    if is_evaluation:
        deadline.note_evaluation(clock() - started)
    settings, schedule = training.run.config.training, training.schedule
    length = deadline.review(settings, schedule, progress.step, is_evaluation=is_evaluation)
    steps, evaluations = map(training.engine.workers.share, length or (0, 0))
    if steps:
        training.change_length(steps, evaluations)


def _reason_to_end(training: ActiveRun) -> str | None:
    """Return why the run ends at this step for good, or None."""
    progress, patience = training.progress, training.run.config.training.early_stopping
    if progress.evaluated_step == progress.step >= training.schedule.total:
        return "all steps done" if progress.step else "not trained: the run has no steps"
    if training.is_recited:
        return "the network recites its text"
    if patience is not None and progress.evaluations_without_best >= patience:
        return f"no new best in {patience} evaluations"
    return None


def _open(
    run: Run,
    engine: Engine,
    logs: contextlib.ExitStack,
    *,
    session: Session,
    text: EvaluatedText,
) -> ActiveRun:
    """Open a run at the step from which it continues; its logs are closed with `logs`."""
    for folder in (run.folder, run.folder / CHECKPOINTS):
        remove_leftovers(folder)
    soft_targets = open_soft_targets(run, on_event=session.on_event)
    restored = None
    progress = Progress()
    logged_step = logged_evaluation = -1
    if saved_steps(run.folder / CHECKPOINTS):
        restored = saving.restore(run, engine, on_event=session.on_event)
        run = restored.run
        progress = restored.checkpoint.facts.progress
        logged_step, logged_evaluation = progress.step, progress.evaluated_step
    else:
        saving.begin(run)
    log = RunLog(
        run.folder, step=logged_step, evaluated_step=logged_evaluation, on_event=session.on_event
    )
    logs.callback(log.close)
    schedule = make_schedule(run.config.training, engine.batches)
    training = ActiveRun(run, engine, schedule, session, text, soft_targets, log, progress)
    if restored is None:
        log.describe(run.config, ngram_nats=text.baseline_nats.get(NGRAM))
    else:
        _resume(training, restored)
    return training


def _resume(training: ActiveRun, restored: Restored) -> None:
    """Restore the results of the last evaluation, and log changed settings."""
    run, progress, model = training.run, training.progress, restored.checkpoint.model
    training.best = _best_score(run, progress)
    score = model.facts.get("score")
    if score is not None and training.best is not None and progress.best_step != progress.step:
        training.difference = _score_of(score).minus(training.best)
    if restored.changes:
        training.log.log_changes(restored.changes, step=progress.step)
        training.save(training.network(score=score))  # so that each change is logged once
    training.note_saved()
    if run.config.training.until_recited and progress.evaluated_step == progress.step:
        training.is_recited = recites(run, model)


def _best_score(run: Run, progress: Progress) -> Score | None:
    """Return the score of the best model of a resumed run, with the blocks in best.safetensors."""
    if progress.best_nats is None:
        return None
    facts = read_fields(run.folder / BEST).get("score", {})
    return _score_of({**facts, "nats_per_char": progress.best_nats})


def _score_of(facts: Mapping[str, Any]) -> Score:
    """Return a score from the fields of a model file."""
    block_means = tuple(facts.get("block_means", ()))
    return Score(facts["nats_per_char"], facts.get("characters", 0), block_means)


def _begin(training: ActiveRun) -> None:
    """Announce a new run, record step 0, and do everything that would slow down the first step."""
    run, session, text = training.run, training.session, training.text
    if training.saved is None:
        session.on_event(_started(run, training.schedule))
        training.record_start()
    if text.ids is None:
        session.on_event(NoValidationText())
    training.engine.build(training.schedule.lengths)
    if text.ngram is not None and text.ngram.standard_error is not None:
        session.on_event(BaselinesScored(text.baseline_nats))


def _started(run: Run, schedule: Schedule) -> Started:
    """Return the event of a new run, with problems in its text."""
    model = run.config.model
    return Started(
        run=run.folder,
        text_name=run.corpus.manifest.text_name,
        text_summary=run.corpus.size_summary,
        problems=tuple(find_problems(run.corpus)),
        recipe=run.config.recipe,
        layers=model.layers,
        units=model.units,
        weights=architecture(run.config, len(run.corpus.vocabulary)).size,
        kernel=run.config.training.kernel,
        steps=schedule.total,
        epochs=schedule.epochs(schedule.total),
        batch_size=schedule.batches.batch_size,
        sequence_lengths=schedule.lengths,
    )


def _end(training: ActiveRun, deadline: Deadline | None) -> tuple[str, str]:
    """Choose the temperature, and write ended.json, which a resumed run removes.

    Returns:
        Samples of the best network, and of the last network if that might be better.

    """
    progress, run = training.progress, training.run
    best = None
    if progress.best_nats is not None:
        best = read_model(run.folder / BEST)
        if run.config.sampling.chooses_temperature:
            best = _choose_temperature(training, best, deadline)
    End(progress.step, suggest_next(training)).write(run.folder / ENDED_FILE)
    if best is None:
        return "", ""
    may_be_better = training.text.is_short and progress.best_step != progress.step
    last_sample = sample_text(run, read_model(run.folder / LAST)) if may_be_better else ""
    return sample_text(run, best), last_sample


def _choose_temperature(
    training: ActiveRun, best: TrainedModel, deadline: Deadline | None
) -> TrainedModel:
    """Write the sampling temperature into the models of a run; return the best model."""
    run = training.run
    choice = RECITAL
    if not training.is_recited:
        choice = choose_temperature(
            run, best, is_over=lambda: deadline is not None and deadline.is_over
        )
    training.session.on_event(TemperatureChosen(choice.temperature, choice.reason))
    best = _with_temperature(best, choice.temperature)
    write_model(run.folder / BEST, best)
    last = read_model(run.folder / LAST)
    write_model(run.folder / LAST, _with_temperature(last, choice.temperature))
    return best


def _with_temperature(model: TrainedModel, temperature: float) -> TrainedModel:
    return replace(model, facts={**model.facts, "temperature": temperature})
