"""The training loop: it alternates steps with logs, evaluations, samples and checkpoints, and says how a run ended.

A step never depends on the clock or on how steps are grouped into calls. So a run is repeatable to the last bit,
however often it is interrupted and resumed.
"""

import contextlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from signal import Signals
from typing import NoReturn

from tqdm import tqdm

from charlm.evaluation.baselines import COMPRESSOR, Comparison
from charlm.evaluation.scoring import Difference, Score
from charlm.network.model_file import TrainedModel, read_fields, read_model, write_model
from charlm.runs.folder import BEST, CHECKPOINTS, ENDED_FILE, LAST, saved_steps
from charlm.runs.run import Run
from charlm.storage import remove_leftovers, write_file
from charlm.training import saving
from charlm.training.checkpoints import Progress
from charlm.training.display import describe_run, progress_bar, update_bar
from charlm.training.evaluating import DivergenceError, EvaluatedText, open_text, recites, sample_text
from charlm.training.interface import Engine
from charlm.training.logs import RunLog
from charlm.training.marks import Training
from charlm.training.schedule import make_schedule
from charlm.training.signals import Session
from charlm.training.soft_targets import open_soft_targets
from charlm.training.suggestion import Evidence, Suggestion, suggest
from charlm.training.temperature import RECITAL, choose_temperature
from charlm.training.timing import Deadline


@dataclass(frozen=True)
class Outcome:
    """How a training ended."""

    folder: Path
    """The folder of the run."""
    progress: Progress
    nats_per_char: float | None
    """The loss of the best model. None = there is none."""
    is_uncertain: bool
    """Whether the validation text has too few characters for a standard error, so that another model may be better."""
    split: str
    """The text that `nats_per_char` was measured on: validation, or train if there is no validation text."""
    measured_on: str
    """The same for the user: which text, and how much of it if not all."""
    reason: str
    """Why it ended, for the user."""
    signal: Signals | None
    """The signal that ended it, or None."""
    comparison: Comparison | None
    """The best model compared with the 5-gram model; None if there is no best model or no validation text."""
    difference: Difference | None
    """How the last evaluation differs from the best one before it; None = that is not known."""
    sample: str
    """What the best network generates; empty if nothing, or if a signal ended the training."""
    last_sample: str
    """What the last network generates, if it is not the best one and the choice of the best one is uncertain."""
    suggestion: Suggestion | None
    """What to try next; None = nothing."""
    has_initial_weights: bool = False
    """Whether training began with the weights of another model, which are in init.safetensors."""
    worker: int = 0
    """Which of the machines of TF_CONFIG this is; the run is in the folder of worker 0 alone."""


def train(
    run: Run,
    engine: Engine,
    *,
    resume: bool,
    session: Session,
    deadline: Deadline | None = None,
    text: EvaluatedText | None = None,
) -> Outcome:
    """Train, or continue training, until a limit of the config or a signal.

    Args:
        run: Its folder, which this process has locked, config and corpus.
        engine: What computes the steps, in its first state; see `charlm.training.preparation.new_engine`.
        resume: Whether to continue from the newest checkpoint; if there is none, the run starts at step 0.
        session: Its user, from a `stop_on_signal` block.
        deadline: When the run has to end; None = it takes all its steps.
        text: What its evaluations read; None = open it now.

    Raises:
        CharlmError: a teacher cannot be used, training has diverged, the text is too short, no checkpoint is whole, the
            newest does not fit the config or the text, there is none although the run has been trained, or a file
            cannot be read or written. The last checkpoint is then as it was.
        Stopped: a signal came before the first step, when there is nothing to save; or a second signal came.

    """
    with contextlib.ExitStack() as stack:
        with session.at_once():
            text = text or open_text(run)
            training = _open(run, engine, stack, resume=resume, session=session, text=text)
            _begin(training)
        bar = progress_bar(training.schedule, training.progress, disable=not session.show_progress)
        with bar, session.deferred(), _advice_on_divergence(run):
            reason, signal = _take_all_steps(training, bar, deadline)
            samples = ("", "") if signal else _end(training, deadline)
    progress = training.progress
    sample, last_sample = samples
    return Outcome(
        folder=run.folder,
        progress=progress,
        nats_per_char=progress.best_nats,
        is_uncertain=text.is_short,
        split=text.split,
        measured_on=text.measured_on,
        reason=reason,
        signal=signal,
        comparison=None if training.best is None else text.compare(training.best),
        difference=training.difference,
        sample=sample,
        last_sample=last_sample,
        suggestion=None if signal else _suggestion(training),
        has_initial_weights=run.config.training.first_weights is not None,
        worker=engine.machines.index,
    )


@contextlib.contextmanager
def _advice_on_divergence(run: Run) -> Iterator[None]:
    """Add to the error of a block in which training diverges how it can go on, if the run has a checkpoint."""
    try:
        yield
    except DivergenceError as error:
        if not saved_steps(run.folder / CHECKPOINTS):
            raise
        raise DivergenceError(
            f"{error}; the last checkpoint is whole: --resume -s training.optimizer.learning_rate=X continues from it"
        ) from None


