"""The search of `charlm tune`: Optuna proposes settings, and each trial trains an ordinary run.

A search space is a YAML file with a recipe, fixed settings, and ranges to search:

    recipe: default
    fixed: {model.layers: 2}
    search:
      model.units: {int: [128, 512], step: 64}
      training.optimizer.learning_rate: {float: [1e-3, 1e-2], log: true}
      model.rnn.activation: {categorical: [tanh, relu]}

Optuna keeps the trials in an SQLite file, which survives kills and full disks. All trials have the
same time limit.
"""

import contextlib
import itertools
import sqlite3
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from charlm.api.training import as_sources, train
from charlm.config.checks import check_path, check_range
from charlm.config.file import dump_yaml, flatten, load_config, parse_overrides, read_yaml
from charlm.config.recipes import find_recipe, find_space
from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.events import Evaluated, Event, Note, OnEvent, ignore
from charlm.runs.folder import CORPUS, RUNS
from charlm.storage import only_writer, write_file, writing
from charlm.text.corpus import is_corpus, read_manifest
from charlm.text.tokenization import check_same_text
from charlm.training.choosing import Request
from charlm.training.session import Stopped
from charlm.training.trainer import make_corpus
from charlm.wording import counted, short_repr

BEST = "best.yaml"
STUDY = "study.db"
OPTIONAL = {"recipe": "default", "fixed": {}}
"""Sections that a search space may have in addition to `search`, and their defaults."""
TRIALS = 20
"""Number of unpruned trials that fit into the time of a new search by default."""
MIN_TRIAL_MINUTES = 0.5
"""Shortest trial by default; in less time, differences between networks are mostly chance."""
SETTINGS = "settings of the search"
"""Name of the attribute of a study with its recipe, space and trial length."""
RANGES = "{int: [low, high]}, {float: [low, high]} or {categorical: [a, b, ...]}"
FOR_TRIALS = {"training.evaluations": 10, "training.early_stopping": None, "sampling.length": 0}
"""Settings of every trial, so that evaluations of trials can be compared."""
RANDOM_TRIALS = 8
"""Number of random trials before the sampler uses earlier results."""
PRUNING_TRIALS = 4
"""Number of trials before pruning starts."""
PRUNING_EVALUATION = 3
"""First evaluation that can prune a trial."""
MAX_FAILURES = 3
"""Number of failures in a row that end the search."""

optuna.logging.set_verbosity(optuna.logging.ERROR)


@dataclass(frozen=True)
class Space:
    """A search space."""

    recipe: str
    """Name or path of the recipe."""
    fixed: Mapping[str, Any]
    """Settings that replace settings of the recipe, by sections."""
    search: Mapping[str, Any]
    """Range of each searched setting, by dotted keys, as in the file."""

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Return a value for each searched setting, by dotted keys.

        Raises:
            CharlmError: A range is invalid.

        """
        suggest = {"int": trial.suggest_int, "float": trial.suggest_float}
        values: dict[str, Any] = {}
        for key, choices in self.search.items():
            try:
                (kind, ends), *options = choices.items()
                with warnings.catch_warnings(action="ignore"):  # trial 0 may be outside
                    if kind == "categorical":
                        values[key] = trial.suggest_categorical(key, ends)
                    else:
                        values[key] = suggest[kind](key, *ends, **dict(options))
            except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
                problem = f"{key}: found {short_repr(choices)}; must be {RANGES}: {error}"
                raise CharlmError(problem) from None
        return values

    def overrides(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fixed settings and `values`, by dotted keys, together by sections."""
        return parse_overrides({**self.fixed, **values})

    def config(self, values: Mapping[str, Any]) -> Config:
        """Return the recipe with the fixed settings and `values`, by dotted keys.

        Raises:
            CharlmError: The recipe cannot be read, or a value is invalid.

        """
        return load_config(find_recipe(self.recipe), overrides=self.overrides(values))


