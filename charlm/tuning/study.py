"""The study: which trials there are, what they found, and which values come next. Optuna keeps it and proposes them.

Several processes may share a study. In one folder they take turns when they ask for a trial, and each trial is claimed
by the process that trains it. The claim of a killed process is gone, so that the next process that asks continues its
trial. Processes in other folders, on other machines, share the study alone; each folder continues its own trials.
"""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import OptunaError
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from charlm.config.file import flatten
from charlm.errors import CharlmError
from charlm.storage.claim import Claim, claim, taking_turns
from charlm.tuning.journal import open_journal
from charlm.tuning.space import FloatRange, IntRange, Range, Space

JOURNAL, TURN = "study.journal", ".turn"
RANDOM_TRIALS = 8
"""Trials before the sampler learns from earlier ones."""
PRUNING_TRIALS, PRUNING_INDEX = 4, 3
"""Trials that are never pruned, and the first evaluation at which others are."""
MAX_REPEATS = 100
"""Proposals of values that were tried before, in a row, after which there is nothing left to try."""
SEEN = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
COUNTED = (TrialState.COMPLETE, TrialState.PRUNED)
OUT, SETTINGS, ERROR, SECONDS = "out", "settings", "error", "seconds"
REPEATED, TRIAL_SECONDS = "repeated", "trial_seconds"
"""The names of the attributes of trials, and of the study."""


@dataclass
class Turn:
    """A trial that this process has claimed."""

    trial: Trial
    claim: Claim
    values: dict[str, Any]
    """The values to try, by dotted keys."""
    settings: dict[str, Any] | None
    """What the trial was planned with, if it is continued."""
    reported: set[int]
    """The evaluations that the study knows."""

    @property
    def number(self) -> int:
        """The number of the trial, from 0."""
        return self.trial.number


