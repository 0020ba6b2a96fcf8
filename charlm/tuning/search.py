"""The search: Optuna proposes values, each trial is an ordinary run of the recipe with these values.

Before a trial, a few steps of its network are timed, so that all trials take the same time. The number of steps that
follows is in the config of its run. So a trial can be repeated, which one that ends by the clock cannot, and its
learning rates fall to their end.
"""

import itertools
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.trial import TrialState

from charlm.config.file import dump_yaml, load_config
from charlm.config.recipes import find_recipe
from charlm.engine.factory import KerasEngines
from charlm.engine.runtime import check_tensorflow
from charlm.errors import CharlmError, escape_controls
from charlm.hardware import fastest_precision
from charlm.runs.folder import CONFIG_FILE, CORPUS, RUNS
from charlm.runs.run import begin_run, run_folder
from charlm.storage import only_writer, remove_leftovers, write_file, writing
from charlm.text.corpus import Corpus, is_corpus, open_corpus
from charlm.training.checkpoints import Progress
from charlm.training.costs import Costs, TextFacts
from charlm.training.decision import Given, decide
from charlm.training.interface import EngineFactory
from charlm.training.preparation import as_sources, prepare, read_text
from charlm.training.signals import Session, Stopped, stop_on_signal
from charlm.training.timing import measure
from charlm.training.trainer import train_run
from charlm.tuning.journal import Journal
from charlm.tuning.space import Space, load_space

BEST_FILE, JOURNAL = "best.yaml", "study.journal"
TRIALS = 20
"""Trials that would fit into the time of a search if none were pruned."""
MIN_TRIAL_SECONDS = 30.0
"""A new search makes its trials no shorter unless it is told to: in less time, networks differ by luck."""
FOR_TRIALS = {"training.evaluations": 10, "training.early_stopping": None, "sampling.length": 0}
"""Settings of every trial: its evaluations are compared with those of other trials."""
RANDOM_TRIALS = 8
"""Trials before the sampler learns from earlier ones."""
PRUNING_TRIALS, PRUNING_INDEX = 4, 3
"""Trials that are never pruned, and the evaluation from which on others are."""
MAX_FAILURES = 3
"""Trials that fail one after the other, after which something must be wrong with all of them."""


@dataclass(frozen=True)
class SearchResult:
    """What a search has found."""

    folder: Path
    """The folder of the search, with the run of each trial."""
    study: optuna.Study
    """Optuna's record of all trials: their values (`params`), their losses in nats per character, their states."""
    best: Path
    """The recipe of the best trial."""
    command: str
    """What trains that recipe on the same text."""


def tune(
    space: str | Path,
    text: str | Path | Sequence[str | Path] | None = None,
    *,
    minutes: float,
    trials: int | None = None,
    trial_minutes: float | None = None,
    out: str | Path | None = None,
    say: Callable[[str], None] = lambda _: None,
    show_progress: bool = False,
) -> SearchResult:
    """Search for the recipe with the lowest validation loss after the same time of training.

    If the same search has begun in the folder, it goes on. TensorFlow's threads are set for the whole process.

    Args:
        space: The YAML file of what is searched, see docs/tuning.md; or the name of the one that comes with charlm.
        text: What `charlm.train` takes; None = the plays that come with charlm.
        minutes: The time of this call, more than 0.
        trials: The number of trials of the whole search at which it ends; None = any.
        trial_minutes: How long each trial trains, more than 0 and at most half of `minutes`; None = what the search
            has, for a new one a twentieth of `minutes`, but no less than half a minute.
        out: The folder of the search; None = tune- and the name of the space, under runs/.
        say: Takes a line for the user, for instance `print`.
        show_progress: Whether to show a bar on standard error while the text is tokenized.

    Raises:
        CharlmError: TensorFlow is not installed, the space or the text is not right, a trial takes longer than
            `minutes`, the folder holds another search or another process searches there, several trials in a row have
            failed, or none is complete, or a file cannot be written.
        Stopped: a signal came; it is a KeyboardInterrupt.

    """
    loaded = load_space(find_recipe(str(space)))
    check_tensorflow()
    folder = RUNS / f"tune-{loaded.path.stem}" if out is None else Path(out)
    seconds, trial_seconds = 60 * minutes, None if trial_minutes is None else 60 * trial_minutes
    with stop_on_signal(Session(say, show_progress=show_progress)) as session:
        engines = KerasEngines(session)
        return search(
            loaded, text, folder, engines, session, seconds=seconds, trial_seconds=trial_seconds, trials=trials
        )


