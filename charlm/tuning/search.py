"""The search of `charlm tune`: Optuna proposes settings, and each trial trains an ordinary run.

A few steps of each network are timed first, so that all trials take the same time. The resulting
number of steps is in the config of the run, so a trial can be repeated.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.trial import TrialState

from charlm.api.training import as_sources
from charlm.checks import check_path, check_range
from charlm.config.file import dump_yaml, load_config
from charlm.config.recipes import find_recipe, find_space
from charlm.engine.factory import KerasEngines
from charlm.engine.runtime import check_tensorflow
from charlm.errors import CharlmError
from charlm.events import Evaluated, Event, OnEvent, TrialEnded, TrialStarted, ignore
from charlm.runs.folder import CORPUS, RUNS
from charlm.storage import CONFIG_FILE, only_writer, remove_leftovers, write_file, writing
from charlm.text.corpus import Corpus, is_corpus, open_corpus
from charlm.text.identity import check_same_text
from charlm.training.choosing import FEW_STEPS, MAX_MINUTES, Request, candidates_for
from charlm.training.interface import EngineFactory
from charlm.training.session import Session, Stopped, stop_on_signal
from charlm.training.trainer import read_text, start_run
from charlm.tuning.journal import Journal
from charlm.tuning.space import Space, load_space
from charlm.wording import counted

BEST_FILE = "best.yaml"
JOURNAL = "study.journal"
TRIALS = 20
"""Number of unpruned trials that fit into the time of a new search by default."""
MIN_TRIAL_SECONDS = 30.0
"""Shortest trial by default; in less time, differences between networks are mostly chance."""
FOR_TRIALS = {"training.evaluations": 10, "training.early_stopping": None, "sampling.length": 0}
"""Settings of every trial, so that evaluations of trials can be compared."""
RANDOM_TRIALS = 8
"""Number of random trials before the sampler uses earlier results."""
PRUNING_TRIALS = 4
"""Number of trials before pruning starts."""
PRUNING_INDEX = 3
"""First evaluation at which a trial can be pruned."""
MAX_FAILURES = 3
"""Number of failures in a row that end the search."""


@dataclass(frozen=True)
class SearchResult:
    """Result of a search."""

    folder: Path
    """Folder of the search, with the run of each trial."""
    study: optuna.Study
    """Optuna's study: settings (`params`), losses in nats per character and states of trials."""
    best: Path
    """Recipe of the best trial."""
    sources: tuple[str, ...]
    """Text as the user named it; empty = the plays that come with charlm."""