def _take_all_steps(training: Training, bar: "tqdm[NoReturn]", deadline: Deadline | None) -> tuple[str, Signals | None]:
    """Take steps until the run ends, and save; return why it ends, and the signal that ends it.

    Raises:
        CharlmError: training has diverged, or a file cannot be read or written.
        Stopped: a second signal came.

    """
    progress, session, step_seconds = training.progress, training.session, math.inf
    started, earlier = session.clock(), progress.elapsed_seconds
    while True:
        _record(training, deadline)
        reason, signal = _ending(training), session.signal
        count, number = training.engine.machines.agree(
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
            deadline.note_steps(training.schedule, first - 1, progress.step, session.clock() - begun)
        progress.elapsed_seconds = earlier + session.clock() - started
        for step, nats in enumerate(losses, first):
            session.on_step(step, nats)
        update_bar(bar, progress, training.schedule)


def _record(training: Training, deadline: Deadline | None) -> None:
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
    length = deadline.review(settings, training.schedule, progress.step, is_evaluation=is_evaluation) or (0, 0)
    steps, evaluations = map(training.engine.machines.share, length)
    if steps:
        training.change_length(steps, evaluations)


def _ending(training: Training) -> str | None:
    """Return why the run ends here, or None; a signal is no such reason, as the run can be resumed then."""
    progress, patience = training.progress, training.run.config.training.early_stopping
    if progress.evaluated_step == progress.step >= training.schedule.total:
        return "all steps done"
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
    resume: bool,
    session: Session,
    text: EvaluatedText,
) -> Training:
    """Return a run at the step from which it goes on; its logs are closed with the stack."""
    for folder in (run.folder, run.folder / CHECKPOINTS):
        remove_leftovers(folder)
    soft_targets = open_soft_targets(run)
    schedule = make_schedule(run.config.training, engine.batches)
    is_new, step, progress = not (resume and saved_steps(run.folder / CHECKPOINTS)), -1, Progress()
    if is_new:
        saving.begin(run)
    else:
        checkpoint, changes = saving.restore(run, engine, schedule, say=session.say)
        progress = checkpoint.facts.progress
        step = progress.step
    log = RunLog(run.folder, step=step, evaluated_step=progress.evaluated_step)
    stack.callback(log.close)
    training = Training(run, engine, schedule, session, text, soft_targets, log, progress)
    if is_new:
        log.describe(run.config)
        return training
    training.best = _best_score(run, progress)
    if changes:
        log.log_changes(changes, step=step)
        model = saving.network(run, engine, schedule, step, score=checkpoint.model.facts.get("score"))
        training.save(model)  # with these settings, so that they are noted once
    training.note_saved()
    if run.config.training.until_recited and progress.evaluated_step == step:
        training.is_recited = recites(run, checkpoint.model)
    return training


def _best_score(run: Run, progress: Progress) -> Score | None:
    """Return the score of the best model of a run that is resumed, with its blocks from best.safetensors."""
    if progress.best_nats is None:
        return None
    facts = read_fields(run.folder / BEST).get("score", {})
    return Score(progress.best_nats, facts.get("characters", 0), tuple(facts.get("block_means", ())))


def _begin(training: Training) -> None:
    """Say what is trained, record step 0, and do everything that would slow down the first step."""
    run, session, text = training.run, training.session, training.text
    if training.saved is None:
        for line in describe_run(run, training.schedule):
            session.say(line)
        training.record_start()
    if text.ids is None:
        session.say("there is no validation text: the best model is that of the lowest training loss")
    training.engine.build(training.schedule.lengths)
    if text.ngram is not None and text.ngram.standard_error is not None:
        scores = ", ".join(f"{name} {nats:.3f}" for name, nats in text.baseline_nats.items())
        session.say(f"nats per character (lower is better): {scores}")


def _end(training: Training, deadline: Deadline | None) -> tuple[str, str]:
    """Note that the run is complete; return what the best network generates, and the last one if that counts.

    A resumed run takes the note back.
    """
    progress, run = training.progress, training.run
    best = None if progress.best_nats is None else _with_temperature(training, read_model(run.folder / BEST), deadline)
    write_file(run.folder / ENDED_FILE, (json.dumps({"step": progress.step}) + "\n").encode())
    if best is None:
        return "", ""
    has_two = training.text.is_short and progress.best_step != progress.step
    last_sample = sample_text(run, read_model(run.folder / LAST)) if has_two else ""
    return sample_text(run, best), last_sample


def _suggestion(training: Training) -> Suggestion | None:
    """Return what to try after a run; None = nothing, or its validation text is too short to know."""
    progress, text, best, run = training.progress, training.text, training.best, training.run
    if text.ids is None or text.is_short or best is None or not progress.best_step:
        return None
    start, end = run.corpus.splits["train"]
    evidence = Evidence(
        step=progress.step,
        best_step=progress.best_step,
        epochs=training.schedule.epochs(progress.step),
        has_two_evaluations=training.difference is not None,
        comparison=text.compare(best),
        best_nats=best.nats_per_char,
        lzma_nats=text.baseline_nats.get(COMPRESSOR),
        training_characters=end - start,
    )
    return suggest(evidence)


def _with_temperature(training: Training, best: TrainedModel, deadline: Deadline | None) -> TrainedModel:
    """Return the best model with the temperature at which it writes; one that is chosen is noted in the models."""
    run = training.run
    if not run.config.sampling.chooses_temperature:
        return best
    is_over = (lambda: False) if deadline is None else (lambda: deadline.is_over)
    choice = RECITAL if training.is_recited else choose_temperature(run, best, is_over=is_over)
    training.session.say(str(choice))

    def noted(model: TrainedModel) -> TrainedModel:
        """Return a model with what was chosen."""
        return replace(model, facts={**model.facts, "temperature": choice.temperature})

    write_model(run.folder / BEST, noted(best))
    write_model(run.folder / LAST, noted(read_model(run.folder / LAST)))
    return noted(best)
