"""A training command from the text to the outcome: a new run, or a run that continues."""

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from charlm.config.file import load_config
from charlm.config.recipes import find_recipe
from charlm.core import BEST
from charlm.core.architecture import architecture
from charlm.core.engine import Engine, EngineFactory, SoftTargets
from charlm.core.loop import Callback, End, Training
from charlm.core.model_file import read_model
from charlm.core.scoring import Score
from charlm.events import Decided, Ended, Note
from charlm.measures.baselines import NGRAM, Comparison
from charlm.measures.estimates import difference, is_clear, loss_of
from charlm.runs.callbacks import Divergence, EarlyStopping, Events, LockedFolder, TargetLoss
from charlm.runs.choosing import (
    MEMORIZE,
    Plan,
    Request,
    choose,
    new_engine,
    score_opponent,
    training_text,
)
from charlm.runs.folder import CORPUS, SOFT_TARGETS
from charlm.runs.initial_weights import read_initial_weights
from charlm.runs.logs import Probes, RunLog
from charlm.runs.run import Outcome, Run, free_folder, open_run, read_outcome, write_run
from charlm.runs.session import Session, Stopped
from charlm.runs.soft_targets import open_soft_targets
from charlm.runs.temperature import set_temperature
from charlm.runs.timing import TimeLimit
from charlm.storage import (
    CONFIG_FILE,
    Lock,
    UnwritableError,
    new_folder,
    only_writer,
    remove,
    write_file,
)
from charlm.text.corpus import (
    CORPUS_FILE,
    IDS_FILE,
    Corpus,
    is_one_corpus,
    open_corpus,
    read_manifest,
)
from charlm.text.documents import name_text
from charlm.text.findings import find_problems
from charlm.text.tokenization import tokenize
from charlm.wording import as_argument, counted, duration, name_some, short_number


def start_run(
    sources: Sequence[str],
    request: Request,
    path: Path | None,
    *,
    engines: EngineFactory,
    session: Session,
) -> Outcome:
    """Train a new run.

    Args:
        sources: Files, folders, .gz files, or - for standard input; or the folder of a corpus.
        request: The choices of the user.
        path: Folder of the run, missing or empty; None = a new folder under runs/.
        engines: Factory for the engine.
        session: Session of a `stop_on_signal` block.

    Raises:
        CharlmError: The folder is not free, or `read_corpus`, `choose` or `train_run` raises it.
        Stopped: A signal arrived before the run began, or a second signal arrived.

    """
    with (
        free_folder(path, text_name=_text_name(sources)) as folder,
        contextlib.ExitStack() as held,
    ):
        with new_folder(folder) as temporary:
            lock = held.enter_context(only_writer(temporary))
            corpus = read_corpus(sources, request, temporary, session)
            session.note(f"text: {corpus.manifest.name}: {corpus.summary}")
            for problem in find_problems(corpus):
                session.warn(problem)
            plan = choose(
                corpus,
                request,
                folder=temporary,
                engines=engines,
                session=session,
            )
            write_run(temporary, plan.config, initial=plan.initial)
            session.interruption.is_deferred = True  # the run begins
        run = Run(folder, plan.config, replace(plan.corpus, folder=folder / CORPUS))
        _announce(plan, session)
        return train_run(
            run,
            plan.engine,
            lock=lock,
            session=session,
            ngram=plan.ngram,
            soft_targets=plan.soft_targets,
            limit=plan.limit,
        )


def read_corpus(sources: Sequence[str], request: Request, folder: Path, session: Session) -> Corpus:
    """Write the text of a new run into its folder as a corpus, or link to an existing corpus.

    Raises:
        CharlmError: A setting is not valid, the text cannot be read, or the folder cannot be
            written.

    """
    settings = request.check().corpus
    known = None if request.init is None else request.init.model.vocabulary
    short = None
    if request.recipe is None and request.init is None and "corpus" not in request.overrides:
        short = load_config(find_recipe(MEMORIZE.recipe)).corpus
    target = folder / CORPUS
    if not is_one_corpus(sources):
        return tokenize(
            sources, target, settings, known=known, short=short, on_event=session.on_event
        )
    # A run owns its corpus: hard links keep the files if the other folder is removed.
    corpus = open_corpus(Path(sources[0]))
    with new_folder(target) as temporary:
        for name in (IDS_FILE, CORPUS_FILE):
            file = (corpus.folder / name).resolve()
            try:
                (temporary / name).hardlink_to(file)
            except OSError:  # another file system, or one without links
                write_file(temporary / name, np.memmap(file, np.uint8, "r").data)
    return corpus