def tune(
    space: str | Path,
    text: str | Path | Sequence[str | Path] | None = None,
    *,
    minutes: float,
    trials: int | None = None,
    trial_minutes: float | None = None,
    out: str | Path | None = None,
    on_event: OnEvent = ignore,
) -> SearchResult:
    """Search for the recipe with the lowest validation loss after the same training time.

    Continues the same search if the folder contains it. Sets TensorFlow's threads for the whole
    process.

    Args:
        space: YAML file of the search space, see docs/tuning.md, or the name of the search space
            that comes with charlm.
        text: See `charlm.train`; None = the plays that come with charlm.
        minutes: Time limit of this call, above 0.
        trials: Number of trials at which the search ends; None = no limit.
        trial_minutes: Training time of each trial, above 0 and below `minutes`; None = as in the
            search so far, or a twentieth of `minutes`, at least half a minute, in a new search.
        out: Folder of the search; None = runs/tune-NAME with the name of the search space.
        on_event: Called with events of the search and of reading the text.

    Raises:
        CharlmError: TensorFlow is missing, the search space or the text is invalid, a trial takes
            longer than `minutes`, the folder contains a different search or is in use, several
            trials in a row fail, no trial is complete, or a file cannot be written.
        Stopped: A signal came; a subclass of KeyboardInterrupt.

    """
    loaded = load_space(find_space(check_path("space", space)))
    folder = RUNS / f"tune-{loaded.path.stem}" if out is None else Path(check_path("out", out))
    check_range("minutes", minutes, 0, MAX_MINUTES, above=True)
    seconds = 60 * minutes
    trial_seconds = None
    if trial_minutes is not None:
        check_range("trial_minutes", trial_minutes, 0, MAX_MINUTES, above=True)
        trial_seconds = 60 * trial_minutes
    if trials is not None:
        check_range("trials", trials, 1)
    as_sources(text)
    check_tensorflow()
    session = Session(on_event)
    with stop_on_signal(session.interruption):
        engines = KerasEngines(session)
        return search(
            loaded,
            text,
            folder,
            engines,
            session,
            seconds=seconds,
            trial_seconds=trial_seconds,
            trials=trials,
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
) -> SearchResult:
    """Start or continue a search in a folder.

    Arguments and errors are those of `tune`, with times in seconds.
    """
    with writing(folder):
        if folder.exists() and not (folder / JOURNAL).exists():
            names = [path.name for path in folder.iterdir()]
            if not all(name.startswith(".") for name in names):
                raise CharlmError(
                    f"{folder}: not empty, and not the folder of a search; choose another folder"
                )
        folder.mkdir(parents=True, exist_ok=True)
    started = session.clock()
    sources = as_sources(text)
    with only_writer(folder):
        with writing(folder):
            remove_leftovers(folder)
        study = _open_study(folder)
        corpus = _open_text(space, sources, folder, session)
        length = trial_seconds or study.user_attrs.get("length of trials")
        length = length or min(seconds / 2, max(seconds / TRIALS, MIN_TRIAL_SECONDS))
        if length >= seconds:
            raise CharlmError(
                f"minutes: found {seconds / 60:g}; must be more than {length / 60:g}, the length "
                f"of a trial of this search"
            )
        if space.is_advised:
            name = candidates_for(corpus, Request(overrides=space.overrides({})))[0].recipe
            space = replace(space, recipe=find_recipe(name))
        Request(str(space.recipe), space.overrides({}), minutes=length / 60).check()
        _check_is_same(study, folder, {**space.describe(), "length of trials": length})
        running = _Search(space, folder, corpus, study, engines, session, length)
        running.fail_interrupted_trials()
        running.write_best()  # an earlier process may have been killed before this
        session.note(
            f"recipe {space.recipe.stem}; {length:,.0f} s per trial, time for "
            f"{int(seconds // length):,} trials"
        )
        running.run_trials(until=started + seconds, trials=trials)
    if not running.has_complete_trial:
        raise CharlmError(f"{folder}: no trial is complete; repeat the search to continue it")
    named = () if text is None else tuple(sources)
    return SearchResult(folder, study, folder / BEST_FILE, named)


@dataclass
class _Search:
    """A search in a folder that this process owns."""

    space: Space
    folder: Path
    corpus: Corpus
    study: optuna.Study
    engines: EngineFactory
    session: Session
    trial_seconds: float
    """Training time of each trial."""

    @property
    def has_complete_trial(self) -> bool:
        """Whether any trial was trained to its end."""
        return bool(self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))

    def fail_interrupted_trials(self) -> None:
        """Mark trials of an interrupted process as failed."""
        for trial in self.study.get_trials(states=(TrialState.RUNNING,)):
            self.study.tell(trial.number, state=TrialState.FAIL)

    def run_trials(self, *, until: float, trials: int | None) -> None:
        """Run trials as long as there is time for another trial.

        Args:
            until: End of the call, by the clock of the session.
            trials: Number of trials at which the search ends; None = no limit.

        Raises:
            CharlmError: Several trials in a row failed, or a file cannot be written.

        """
        if not self.study.trials:
            self.study.enqueue_trial(self.space.values())
        ended = sum(trial.state.is_finished() for trial in self.study.trials)
        failures = 0
        while trials is None or ended < trials:
            if self.session.clock() >= until - self.trial_seconds:
                return
            error = self._run_trial()
            ended += 1
            failures = 0 if error is None else failures + 1
            if failures == MAX_FAILURES:
                raise CharlmError(f"the last {failures} trials failed, the last one with: {error}")

    def _run_trial(self) -> CharlmError | None:
        """Train the run of a trial and record its loss; return the error of a failed trial."""
        study, session = self.study, self.session
        trial = study.ask({**self.space.search})
        session.on_event(TrialStarted(trial.number, trial.params))
        try:
            nats = self._train(trial)
        except CharlmError as error:
            study.tell(trial, state=TrialState.FAIL)
            session.note(f"trial {trial.number}: failed: {error}")
            return error
        study.tell(trial, nats, state=TrialState.PRUNED if nats is None else TrialState.COMPLETE)
        self.write_best()
        best = study.best_trial  # exists, because the first trials are not pruned
        session.on_event(TrialEnded(trial.number, nats, float(best.value or 0.0), best.number))
        return None

    def _train(self, trial: optuna.Trial) -> float | None:
        """Train the run of a trial, and return its lowest loss, or None if it was pruned."""
        session = replace(self.session, on_event=_Pruner(trial))
        overrides = self.space.overrides({**trial.params, **FOR_TRIALS})
        request = Request(str(self.space.recipe), overrides, minutes=self.trial_seconds / 60)
        try:
            outcome = start_run(
                [str(self.corpus.folder)],
                request,
                _run_of(self.folder, trial.number),
                engines=self.engines,
                session=session,
                started=session.clock(),
            )
        except optuna.TrialPruned:
            return None
        if outcome.signal is not None:
            raise Stopped(outcome.signal)
        if outcome.step < FEW_STEPS:
            self.session.note(
                f"trial {trial.number}: {counted(outcome.step, 'step')} will teach the network "
                "little; allow more time with --trial-minutes"
            )
        return outcome.nats_per_char

    def write_best(self) -> None:
        """Save the config of the best trial as a recipe, with the sampling settings of the space.

        No recipe is saved if no trial is complete or the run of the best trial was removed.
        """
        if not self.has_complete_trial:
            return
        best = self.study.best_trial
        path = _run_of(self.folder, best.number) / CONFIG_FILE
        if not path.exists():
            return
        sampling = self.space.config().sampling
        config = load_config(path).model_copy(update={"recipe": None, "sampling": sampling})
        head = (
            f"# Trial {best.number} of {len(self.study.trials)} of a search: "
            f"{best.value:.4f} nats per character on the validation text.\n"
            f"# Training with it takes as many steps as the trial, unless you set a time limit.\n"
        )
        recipe = dump_yaml(config.model_dump(mode="json", exclude_defaults=True))
        write_file(self.folder / BEST_FILE, (head + recipe).encode())