@dataclass(frozen=True)
class SearchResult:
    """Result of a search."""

    folder: Path
    """Folder of the search, with the run of each trial."""
    study: optuna.Study
    """Optuna's study: settings (`params`), losses in nats per character and states of trials."""
    best: Path
    """Recipe of the best trial."""


def load_space(path: Path) -> Space:
    """Read a search space from a YAML file.

    Args:
        path: YAML file, UTF-8, of at most 50,000 bytes.

    Raises:
        CharlmError: The file or the recipe cannot be read, a range is invalid, or the settings
            refuse a key, a fixed value or a random value of a range.

    """
    content = read_yaml(path)
    try:
        match {**OPTIONAL, **content} if isinstance(content, dict) else None:
            case {
                "recipe": str(recipe),
                "fixed": dict(fixed),
                "search": dict(search),
                **others,
            } if search and not others and {*map(type, [*fixed, *search])} == {str}:
                space = Space(check_path("recipe", recipe), parse_overrides(fixed), search)
            case _:
                raise CharlmError("must have ranges in search, and may have recipe and fixed")
        trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
        Request(recipe, space.overrides(space.suggest(trial)), minutes=1.0).check()
    except CharlmError as error:
        raise CharlmError(f"{path}: {str(error).removeprefix('override: ')}") from None
    return space


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
        trials: Number of trials at which the search ends, 1 or more; None = no limit.
        trial_minutes: Time limit of each trial, above 0 and at most `minutes`; None = a twentieth
            of `minutes`, at least half a minute, at most half of `minutes`.
        out: Folder of the search; None = runs/tune-NAME with the name of the search space.
        on_event: Called with notes on the trials, and with the progress of reading the text.

    Raises:
        CharlmError: TensorFlow is missing, the search space or the text is invalid, a trial takes
            longer than `minutes`, the folder contains a different search or is in use, several
            trials in a row fail, no trial is complete, or a file cannot be written.
        Stopped: A signal came; a subclass of KeyboardInterrupt.

    """
    check_range("minutes", minutes, 0, above=True)
    if trial_minutes is None:
        trial_minutes = min(minutes / 2, max(minutes / TRIALS, MIN_TRIAL_MINUTES))
    check_range("trial_minutes", trial_minutes, 0, minutes, above=True)
    end = time.monotonic() + 60 * minutes
    path = find_space(check_path("space", space))
    loaded = load_space(path)
    sources = as_sources(text)
    folder = RUNS / f"tune-{path.stem}" if out is None else Path(check_path("out", out))
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with only_writer(folder), _storing(folder / STUDY):
        study = _open_study(folder / STUDY)
        corpus = folder / CORPUS
        if is_corpus(corpus):
            check_same_text(sources, read_manifest(corpus), owner=folder)
        else:
            make_corpus(sources, corpus, loaded.config({}).corpus, on_event=on_event)
        search = _Search(loaded, folder, trial_minutes, on_event)
        search.begin(study)
        ended = sum(trial.state.is_finished() for trial in study.trials)
        study.optimize(
            search.run_trial,
            n_trials=None if trials is None else trials - ended,
            timeout=end - time.monotonic() - 60 * trial_minutes,
            catch=CharlmError,
            callbacks=[search.end_trial],
        )
    if not (folder / BEST).exists():
        raise CharlmError(f"{folder}: no trial is complete; repeat the search to continue it")
    return SearchResult(folder, study, folder / BEST)


@contextlib.contextmanager
def _storing(path: Path) -> Iterator[None]:
    """Turn an error of SQLite in the block into a CharlmError that names its file."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise CharlmError(f"{path}: {error.__cause__}".partition("\n")[0]) from None