def continue_run(path: Path, *, engines: EngineFactory, session: Session) -> Outcome:
    """Continue a run from its newest checkpoint to its end; a finished run is left as it is.

    If this machine lacks something that the config asks for, the engine uses a replacement and a
    note says so; the config of the run stays unchanged.

    Raises:
        CharlmError: The folder is not a run, another process trains it, the corpus or the initial
            weights are missing or damaged, or `train_run` raises it.
        Stopped: A signal arrived before the run began, or a second signal arrived.

    """
    outcome = read_outcome(path)
    if outcome is not None:
        session.note(
            f"{path}: this run has ended ({outcome.reason}); if the text has grown, go on from its "
            f"weights: charlm train TEXT --init {as_argument(path)}"
        )
        return outcome
    with only_writer(path) as lock:
        run = open_run(path)
        config = engines.resolve(run.config, is_recorded=True)
        engine = new_engine(config, run.corpus, engines, initial=read_initial_weights(run))
        return train_run(
            run,
            engine,
            lock=lock,
            session=session,
            ngram=score_opponent(training_text(run.corpus)),
            soft_targets=open_soft_targets(path, run.config, run.corpus, on_event=session.on_event),
        )


def train_run(
    run: Run,
    engine: Engine,
    *,
    lock: Lock,
    session: Session,
    ngram: Score | None,
    soft_targets: SoftTargets | None,
    limit: TimeLimit | None = None,
) -> Outcome:
    """Train from the newest checkpoint, or from step 0, to the end of the run or a signal.

    The checkpoints and soft targets of a finished run are removed, unless it keeps all checkpoints.

    Args:
        run: The run.
        engine: The engine, in its first state.
        lock: The lock of the folder of the run, which this process holds.
        session: The caller's side, in a `stop_on_signal` block.
        ngram: Score of the n-gram model on the validation text; None = unknown.
        soft_targets: Soft targets of the run; None if it has none.
        limit: Time limit; None = the run takes all its steps.

    Raises:
        CharlmError: `Training.run` or `set_temperature` raises it.
        Stopped: A second signal arrived.

    """
    settings = run.config.training
    interruption = session.interruption
    text = training_text(run.corpus)
    log = RunLog(run.folder, ngram)
    callbacks: list[Callback] = [Divergence(), LockedFolder(lock), log, Probes(log, text)]
    callbacks.append(Events(session.on_event))
    if settings.target_loss is not None:
        callbacks.append(TargetLoss(settings.target_loss))
    if settings.early_stopping is not None:
        callbacks.append(EarlyStopping(settings.early_stopping))
    if limit is not None:
        callbacks.append(limit)
    training = Training(
        run.folder,
        run.config,
        text,
        engine,
        callbacks=[*callbacks, interruption],
        soft_targets=soft_targets,
        on_event=session.on_event,
        clock=session.clock,
    )
    temperature = train_nats = None
    interruption.is_deferred = True
    end = _run(training)
    is_over = (lambda _=0: False) if limit is None else limit.is_over
    with contextlib.suppress(Stopped):  # a run that is continued does this again
        interruption.is_deferred = False
        has_model = interruption.signal is None and training.best is not None
        if has_model and not is_over(training.evaluation_seconds or 0.0):
            train_nats = _score_training_text(training)
        if has_model and run.config.sampling.chooses_temperature:
            temperature = set_temperature(run, lock, is_over=is_over)
        interruption.is_deferred = True
    end = interruption.reason_to_end(training) or end
    removed = [name for name in (CONFIG_FILE, CORPUS) if not (run.folder / name).exists()]
    if removed:
        session.warn(f"{run.folder}: {name_some(removed)} was removed during training; put it back")
    outcome = _outcome(training, end, ngram, temperature=temperature, train_nats=train_nats)
    if end.kind == "time limit":
        session.warn(f"slower than planned: {outcome.step:,} of {training.schedule.total:,} steps")
    if limit is not None and session.clock() > limit.end:
        session.warn(f"took longer than {limit.minutes:g} min")
    if end.kind == "signal":
        outcome = replace(outcome, signal=interruption.signal)
    else:
        lock.check(run.folder)
        outcome.write()
        if not settings.keep_checkpoints:
            for path in (training.checkpoints.folder, run.folder / SOFT_TARGETS):
                with contextlib.suppress(OSError):  # what stays does no harm
                    remove(path)
        _warn_of_counting(training, ngram, session)
    session.on_event(Ended(run.folder, end.reason, outcome.step))
    return outcome