def search(
    space: Space,
    text: str | Path | Sequence[str | Path] | None,
    folder: Path,
    engines: EngineFactory,
    session: Session,
    *,
    seconds: float,
    trial_seconds: float | None = None,
    trials: int | None = None,
    measure: Callable[..., Costs] = measure,
) -> SearchResult:
    """Begin a search in a folder or go on with it, until its time is over or it has enough trials.

    The arguments and errors are those of `tune`, in seconds. `measure` finds out how long the parts of a trial take.
    """
    with writing(folder):
        if not (folder / JOURNAL).exists() and folder.exists() and any(p.name[0] != "." for p in folder.iterdir()):
            raise CharlmError(f"{folder}: is not empty, and not the folder of a search; name another --out")
        folder.mkdir(parents=True, exist_ok=True)
    sources = as_sources(text)
    command = " ".join(["charlm train", *([] if text is None else map(shlex.quote, sources))])
    command += f" -c {shlex.quote(str(folder / BEST_FILE))}"
    with only_writer(folder):
        with writing(folder):
            remove_leftovers(folder)
        study = _open_study(folder)
        corpus = _open_text(space, sources, folder / CORPUS, session)
        length = trial_seconds or study.user_attrs.get("length of trials")
        length = length or min(seconds / 2, max(seconds / TRIALS, MIN_TRIAL_SECONDS))
        if length >= seconds:
            raise CharlmError(
                f"minutes: found {seconds / 60:g}; a trial of this search takes {length / 60:g}; give more"
            )
        if space.is_advised:
            space = replace(space, recipe=_recipe_for(space, corpus, seconds=length))
        Given(str(space.recipe), space.overrides({}), minutes=length / 60).check()
        _check_is_same(study, folder, {**space.describe(), "text": sources, "length of trials": length})
        for stale in study.get_trials(states=(TrialState.RUNNING,)):  # of a process that was stopped
            study.tell(stale.number, state=TrialState.FAIL)
        _write_best(study, space, folder, command)  # that of a process killed after its last trial is out of date
        if not study.trials:
            study.enqueue_trial(space.values())
        session.say(f"recipe {space.recipe.stem}; a trial trains {length:,.0f} s, at most {seconds // length:,.0f} fit")
        ended, failures = sum(trial.state.is_finished() for trial in study.trials), 0
        last_start = session.clock() + seconds - length  # a trial begins if it can end
        while session.clock() < last_start and (trials is None or ended < trials):
            trial, ended = study.ask({**space.search}), ended + 1
            try:
                with run_folder(_run_of(folder, trial.number)) as place:
                    nats = _train_trial(
                        trial, space, corpus, place, engines, session=session, seconds=length, measure=measure
                    )
            except CharlmError as error:
                study.tell(trial, state=TrialState.FAIL)
                session.say(f"trial {trial.number}: failed: {error}")
                failures += 1
                if failures == MAX_FAILURES:
                    raise CharlmError(f"the last {failures} trials have failed") from None
                continue
            failures = 0
            study.tell(trial, nats, state=TrialState.PRUNED if nats is None else TrialState.COMPLETE)
            best = study.best_trial  # there is one: the first trials are not pruned
            _write_best(study, space, folder, command)
            result = "pruned" if nats is None else f"{nats:.4f} nats per character"
            session.say(f"trial {trial.number}: {result}; best {best.value:.4f} (trial {best.number})")
    if not _has_complete_trial(study):
        raise CharlmError(f"{folder}: no trial is complete; the same command goes on with the search")
    return SearchResult(folder, study, folder / BEST_FILE, command)


