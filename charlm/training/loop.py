"""The training loop: it alternates steps with logs, evaluations, samples and checkpoints, and says how a run ended.

A step never depends on the clock or on how steps are grouped into calls. So a run is repeatable to the last bit,
however often it is interrupted and resumed.
"""

import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from signal import Signals
from typing import NoReturn

from tqdm import tqdm

from charlm.evaluation.baselines import Comparison
from charlm.evaluation.scoring import Difference, Score
from charlm.network.model_file import TrainedModel, read_fields, read_model, write_model
from charlm.runs.folder import BEST, CHECKPOINTS, ENDED_FILE, LAST, saved_steps
from charlm.runs.run import Run
from charlm.storage import remove_leftovers, write_file
from charlm.training import saving
from charlm.training.checkpoints import Progress
from charlm.training.display import advise_on_end, describe_run, is_improving, progress_bar, update_bar
from charlm.training.evaluating import open_text, sample_text
from charlm.training.events import RunLog
from charlm.training.interface import Engine
from charlm.training.marks import Training
from charlm.training.schedule import make_schedule
from charlm.training.signals import Session
from charlm.training.soft_targets import open_soft_targets
from charlm.training.temperature import choose_temperature


@dataclass(frozen=True)
class Outcome:
    """How a training ended."""

    folder: Path
    """The folder of the run."""
    progress: Progress
    nats_per_char: float | None
    """The loss of the best model. None = there is none."""
    split: str
    """The text that `nats_per_char` was measured on: validation, or train if there is no validation text."""
    measured_on: str
    """The same for the user: which text, and how much of it if not all."""
    reason: str
    """Why it ended, for the user."""
    signal: Signals | None
    """The signal that ended it, or None."""
    baseline_nats: Mapping[str, float]
    """What simple models score on the validation text, in nats per character, by name; empty if there is none."""
    comparison: Comparison | None
    """The best model compared with the 5-gram model; None if there is no best model or no validation text."""
    training_characters: int
    """The number of ids in the training text."""
    sample: str
    """What the best network writes; empty if nothing, or if a signal ended the training."""
    improvement: Difference | None
    """How the last evaluation differs from the best before it, if the network is clearly still improving."""
    worker: int = 0
    """Which of the machines of TF_CONFIG this is; the run is in the folder of worker 0 alone."""


def train(run: Run, engine: Engine, *, resume: bool, session: Session) -> Outcome:
    """Train, or continue training, until a limit of the config or a signal.

    Args:
        run: Its folder, which this process has locked, config and corpus.
        engine: What computes the steps, in its first state; see `charlm.training.preparation.new_engine`.
        resume: Whether to continue from the newest checkpoint; if there is none, the run starts at step 0.
        session: Its user, from a `stop_on_signal` block.

    Raises:
        CharlmError: a teacher cannot be used, training has diverged, the text is too short, no checkpoint is whole, the
            newest does not fit the config or the text, there is none although the run has been trained, or a file
            cannot be read or written. The last checkpoint is then as it was.
        Stopped: a signal came before the first step, when there is nothing to save; or a second signal came.

    """
    with contextlib.ExitStack() as stack:
        with session.at_once():
            training = _open(run, engine, stack, resume=resume, session=session)
            _begin(training)
        bar = progress_bar(training.schedule, training.progress, disable=not session.show_progress)
        with bar, session.deferred():
            reason, signal = _take_all_steps(training, bar)
            sample = "" if signal else _end(training)
    progress, text = training.progress, training.text
    start, end = run.corpus.splits["train"]
    return Outcome(
        folder=run.folder,
        progress=progress,
        nats_per_char=progress.best_nats,
        split=text.split,
        measured_on=text.measured_on,
        reason=reason,
        signal=signal,
        baseline_nats=text.baseline_nats,
        comparison=None if training.best is None else text.compare(training.best),
        training_characters=end - start,
        sample=sample,
        improvement=training.difference if is_improving(progress, training.difference) else None,
        worker=engine.machines.index,
    )


def _take_all_steps(training: Training, bar: "tqdm[NoReturn]") -> tuple[str, Signals | None]:
    """Take steps until the run ends, and save; return why it ends, and the signal that ends it.

    Raises:
        CharlmError: training has diverged, or a file cannot be read or written.
        Stopped: a second signal came.

    """
    progress, session, step_seconds = training.progress, training.session, math.inf
    started, earlier = session.clock(), progress.elapsed_seconds
    while True:
        training.record()
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
        losses = training.take_steps(count)
        step_seconds = (progress.seconds - before) / count
        progress.elapsed_seconds = earlier + session.clock() - started
        for step, nats in enumerate(losses, first):
            session.on_step(step, nats)
        update_bar(bar, progress, training.schedule)


def _ending(training: Training) -> str | None:
    """Return why the run ends here, or None; a signal is no such reason, as the run can be resumed then."""
    progress, patience = training.progress, training.run.config.training.early_stopping
    if progress.evaluated_step == progress.step >= training.schedule.total:
        return "all steps done"
    if patience is not None and progress.evaluations_without_best >= patience:
        return f"no new best in {patience} evaluations"
    return None


def _open(run: Run, engine: Engine, stack: contextlib.ExitStack, *, resume: bool, session: Session) -> Training:
    """Return a run at the step from which it goes on; its logs are closed with the stack."""
    for folder in (run.folder, run.folder / CHECKPOINTS):
        remove_leftovers(folder)
    soft_targets = open_soft_targets(run, say=session.say)
    schedule, text = make_schedule(run.config.training, engine.batches), open_text(run)
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


def _end(training: Training) -> str:
    """Say what the evaluations have shown, and note that the run is complete; return what the best network writes.

    A resumed run takes the note back.
    """
    progress, folder = training.progress, training.run.folder
    rate, split = training.run.config.training.optimizer.learning_rate, training.text.split
    for line in advise_on_end(progress, split=split, difference=training.difference, rate=rate):
        training.session.say(line)
    best = None if progress.best_nats is None else _with_temperature(training, read_model(folder / BEST))
    write_file(folder / ENDED_FILE, (json.dumps({"step": progress.step}) + "\n").encode())
    return "" if best is None else sample_text(training.run, best)


def _with_temperature(training: Training, best: TrainedModel) -> TrainedModel:
    """Return the best model with the temperature at which it writes; one that is chosen is noted in the models."""
    run = training.run
    if not run.config.sampling.chooses_temperature:
        return best
    choice = choose_temperature(run, best)
    training.session.say(str(choice))

    def noted(model: TrainedModel) -> TrainedModel:
        """Return a model with what was chosen."""
        return replace(model, facts={**model.facts, "temperature": choice.temperature})

    write_model(run.folder / BEST, noted(best))
    write_model(run.folder / LAST, noted(read_model(run.folder / LAST)))
    return noted(best)