def _run(training: Training) -> End:
    """Train to the end of the session; if a file cannot be written, say how to go on."""
    try:
        return training.run()
    except UnwritableError:
        if training.saved_step >= 0:
            run = as_argument(training.folder)
            note = Note(
                f"{training.folder}: saved up to step {training.saved_step:,}; continue with: "
                f"charlm train --resume -r {run}"
            )
            training.on_event(note)
        raise


def _score_training_text(training: Training) -> float | None:
    """Score the best model on as much of the training text as of the validation text, if any."""
    text = training.text
    if text.validation is None:
        return None
    best = read_model(training.folder / BEST).parameters
    return training.engine.score(best, text.training[: len(text.validation)]).nats_per_char


def _warn_of_counting(training: Training, ngram: Score | None, session: Session) -> None:
    """Warn if the n-gram model is clearly better than the best model."""
    if training.best is None or ngram is None:
        return
    initial_model = training.config.training.initial_model
    comparison = Comparison.of(training.best, ngram, initial_model=initial_model)
    if comparison.is_clear and comparison.margin_nats < 0:
        session.warn(f"counting is better: this model is {comparison}")


def _outcome(
    training: Training,
    end: End,
    ngram: Score | None,
    *,
    temperature: float | None,
    train_nats: float | None,
) -> Outcome:
    """Return the outcome of a session of training."""
    state, best, text = training.state, training.best, training.text
    error = None if best is None else loss_of(best).error
    could_go_on = end.kind in {"all steps", "time limit"}
    is_last = state.best_step == state.step
    is_gain_clear = False
    if best is not None and training.before_best is not None:
        gain = difference(training.before_best, best)
        is_gain_clear = is_clear(gain, characters=best.characters)
    is_short = text.validation is not None and error is None
    return Outcome(
        folder=training.folder,
        reason=end.reason,
        step=state.step,
        recipe=training.config.recipe,
        initial_model=training.config.training.initial_model,
        epochs=training.epochs,
        seconds=state.seconds,
        elapsed_seconds=state.elapsed_seconds,
        nats_per_char=state.best_nats,
        standard_error=error,
        best_step=state.best_step,
        split=text.split,
        train_nats_per_char=train_nats,
        temperature=temperature,
        baselines={} if ngram is None else {NGRAM: ngram.nats_per_char},
        is_uncertain=is_short and state.best_step not in {0, state.step},
        is_improving=could_go_on and is_last and is_gain_clear,
    )


def _announce(plan: Plan, session: Session) -> None:
    """Report how the text is trained: recipe, network and length."""
    config, schedule = plan.config, plan.schedule
    decided = Decided(
        recipe=config.recipe,
        reason=plan.candidate.reason,
        initial_model=config.training.initial_model,
        steps=schedule.total,
        epochs=schedule.epochs(schedule.total),
        evaluations=plan.evaluations,
        seconds=plan.seconds,
        minutes=plan.minutes,
    )
    session.on_event(decided)
    reason = f": {decided.reason}" if decided.reason else ""
    session.note(f"recipe {decided.recipe}{reason}")
    network = architecture(config, len(plan.corpus.vocabulary))
    units = f"{network.layers} x {network.units} units"
    session.note(f"network: {units}, {network.size:,} weights")
    limit = "" if plan.minutes is None else f" for {plan.minutes:g} min"
    steps = f"{counted(decided.steps, 'step')} ({short_number(decided.epochs)} epochs)"
    about = "at most about" if plan.may_end_early else "about"
    session.note(f"training{limit}: {steps}, {about} {duration(decided.seconds)}")


def _text_name(sources: Sequence[str]) -> str:
    """Return the name of a text; raises CharlmError if it is a corpus that cannot be read."""
    if is_one_corpus(sources):
        return read_manifest(Path(sources[0])).name
    return name_text(sources)
