"""The training loop: it alternates steps with logs, evaluations, samples and checkpoints, and says how a run ended.

A step never depends on the clock or on how steps are grouped into calls. So a run is repeatable to the last bit,
however often it is interrupted and resumed.
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
    """Train from the newest checkpoint, or from step 0 if there is none, until a limit of the config or a signal.

    Args:
        run: Its folder, which this process owns, config and corpus.
        engine: What computes the steps, in its first state; see `charlm.training.preparation.new_engine`.
        session: What the training shares with its caller; signals are handled.
        deadline: When the run has to end; None = it takes all its steps.
        text: What its evaluations read; None = open it now.

    Raises:
        CharlmError: a teacher cannot be used, training has diverged, the text is too short, no checkpoint is whole, the
            newest does not fit the config or the text, there is none although the run has been trained, or a file
            cannot be read or written. The last checkpoint is then as it was.
        Stopped: a signal came before the first step, when there is nothing to save; or a second signal came.

    """
    with contextlib.ExitStack() as stack:
        with session.interruption.at_once():
            text = text or open_text(run)
            training = _open(run, engine, stack, session=session, text=text)
            _begin(training)
        with session.interruption.deferred(), _advice_on_divergence(run):
            reason, signal = _take_all_steps(training, deadline)
            samples = ("", "") if signal else _end(training, deadline)
    session.on_event(Ended(run.folder, reason, training.progress.step))
    return describe_outcome(training, reason=reason, signal=signal, samples=samples)


@contextlib.contextmanager
def _advice_on_divergence(run: Run) -> Iterator[None]:
    """Add advice to the error of a training that diverges, if the run has a checkpoint to continue from."""
    try:
        yield
    except DivergenceError as error:
        if not saved_steps(run.folder / CHECKPOINTS):
            raise
        raise DivergenceError(
            str(error), advice=Advice("lower the learning rate", run.folder)
        ) from None


def _take_all_steps(training: ActiveRun, deadline: Deadline | None) -> tuple[str, Signals | None]:
    """Take steps until the run ends, and save; return why it ends, and the signal that ends it.

    Raises:
        CharlmError: training has diverged, or a file cannot be read or written.
        Stopped: a second signal came.

    """
    progress, session, step_seconds = training.progress, training.session, math.inf
    started, earlier = session.clock(), progress.elapsed_seconds
    while True:
        _record(training, deadline)
        reason, signal = _ending(training), session.interruption.signal
        count, number = training.engine.workers.agree(
            step=progress.step,
            count=0 if reason or signal else training.next_count(step_seconds=step_seconds),
            signal=0 if reason or signal is None else signal,
        )
        if not count:
            progress.elapsed_seconds = earlier + session.clock() - started
            training.save()
            if number:
                return f"stopped by {Signals(number).name}", Signals(number)
            return reason or "ended by worker 0", None
        first, before = progress.step + 1, progress.seconds
        begun = session.clock()
        losses = training.take_steps(count)
        step_seconds = (progress.seconds - before) / count
        if deadline is not None:
            deadline.note_steps(
                training.schedule, first - 1, progress.step, session.clock() - begun
            )
        progress.elapsed_seconds = earlier + session.clock() - started
        session.on_event(training.steps_taken(losses))


def _record(training: ActiveRun, deadline: Deadline | None) -> None:
    """Log, evaluate and save what is due, then change the length of a run that would not end at its deadline."""
    progress, clock = training.progress, training.session.clock
    begun, evaluated = clock(), progress.evaluated_step
    training.record()
    is_evaluation = progress.evaluated_step != evaluated
    if deadline is None or not progress.step or _ending(training):
        return
    if is_evaluation:
        deadline.note_evaluation(clock() - begun)
    settings = training.run.config.training
    length = deadline.review(
        settings, training.schedule, progress.step, is_evaluation=is_evaluation
    ) or (0, 0)
    steps, evaluations = map(training.engine.workers.share, length)
    if steps:
        training.change_length(steps, evaluations)


def _ending(training: ActiveRun) -> str | None:
    """Return why the run ends here, or None; a signal is no such reason, as the run can be resumed then."""
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
    stack: contextlib.ExitStack,
    *,
    session: Session,
    text: EvaluatedText,
) -> ActiveRun:
    """Return a run at the step from which it continues; its logs are closed with the stack."""
    for folder in (run.folder, run.folder / CHECKPOINTS):
        remove_leftovers(folder)
    soft_targets = open_soft_targets(run, on_event=session.on_event)
    if not saved_steps(run.folder / CHECKPOINTS):
        saving.begin(run)
        log = stack.enter_context(contextlib.closing(RunLog(run.folder, on_event=session.on_event)))
        log.describe(run.config, ngram_nats=text.baseline_nats.get(NGRAM))
        schedule = make_schedule(run.config.training, engine.batches)
        return ActiveRun(run, engine, schedule, session, text, soft_targets, log, Progress())
    restored = saving.restore(run, engine, on_event=session.on_event)
    run, schedule, checkpoint = restored.run, restored.schedule, restored.checkpoint
    progress = checkpoint.facts.progress
    log = RunLog(
        run.folder,
        step=progress.step,
        evaluated_step=progress.evaluated_step,
        on_event=session.on_event,
    )
    stack.callback(log.close)
    training = ActiveRun(run, engine, schedule, session, text, soft_targets, log, progress)
    training.best = _best_score(run, progress)
    score = checkpoint.model.facts.get("score")
    if score is not None and training.best is not None and progress.best_step != progress.step:
        training.difference = _score_of(score).minus(training.best)
    if restored.changes:
        log.log_changes(restored.changes, step=progress.step)
        model = saving.network(run, engine, schedule, progress, score=score)
        training.save(model)  # with these settings, so that they are noted once
    training.note_saved()
    if run.config.training.until_recited and progress.evaluated_step == progress.step:
        training.is_recited = recites(run, checkpoint.model)
    return training


def _best_score(run: Run, progress: Progress) -> Score | None:
    """Return the score of the best model of a run that is resumed, with its blocks from best.safetensors."""
    if progress.best_nats is None:
        return None
    facts = read_fields(run.folder / BEST).get("score", {})
    return _score_of({**facts, "nats_per_char": progress.best_nats})


def _score_of(facts: Mapping[str, Any]) -> Score:
    """Return a score that a model file has."""
    return Score(
        facts["nats_per_char"], facts.get("characters", 0), tuple(facts.get("block_means", ()))
    )


def _begin(training: ActiveRun) -> None:
    """Tell what is trained, record step 0, and do everything that would slow down the first step."""
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
    """Return the event of a new run: what is trained on what, and possible problems in the text."""
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
    """Note that the run is complete; return what the best network generates, and the last one if that counts.

    A resumed run takes the note back.
    """
    progress, run = training.progress, training.run
    best = (
        None
        if progress.best_nats is None
        else _with_temperature(training, read_model(run.folder / BEST), deadline)
    )
    End(progress.step, suggest_next(training)).write(run.folder / ENDED_FILE)
    if best is None:
        return "", ""
    has_two = training.text.is_short and progress.best_step != progress.step
    last_sample = sample_text(run, read_model(run.folder / LAST)) if has_two else ""
    return sample_text(run, best), last_sample


def _with_temperature(
    training: ActiveRun, best: TrainedModel, deadline: Deadline | None
) -> TrainedModel:
    """Return the best model with the temperature at which it writes; one that is chosen is noted in the models."""
    run = training.run
    if not run.config.sampling.chooses_temperature:
        return best
    is_over = (lambda: False) if deadline is None else (lambda: deadline.is_over)
    choice = RECITAL if training.is_recited else choose_temperature(run, best, is_over=is_over)
    training.session.on_event(TemperatureChosen(choice.temperature, choice.reason))

    def noted(model: TrainedModel) -> TrainedModel:
        """Return a model with what was chosen."""
        return replace(model, facts={**model.facts, "temperature": choice.temperature})

    write_model(run.folder / BEST, noted(best))
    write_model(run.folder / LAST, noted(read_model(run.folder / LAST)))
    return noted(best)