def _open_study(folder: Path) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(
            storage=JournalStorage(Journal(folder / JOURNAL)),
            study_name="charlm",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=PRUNING_TRIALS, n_warmup_steps=PRUNING_INDEX),
            load_if_exists=True,
        )
    except (ValueError, LookupError, TypeError, AssertionError) as error:
        raise CharlmError(f"{folder / JOURNAL}: damaged: {error}; name another --out") from None
    # seeded by the number of trials: with one seed, a search that goes on would draw the same values again
    study.sampler = optuna.samplers.TPESampler(
        seed=len(study.trials), n_startup_trials=RANDOM_TRIALS, multivariate=True
    )
    return study


def _open_text(space: Space, sources: Sequence[str], folder: Path, session: Session) -> Corpus:
    """Return the text of a search; raise CharlmError if it has no validation part, by which trials are compared."""
    if is_corpus(folder):
        corpus = open_corpus(folder)
    else:
        corpus = read_text(sources, folder, space.config().corpus, show_progress=session.show_progress)
    if not len(corpus.split("validation")):
        raise CharlmError("the text is too short for a validation part, by which a search compares; give more text")
    return corpus


def _recipe_for(space: Space, corpus: Corpus, *, seconds: float) -> Path:
    """Return the recipe that trials of some seconds search over, if the space names none."""
    given = Given(overrides=space.overrides({}), minutes=seconds / 60)
    decision = decide(TextFacts.of(corpus), given, precision=fastest_precision())
    return find_recipe(str(decision.recipe))


def _check_is_same(study: optuna.Study, folder: Path, identity: dict[str, Any]) -> None:
    """Note what makes two searches the same, or refuse a folder that holds another."""
    for name, value in identity.items():
        if study.user_attrs.get(name, value) != value:
            raise CharlmError(f"{folder}: holds a search with another {name}; name another --out")
        study.set_user_attr(name, value)


def _train_trial(
    trial: optuna.Trial,
    space: Space,
    corpus: Corpus,
    place: Path,
    engines: EngineFactory,
    *,
    session: Session,
    seconds: float,
    measure: Callable[..., Costs],
) -> float | None:
    """Train the run of a trial; return its lowest loss in nats per character, None if it is worse than the others."""
    shown = (f"{key.rpartition('.')[2]} {f'{v:.4g}' if isinstance(v, float) else v}" for key, v in trial.params.items())
    session.say(f"trial {trial.number}: {', '.join(shown)}")
    with session.silent():
        overrides = space.overrides({**trial.params, **FOR_TRIALS})
        given = Given(str(space.recipe), overrides, minutes=seconds / 60)
        prepared = prepare(corpus, given=given, folder=place, engines=engines, session=session, measure=measure)
        config, steps = prepared.config, prepared.decision.steps
        marks = itertools.count(1)

        def report(progress: Progress, nats: float) -> None:
            """Report an evaluation, and end a trial that is worse than the median of the others."""
            trial.report(nats, next(marks))
            if progress.step < steps and trial.should_prune():
                raise optuna.TrialPruned

        session.on_evaluation = report
        try:
            begun = begin_run(place, config, corpus)
            outcome = train_run(begun, prepared.engine, engines, session=session, text=prepared.text)
        except optuna.TrialPruned:
            return None
    if outcome.signal is not None:
        raise Stopped(outcome.signal)
    return outcome.nats_per_char


def _has_complete_trial(study: optuna.Study) -> bool:
    return bool(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))


def _write_best(study: optuna.Study, space: Space, folder: Path, command: str) -> None:
    """Write the config of the best trial as a recipe, with the sampling that the search has left out.

    If no trial is complete, nothing is written.
    """
    if not _has_complete_trial(study):
        return
    best = study.best_trial
    config = load_config(_run_of(folder, best.number) / CONFIG_FILE)
    config = config.model_copy(update={"recipe": None, "sampling": space.config().sampling})
    head = (
        f"# {escape_controls(command)}\n"
        f"# Trial {best.number} of {len(study.trials)} of a search: {best.value:.4f} nats per character on the "
        f"validation text.\n# It has the length of the trial; --minutes N takes another time.\n"
    )
    write_file(folder / BEST_FILE, (head + dump_yaml(config.model_dump(mode="json", exclude_defaults=True))).encode())


def _run_of(folder: Path, number: int) -> Path:
    return folder / f"trial-{number:04}"