class _Pruner:
    """Reports a trial's evaluations, and ends a trial worse than the median of the others."""

    def __init__(self, trial: optuna.Trial) -> None:
        self._trial = trial
        self._evaluations = itertools.count(1)

    def __call__(self, event: Event) -> None:
        if not isinstance(event, Evaluated):
            return
        self._trial.report(event.nats_per_char, next(self._evaluations))
        if event.step < event.total and self._trial.should_prune():
            raise optuna.TrialPruned


def _open_study(folder: Path) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pruner = optuna.pruners.MedianPruner(
        n_startup_trials=PRUNING_TRIALS, n_warmup_steps=PRUNING_INDEX
    )
    try:
        study = optuna.create_study(
            storage=JournalStorage(Journal(folder / JOURNAL)),
            study_name="charlm",
            pruner=pruner,
            load_if_exists=True,
        )
    except (ValueError, LookupError, TypeError, AssertionError) as error:
        raise CharlmError(f"{folder / JOURNAL}: damaged: {error}; choose another folder") from None
    # With a constant seed, a continued search would repeat its random values.
    study.sampler = optuna.samplers.TPESampler(
        seed=len(study.trials), n_startup_trials=RANDOM_TRIALS, multivariate=True
    )
    return study


def _open_text(space: Space, sources: Sequence[str], folder: Path, session: Session) -> Corpus:
    """Return the text of a search.

    Raises:
        CharlmError: The text differs from the earlier text of the search, or has no validation
            part.

    """
    path = folder / CORPUS
    if is_corpus(path):
        corpus = open_corpus(path)
        check_same_text(sources, corpus.manifest, owner=folder)
    else:
        corpus = read_text(sources, path, space.config().corpus, on_event=session.on_event)
    if not len(corpus.split("validation")):
        raise CharlmError(
            "the text is too short for a validation part, which a search needs; use more text"
        )
    return corpus


def _check_is_same(study: optuna.Study, folder: Path, identity: dict[str, Any]) -> None:
    """Record the identity of a search; raise CharlmError if the folder has a different search."""
    for name, value in identity.items():
        if study.user_attrs.get(name, value) != value:
            raise CharlmError(
                f"{folder}: contains a search with a different {name}; choose another folder"
            )
        study.set_user_attr(name, value)


def _run_of(folder: Path, number: int) -> Path:
    return folder / f"trial-{number:04}"
