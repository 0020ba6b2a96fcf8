"""The study: which trials there are, what they found, and which values come next. Optuna keeps it and proposes them.

Several processes may share a study. In one folder they take turns when they ask for a trial, and each trial is claimed
by the process that trains it. The claim of a process that has ended is gone, so that the next process that asks runs
its trial again. Processes in other folders, on other machines, share the study alone; each runs its own trials again.
"""

import hashlib
import json
import os
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
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from charlm.errors import CharlmError
from charlm.storage.atomic import remove_folder
from charlm.storage.files import open_for_writing
from charlm.storage.locks import lock, taking_turns
from charlm.tuning.space import Space, values_of_recipe

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
LEFT_OUT, TRIAL_SECONDS = "left_out", "trial_seconds"
"""The names of the attributes of trials, and of the study."""


@dataclass
class Turn:
    """A trial that this process has claimed."""

    trial: Trial
    lock: int
    """The descriptor of the lock of the trial."""
    values: dict[str, Any]
    """The values to try, by dotted keys."""

    @property
    def number(self) -> int:
        """The number of the trial, from 0."""
        return self.trial.number

    def release(self) -> None:
        """Let another process take the trial, if it has not ended."""
        os.close(self.lock)


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
        with taking_turns(out / TURN):
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
        with taking_turns(self.out / TURN):
            held = self._study.user_attrs.get(TRIAL_SECONDS)
            if held is None:
                held = default if asked is None else asked
                self._study.set_user_attr(TRIAL_SECONDS, held)
        if asked is not None and asked != held:
            raise CharlmError(
                f"--trial-minutes: found {asked / 60:g}; the trials of this search have {held / 60:g} min each: "
                f"leave it out, or name another --out"
            )
        return float(held)

    def take_turn(self, *, at_most: int | None = None) -> Turn | None:
        """Return a trial to train: the values of one that was not finished again, or new ones; None = there is none.

        Args:
            at_most: The number of trials, those of other processes and those in training included, at which there is no
                new one.

        Raises:
            CharlmError: the study cannot be written.

        """
        with taking_turns(self.out / TURN):
            self._enqueue_unfinished()
            return self._ask() if at_most is None or self._count() < at_most else None

    def _count(self) -> int:
        return len(self._study.get_trials(deepcopy=False, states=SEEN))

    def _enqueue_unfinished(self) -> None:
        """Let the values of trials whose processes have ended be tried again; what they have trained is removed."""
        for frozen in self._study.get_trials(states=(TrialState.RUNNING,)):
            if not self.is_here(frozen):
                continue
            held = lock(self._lock_file(frozen.number))
            if held is not None:
                self._leave_out(Trial(self._study, frozen._trial_id), "its process has ended")
                remove_folder(self.folder(frozen.number))
                self._study.enqueue_trial(frozen.params or values_of_recipe(self.space))
                os.close(held)

    def _ask(self) -> Turn | None:
        for _ in range(MAX_REPEATS):
            trials = self._study.get_trials(deepcopy=False)
            # seeded by the trial, so that a search of one process can be repeated and two do not draw the same
            self._study.sampler = TPESampler(seed=len(trials), n_startup_trials=RANDOM_TRIALS, multivariate=True)
            trial = self._study.ask(dict(self.space.search))
            held = lock(self._lock_file(trial.number))
            if held is None:
                raise CharlmError(f"{self.out}: the lock of trial {trial.number} is held by another process")
            trial.set_user_attr(OUT, self._place)
            others = [other for other in trials if other.number != trial.number and LEFT_OUT not in other.user_attrs]
            if not any(other.params == trial.params for other in others):  # what has failed would fail again
                return Turn(trial, held, trial.params)
            self._leave_out(trial, "the same values were tried before")
            os.close(held)
        return None

    def _leave_out(self, trial: Trial, reason: str) -> None:
        """End a trial that does not count."""
        trial.set_user_attr(LEFT_OUT, True)
        self._fail(trial, reason)

    def plan(self, turn: Turn, settings: Mapping[str, Any]) -> None:
        """Keep what a trial was planned with, for the best recipe."""
        turn.trial.set_user_attr(SETTINGS, dict(settings))

    def report(self, turn: Turn, index: int, nats: float) -> bool:
        """Report the loss at an evaluation, in nats per character; return whether the trial is hopeless."""
        turn.trial.report(nats, index)
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

    def _lock_file(self, number: int) -> Path:
        return self.out / f".trial-{number:04}.lock"

    def trials(self) -> list[FrozenTrial]:
        """Return all trials of the study that count, those of other processes included."""
        return [trial for trial in self._study.get_trials() if LEFT_OUT not in trial.user_attrs]

    def is_here(self, trial: FrozenTrial) -> bool:
        """Return whether the run of a trial is in this folder."""
        return trial.user_attrs.get(OUT) == self._place


LINE_BYTES = 1 << 20
"""Longer than any line of a journal."""


class JournalLock:
    """Held by the process that writes to a journal; it has the methods of Optuna's locks, whose base is not public.

    Optuna's own locks stay behind if their process is killed, and hold the others up for 30 seconds. The holder of this
    one also cuts off half a line that a killed process may have left, with which Optuna could not read the journal.

    Args:
        journal: The file; it is made if it is missing.

    Raises:
        CharlmError: the file is a link or cannot be written.

    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._descriptor = -1
        os.close(open_for_writing(journal, os.O_RDWR | os.O_CREAT))

    def acquire(self) -> bool:
        """Wait for the lock, and make the journal end with a whole line."""
        descriptor = lock(self._journal, wait=True)
        assert descriptor is not None
        self._descriptor = descriptor
        end = os.fstat(self._descriptor).st_size
        start = max(0, end - LINE_BYTES)
        tail = os.pread(self._descriptor, end - start, start)
        os.ftruncate(self._descriptor, start + tail.rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        """Let another process write."""
        os.close(self._descriptor)


def _open_storage(out: Path, url: str | None) -> BaseStorage:
    try:
        if url is None:
            journal = out / JOURNAL
            return JournalStorage(JournalFileBackend(str(journal), lock_obj=JournalLock(journal)))  # type: ignore[arg-type]
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
        except SQLAlchemyError as error:
            raise CharlmError(f"--storage: cannot be opened: {str(error).splitlines()[0]}") from None
    except (OptunaError, ImportError) as error:
        raise CharlmError(f"--storage: cannot be opened: {str(error).splitlines()[0]}") from None
    except (ValueError, LookupError, TypeError) as error:
        raise CharlmError(f"{out / JOURNAL}: damaged: {error}; put a whole copy in its place") from None