class Study:
    """A study, and the folder in which this process trains.

    Args:
        out: The folder of the search.
        space: What is searched.
        identity: What makes two searches the same, for JSON.
        storage: The URL of a database; None = a journal in the folder.

    Raises:
        CharlmError: the database or the journal cannot be opened.

    """

    def __init__(self, out: Path, space: Space, identity: Mapping[str, Any], *, storage: str | None) -> None:
        self.out, self.space = out, space
        self._place = f"{platform.node()}:{out.resolve()}"
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        with taking_turns(out, TURN):
            self._study = optuna.create_study(
                storage=_open_storage(out, storage),
                study_name=f"{space.path.stem}-{digest[:12]}",
                direction="minimize",
                load_if_exists=True,
                pruner=MedianPruner(n_startup_trials=PRUNING_TRIALS, n_warmup_steps=PRUNING_INDEX),
            )
            if not self._study.get_trials(deepcopy=False):
                self._study.enqueue_trial(values_of_recipe(space))

    def settle_trial_seconds(self, asked: float | None, *, default: float) -> float:
        """Return how long each trial of the study trains: what its first process has asked for, in seconds.

        Args:
            asked: What the user asks for; None = what the study has.
            default: What a new study gets if nothing is asked for.

        Raises:
            CharlmError: the study has another length: losses after different times do not compare.

        """
        with taking_turns(self.out, TURN):
            held = self._study.user_attrs.get(TRIAL_SECONDS)
            if held is None:
                held = default if asked is None else asked
                self._study.set_user_attr(TRIAL_SECONDS, held)
        if asked is not None and asked != held:
            raise CharlmError(
                f"--trial-minutes: found {asked / 60:g}; the trials of this search have {held / 60:g} minutes each: "
                f"leave it out, or name another --out"
            )
        return float(held)

    def take_turn(self, *, at_most: int | None = None) -> Turn | None:
        """Return a trial to train: one that a killed process has left, or a new one; None = there is none.

        Args:
            at_most: The number of trials, those of other processes and those in training included, at which there is no
                new one.

        Raises:
            CharlmError: the study cannot be written.

        """
        with taking_turns(self.out, TURN):
            return self._take_up() or (self._ask() if at_most is None or self._count() < at_most else None)

    def _count(self) -> int:
        return len(self._study.get_trials(deepcopy=False, states=SEEN))

    def _take_up(self) -> Turn | None:
        for frozen in self._study.get_trials(states=(TrialState.RUNNING,)):
            if frozen.user_attrs.get(OUT) == self._place and (held := claim(self.out, _claim_name(frozen.number))):
                trial = Trial(self._study, frozen._trial_id)  # Optuna has no other way back to a running trial
                settings = frozen.user_attrs.get(SETTINGS)
                return Turn(trial, held, self._suggest(trial), settings, set(frozen.intermediate_values))
        return None

    def _ask(self) -> Turn | None:
        for _ in range(MAX_REPEATS):
            trials = self._study.get_trials(deepcopy=False)
            # seeded by the trial, so that a search of one process can be repeated and two do not draw the same
            self._study.sampler = TPESampler(seed=len(trials), n_startup_trials=RANDOM_TRIALS, multivariate=True)
            trial = self._study.ask()
            held = claim(self.out, _claim_name(trial.number))
            if held is None:
                raise CharlmError(f"{self.out}: the lock of trial {trial.number} is held by another process")
            trial.set_user_attr(OUT, self._place)
            values = self._suggest(trial)
            others = [other for other in trials if other.number != trial.number and REPEATED not in other.user_attrs]
            if not any(other.params == trial.params for other in others):  # what has failed would fail again
                return Turn(trial, held, values, None, set())
            trial.set_user_attr(REPEATED, True)
            self._fail(trial, "the same values were tried before")
            held.release()
        return None

    def _suggest(self, trial: Trial) -> dict[str, Any]:
        """Return the values of a trial, those that it has already or new ones."""
        return {key: _suggest(trial, key, one) for key, one in self.space.search.items()}

    def plan(self, turn: Turn, settings: Mapping[str, Any]) -> None:
        """Keep what a trial was planned with, for the process that continues it, and for the best recipe."""
        turn.trial.set_user_attr(SETTINGS, dict(settings))

    def report(self, turn: Turn, index: int, nats: float) -> bool:
        """Report the loss at an evaluation, in nats per character; return whether the trial is hopeless."""
        if index not in turn.reported:
            turn.trial.report(nats, index)
            turn.reported.add(index)
        return turn.trial.should_prune()

    def complete(self, turn: Turn, nats: float, *, seconds: float) -> None:
        """End a trial with its lowest loss, in nats per character, after some seconds of training."""
        turn.trial.set_user_attr(SECONDS, seconds)
        self._study.tell(turn.trial, nats, skip_if_finished=True)

    def prune(self, turn: Turn, *, seconds: float) -> None:
        """End a hopeless trial."""
        turn.trial.set_user_attr(SECONDS, seconds)
        self._study.tell(turn.trial, state=TrialState.PRUNED, skip_if_finished=True)

    def fail(self, turn: Turn, reason: str) -> None:
        """End a trial that could not be trained."""
        self._fail(turn.trial, reason)

    def _fail(self, trial: Trial, reason: str) -> None:
        trial.set_user_attr(ERROR, reason)
        self._study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)

    def folder(self, number: int) -> Path:
        """Return the folder of the run of a trial that is trained here."""
        return self.out / f"trial-{number:04}"

    def trials(self) -> list[FrozenTrial]:
        """Return all trials of the study, those of other processes included, but not the repeated proposals."""
        return [trial for trial in self._study.get_trials() if REPEATED not in trial.user_attrs]

    def is_here(self, trial: FrozenTrial) -> bool:
        """Return whether the run of a trial is in this folder."""
        return trial.user_attrs.get(OUT) == self._place


def values_of_recipe(space: Space) -> dict[str, Any]:
    """Return the values that the recipe itself has, of the settings whose range has them."""
    settings = flatten(space.config())
    return {key: settings[key] for key, one in space.search.items() if key in settings and one.has(settings[key])}


def _claim_name(number: int) -> str:
    return f".trial-{number:04}.lock"


def _open_storage(out: Path, url: str | None) -> BaseStorage:
    try:
        if url is None:
            return JournalStorage(open_journal(out / JOURNAL))
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
        except SQLAlchemyError as error:
            raise CharlmError(f"--storage: cannot be opened: {str(error).splitlines()[0]}") from None
    except (OptunaError, ImportError) as error:
        raise CharlmError(f"--storage: cannot be opened: {str(error).splitlines()[0]}") from None
    except (ValueError, LookupError, TypeError) as error:
        raise CharlmError(f"{out / JOURNAL}: damaged: {error}; put a whole copy in its place") from None


def _suggest(trial: Trial, key: str, one: Range) -> Any:
    if isinstance(one, IntRange):
        return trial.suggest_int(key, *one.bounds, step=one.step, log=one.log)
    if isinstance(one, FloatRange):
        return trial.suggest_float(key, *one.bounds, log=one.log)
    return trial.suggest_categorical(key, one.choices)
