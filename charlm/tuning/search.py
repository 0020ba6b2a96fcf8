"""The search: Optuna proposes values, each trial is an ordinary run of the recipe with these values.

Before a trial, a few steps of its network are timed, so that all trials take the same time. The number of steps that
follows is in the config of its run. So a trial can be repeated, which one that ends by the clock cannot, and its
learning rates fall to their end.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.trial import TrialState

from charlm.checks import check_number, check_path, check_whole
from charlm.config.file import dump_yaml, load_config
from charlm.config.recipes import find_recipe, find_space
from charlm.engine.factory import KerasEngines
from charlm.engine.runtime import check_tensorflow
from charlm.errors import CharlmError
from charlm.events import (
    Evaluated,
    Event,
    OnEvent,
    SearchStarted,
    TrialEnded,
    TrialFailed,
    TrialStarted,
    ignore,
)
from charlm.hardware import fastest_precision
from charlm.runs.folder import CONFIG_FILE, CORPUS, RUNS
from charlm.runs.ownership import write_text
from charlm.storage import only_writer, remove_leftovers, write_file, writing
from charlm.text.corpus import Corpus, is_corpus, open_corpus
from charlm.text.identity import check_same_text
from charlm.training.costs import Costs, TextFacts
from charlm.training.decision import UserSettings, decide
from charlm.training.interface import EngineFactory
from charlm.training.preparation import as_sources, prepare
from charlm.training.session import Session
from charlm.training.signals import Stopped, stop_on_signal
from charlm.training.timing import measure
from charlm.training.trainer import own_run, train_run
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
    sources: tuple[str, ...]
    """The text as it was given; empty = the plays that come with charlm."""


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
    """Search for the recipe with the lowest validation loss after the same time of training.

    If the same search has begun in the folder, it continues. TensorFlow's threads are set for the whole process.

    Args:
        space: The YAML file of what is searched, see docs/tuning.md; or the name of the one that comes with charlm.
        text: What `charlm.train` takes; None = the plays that come with charlm.
        minutes: The time of this call, more than 0.
        trials: The number of trials of the whole search at which it ends; None = any.
        trial_minutes: How long each trial trains, more than 0 and at most half of `minutes`; None = what the search
            has, for a new one a twentieth of `minutes`, but no less than half a minute.
        out: The folder of the search; None = tune- and the name of the space, under runs/.
        on_event: Called with the events of a search and of reading the text, see `charlm.events`.

    Raises:
        CharlmError: TensorFlow is not installed, the space or the text is not right, a trial takes longer than
            `minutes`, the folder holds another search or another process searches there, several trials in a row have
            failed, or none is complete, or a file cannot be written.
        Stopped: a signal came; it is a KeyboardInterrupt.

    """
    loaded = load_space(find_space(check_path("space", space)))
    folder = RUNS / f"tune-{loaded.path.stem}" if out is None else Path(check_path("out", out))
    seconds = 60 * check_number("minutes", minutes, least=0, above=True)
    trial_seconds = None
    if trial_minutes is not None:
        trial_seconds = 60 * check_number("trial_minutes", trial_minutes, least=0, above=True)
    if trials is not None:
        check_whole("trials", trials, least=1)
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
    measure: Callable[..., Costs] = measure,
) -> SearchResult:
    """Begin a search in a folder or continue it, until its time is over or it has enough trials.

    The arguments and errors are those of `tune`, in seconds. `measure` finds out how long the parts of a trial take.
    """
    with writing(folder):
        if (
            not (folder / JOURNAL).exists()
            and folder.exists()
            and any(p.name[0] != "." for p in folder.iterdir())
        ):
            raise CharlmError(
                f"{folder}: is not empty, and not the folder of a search; name another folder"
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
                f"minutes: found {seconds / 60:g}; a trial of this search takes {length / 60:g}; give more"
            )
        if space.is_advised:
            space = replace(space, recipe=_recipe_for(space, corpus, seconds=length))
        UserSettings(str(space.recipe), space.overrides({}), minutes=length / 60).check()
        _check_is_same(study, folder, {**space.describe(), "length of trials": length})
        found = _Search(space, folder, corpus, study, engines, session, length, measure)
        found.forget_interrupted_trials()
        found.write_best()  # the file of a process that was killed after its last trial is out of date
        session.on_event(SearchStarted(space.recipe.stem, length, int(seconds // length)))
        found.run_trials(until=started + seconds, trials=trials)
    if not found.has_complete_trial:
        raise CharlmError(f"{folder}: no trial is complete; repeat the search to continue it")
    return SearchResult(
        folder, study, folder / BEST_FILE, sources=() if text is None else tuple(sources)
    )


@dataclass
class _Search:
    """A search in its folder, which this process owns."""

    space: Space
    folder: Path
    corpus: Corpus
    study: optuna.Study
    engines: EngineFactory
    session: Session
    trial_seconds: float
    """The training time of each trial."""
    measure: Callable[..., Costs]

    @property
    def has_complete_trial(self) -> bool:
        """Whether a trial was trained to its end."""
        return bool(self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))

    def forget_interrupted_trials(self) -> None:
        """Note that trials which a stopped process has begun have failed."""
        for stale in self.study.get_trials(states=(TrialState.RUNNING,)):
            self.study.tell(stale.number, state=TrialState.FAIL)

    def run_trials(self, *, until: float, trials: int | None) -> None:
        """Run trials while another one can end in time.

        Args:
            until: When the call has to end, by the clock of the session.
            trials: The number of trials of the whole search at which it ends; None = any.

        Raises:
            CharlmError: several trials in a row have failed, or a file cannot be written.

        """
        if not self.study.trials:
            self.study.enqueue_trial(self.space.values())
        ended = sum(trial.state.is_finished() for trial in self.study.trials)
        failures = 0
        while self.session.clock() < until - self.trial_seconds and (
            trials is None or ended < trials
        ):
            error = self._run_trial()
            failures = 0 if error is None else failures + 1
            ended += 1
            if failures == MAX_FAILURES:
                raise CharlmError(
                    f"the last {failures} trials have failed, the last one with: {error}"
                )

    def _run_trial(self) -> CharlmError | None:
        """Train the run of a trial and record its loss; return why it has failed, or None."""
        study, session = self.study, self.session
        trial = study.ask({**self.space.search})
        session.on_event(TrialStarted(trial.number, trial.params))
        try:
            nats = self._train(trial)
        except CharlmError as error:
            study.tell(trial, state=TrialState.FAIL)
            session.on_event(TrialFailed(trial.number, str(error)))
            return error
        study.tell(trial, nats, state=TrialState.PRUNED if nats is None else TrialState.COMPLETE)
        self.write_best()
        best = study.best_trial  # there is one: the first trials are not pruned
        session.on_event(TrialEnded(trial.number, nats, float(best.value or 0.0), best.number))
        return None

    def _train(self, trial: optuna.Trial) -> float | None:
        """Train the run of a trial; return its lowest loss, None if it was ended because others were better."""
        evaluations = itertools.count(1)

        def report(event: Event) -> None:
            """Report an evaluation, and end a trial that is worse than the median of the others."""
            if not isinstance(event, Evaluated):
                return
            trial.report(event.nats_per_char, next(evaluations))
            if event.step < event.total and trial.should_prune():
                raise optuna.TrialPruned

        session = replace(self.session, on_event=report)
        overrides = self.space.overrides({**trial.params, **FOR_TRIALS})
        user = UserSettings(str(self.space.recipe), overrides, minutes=self.trial_seconds / 60)
        with own_run(_run_of(self.folder, trial.number), session=session) as place:
            prepared = prepare(
                self.corpus,
                user=user,
                folder=place,
                engines=self.engines,
                session=session,
                measure=self.measure,
            )
            run = prepared.begin(place)
            try:
                outcome = train_run(
                    run, prepared.engine, self.engines, session=session, text=prepared.text
                )
            except optuna.TrialPruned:
                return None
            if outcome.signal is not None:
                raise Stopped(outcome.signal)
            return outcome.nats_per_char

    def write_best(self) -> None:
        """Write the config of the best trial as a recipe, with the sampling that the search has left out.

        Nothing is written if no trial is complete, or if the run of the best trial was removed.
        """
        if not self.has_complete_trial:
            return
        best = self.study.best_trial
        path = _run_of(self.folder, best.number) / CONFIG_FILE
        if not path.exists():
            return
        config = load_config(path)
        config = config.model_copy(
            update={"recipe": None, "sampling": self.space.config().sampling}
        )
        head = (
            f"# Trial {best.number} of {len(self.study.trials)} of a search: {best.value:.4f} nats per character on "
            f"the validation text.\n# Its length is that of the trial; a time limit replaces it.\n"
        )
        recipe = dump_yaml(config.model_dump(mode="json", exclude_defaults=True))
        write_file(self.folder / BEST_FILE, (head + recipe).encode())


def _open_study(folder: Path) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(
            storage=JournalStorage(Journal(folder / JOURNAL)),
            study_name="charlm",
            pruner=optuna.pruners.MedianPruner(
                n_startup_trials=PRUNING_TRIALS, n_warmup_steps=PRUNING_INDEX
            ),
            load_if_exists=True,
        )
    except (ValueError, LookupError, TypeError, AssertionError) as error:
        raise CharlmError(f"{folder / JOURNAL}: damaged: {error}; name another folder") from None
    # seeded by the number of trials: with one seed, a search that continues would draw the same values again
    study.sampler = optuna.samplers.TPESampler(
        seed=len(study.trials), n_startup_trials=RANDOM_TRIALS, multivariate=True
    )
    return study


def _open_text(space: Space, sources: Sequence[str], folder: Path, session: Session) -> Corpus:
    """Return the text of the search in a folder.

    Raises:
        CharlmError: the text is not the one that the search began with, or has no validation part, by which trials are
            compared.

    """
    if is_corpus(folder / CORPUS):
        corpus = open_corpus(folder / CORPUS)
        check_same_text(sources, corpus, owner=folder)
    else:
        corpus = write_text(
            sources, folder / CORPUS, space.config().corpus, on_event=session.on_event
        )
    if not len(corpus.split("validation")):
        raise CharlmError(
            "the text is too short for a validation part, by which a search compares; give more text"
        )
    return corpus


def _recipe_for(space: Space, corpus: Corpus, *, seconds: float) -> Path:
    """Return the recipe that trials of some seconds search over, if the space names none."""
    user = UserSettings(overrides=space.overrides({}), minutes=seconds / 60)
    decision = decide(TextFacts.of(corpus), user, precision=fastest_precision())
    return find_recipe(str(decision.recipe))


def _check_is_same(study: optuna.Study, folder: Path, identity: dict[str, Any]) -> None:
    """Note what makes two searches the same, or refuse a folder that holds another."""
    for name, value in identity.items():
        if study.user_attrs.get(name, value) != value:
            raise CharlmError(f"{folder}: holds a search with another {name}; name another folder")
        study.set_user_attr(name, value)


def _run_of(folder: Path, number: int) -> Path:
    return folder / f"trial-{number:04}"