def _open_study(path: Path) -> optuna.Study:
    """Open or create a study; trials of a killed process have failed."""
    connect = partial(sqlite3.connect, path)  # in a URL, Optuna would replace {}
    engine = {"creator": connect, "poolclass": NullPool}  # no connection stays open
    study = optuna.create_study(
        storage=optuna.storages.RDBStorage("sqlite://", engine),
        sampler=optuna.samplers.TPESampler(n_startup_trials=RANDOM_TRIALS, multivariate=True),
        pruner=optuna.pruners.MedianPruner(PRUNING_TRIALS, PRUNING_EVALUATION),
        study_name="charlm",
        load_if_exists=True,
    )
    for trial in study.get_trials(states=[TrialState.RUNNING]):
        study.tell(trial.number, state=TrialState.FAIL)
    return study


@dataclass(frozen=True)
class _Search:
    """A search in a folder that this process owns."""

    space: Space
    folder: Path
    trial_minutes: float
    on_event: OnEvent

    def begin(self, study: optuna.Study) -> None:
        """Record the search, or raise CharlmError if the folder has a different one."""
        recipe = self.space.config({})
        settings = [recipe.model_dump_json(), self.space.search, self.trial_minutes]
        if study.user_attrs.get(SETTINGS, settings) != settings:
            raise CharlmError(
                f"{self.folder}: has a search with another recipe, space or trial length; repeat "
                "its command, or choose another folder"
            )
        study.set_user_attr(SETTINGS, settings)
        if not study.trials:
            values = flatten(recipe)
            study.enqueue_trial({key: values.get(key) for key in self.space.search})
        self.write_best(study)  # an earlier process may have been killed before this

    def run_trial(self, trial: Trial) -> float:
        """Train the run of a trial, and return its lowest loss; trial 0 is the recipe.

        Raises:
            CharlmError: The trial fails.
            TrialPruned: Other trials are better.
            Stopped: A signal arrived.

        """
        values = self.space.suggest(trial)
        name = f"trial {trial.number}"
        shown = [f"{key.rpartition('.')[2]} {value}" for key, value in values.items()]
        self.on_event(Note(f"{name}: {', '.join(shown)}"))
        try:
            outcome = train(
                self.folder / CORPUS,
                recipe=self.space.recipe,
                overrides=self.space.overrides({**values, **FOR_TRIALS}),
                minutes=self.trial_minutes,
                run=self.folder / f"trial-{trial.number:04}",
                on_event=partial(_follow, trial, itertools.count(1)),
            )
        except CharlmError as error:
            self.on_event(Note(f"{name}: failed: {error}"))
            raise
        except optuna.TrialPruned:
            self.on_event(Note(f"{name}: pruned"))
            raise
        if outcome.signal is not None:
            raise Stopped(outcome.signal)
        nats: float = outcome.facts["nats_per_char"]
        steps = counted(outcome.step, "step")
        self.on_event(Note(f"{name}: {nats:.4f} nats per character after {steps}"))
        trial.set_user_attr("settings", {**values, "training.steps": outcome.step})
        return nats

    def end_trial(self, study: optuna.Study, _: FrozenTrial) -> None:
        """Save the best recipe; raise CharlmError if several trials in a row failed."""
        self.write_best(study)
        states = [trial.state for trial in study.trials[-MAX_FAILURES:]]
        if states == MAX_FAILURES * [TrialState.FAIL]:
            raise CharlmError(f"{self.folder}: {MAX_FAILURES} trials in a row failed")

    def write_best(self, study: optuna.Study) -> None:
        """Save the recipe of the best trial, if a trial is complete."""
        try:
            best = study.best_trial
        except ValueError:
            return
        config = self.space.config(best.user_attrs["settings"])
        recipe = dump_yaml(config.model_dump(mode="json", exclude_defaults=True))
        head = f"# Trial {best.number} of a search: {best.value:.4f} nats per character\n"
        write_file(self.folder / BEST, (head + recipe).encode())


def _follow(trial: Trial, numbers: Iterator[int], event: Event) -> None:
    """Report an evaluation to Optuna; raise TrialPruned if the trial is worse than the median."""
    if not isinstance(event, Evaluated):
        return
    trial.report(event.nats_per_char, next(numbers))
    if event.step < event.total and trial.should_prune():
        raise optuna.TrialPruned
