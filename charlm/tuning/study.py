"""The study of a search in its folder: which trials there are, what they found, and which values come next.

Optuna keeps the study and proposes the values. One process searches in a folder at a time. A trial that was in training
when a search ended is run again by the next one.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.runs.folder import CORPUS
from charlm.runs.run import corpus_identity
from charlm.storage.atomic import remove_folder, scratch_folder, write_file
from charlm.storage.files import read_file, writing
from charlm.text.corpus import Corpus, is_corpus, open_corpus
from charlm.text.tokenization import tokenize
from charlm.tuning.space import Space, values_of_recipe

SEARCH_FILE, JOURNAL = "search.json", "study.journal"
MAX_BYTES, MAX_JOURNAL_BYTES = 1 << 20, 1 << 28
MEND = "put a whole copy in its place, or name another --out"
FORMAT = 1
RANDOM_TRIALS = 8
"""Trials before the sampler learns from earlier ones."""
PRUNING_TRIALS, PRUNING_INDEX = 4, 3
"""Trials that are never pruned, and the first evaluation at which others are."""
MAX_REPEATS = 100
"""Proposals of values that were tried before, in a row, after which there is nothing left to try."""
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
VALUES, ERROR, SECONDS = "values", "error", "seconds"
LEFT_OUT, TRIAL_SECONDS = "left_out", "trial_seconds"
"""The names of the attributes of trials, and of the study."""


def open_folder(out: Path) -> None:
    """Make the folder of a search, or find it; raises CharlmError if it holds something else or cannot be written."""
    with writing(out):
        is_new = not (out / SEARCH_FILE).exists()
        if is_new and out.exists() and any(path.name[0] != "." and path.name != CORPUS for path in out.iterdir()):
            raise CharlmError(f"{out}: is not empty, and not the folder of a search; name another --out")
        out.mkdir(parents=True, exist_ok=True)


def prepare_folder(
    out: Path, space: Space, sources: Sequence[str | Path], *, progress: bool = False
) -> tuple[Corpus, Space, dict[str, Any]]:
    """Begin a search in a folder, or find that the same search has begun there.

    Args:
        out: What `open_folder` has made or found.
        space: What is searched.
        sources: What `tokenize` takes, which is tokenized into corpus/; or one folder that it wrote.
        progress: Whether to show a progress bar on standard error while the text is tokenized.

    Returns:
        The text, the space for a text of this size, and what makes two searches the same, for JSON.

    Raises:
        CharlmError: the folder holds another search, or the text cannot be read.

    """
    corpus = _prepare_corpus(out / CORPUS, space.config(), sources, progress=progress)
    space = space.for_text(len(corpus.split("train")))
    identity = {"format": FORMAT, **space.describe(), CORPUS: corpus_identity(corpus)}
    written = (json.dumps(identity, indent=2) + "\n").encode()
    path = out / SEARCH_FILE
    if not path.exists():
        write_file(path, written)
    elif (found := _read(path)) != json.loads(written):
        name = next((key for key in identity if found.get(key) != json.loads(written)[key]), "format")
        raise CharlmError(f"{out}: holds a search with another {name}; name another --out, or delete this one")
    return corpus, space, identity


def _prepare_corpus(target: Path, config: Config, sources: Sequence[str | Path], *, progress: bool) -> Corpus:
    """Return the text; if it was tokenized before, it is tokenized again to see whether it is the same."""
    if len(sources) == 1 and is_corpus(Path(sources[0])):
        return open_corpus(Path(sources[0]))
    with scratch_folder(target) as scratch:
        corpus = tokenize([str(source) for source in sources], scratch / "new", config.corpus, progress=progress)
        if not target.exists():
            with writing(target):
                corpus.folder.rename(target)
        elif corpus_identity(open_corpus(target)) != corpus_identity(corpus):
            raise CharlmError(f"{target.parent}: holds a search with another text; name another --out")
    return open_corpus(target)


def _read(path: Path) -> dict[str, Any]:
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(read_file(path, limit=MAX_BYTES))
        if isinstance(found, dict):
            return found
    raise CharlmError(f"{path}: damaged: not a JSON object; name another --out")


class Study:
    """A study in the folder of its search.

    Args:
        out: The folder of the search.
        space: What is searched.
        identity: What makes two searches the same, for JSON.

    Raises:
        CharlmError: the journal cannot be opened.

    """

    def __init__(self, out: Path, space: Space, identity: Mapping[str, Any]) -> None:
        self.out, self.space = out, space
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        self._study = optuna.create_study(
            storage=_open_journal(out / JOURNAL),
            study_name=f"{space.path.stem}-{digest[:12]}",
            direction="minimize",
            load_if_exists=True,
            pruner=MedianPruner(n_startup_trials=PRUNING_TRIALS, n_warmup_steps=PRUNING_INDEX),
        )
        if not self._study.get_trials(deepcopy=False):
            self._study.enqueue_trial(values_of_recipe(space))

    def settle_trial_seconds(self, asked: float | None, *, default: float) -> float:
        """Return how long each trial of the study trains: what was asked for at its beginning, in seconds.

        Args:
            asked: What the user asks for; None = what the study has.
            default: What a new study gets if nothing is asked for.

        Raises:
            CharlmError: the study has another length: losses after different times do not compare.

        """
        held = self._study.user_attrs.get(TRIAL_SECONDS)
        if held is None:
            held = default if asked is None else asked
            self._study.set_user_attr(TRIAL_SECONDS, held)
        if asked is not None and asked != held:
            raise CharlmError(
                f"trial_minutes: found {asked / 60:g}; the trials of this search have {held / 60:g} min each: "
                f"leave it out, or name another --out"
            )
        return float(held)

    def enqueue_unfinished(self) -> None:
        """Let the values of trials that were in training be tried again; what they have trained is removed."""
        for frozen in self._study.get_trials(states=(TrialState.RUNNING,)):
            self._leave_out(Trial(self._study, frozen._trial_id))
            remove_folder(self.folder(frozen.number))
            self._study.enqueue_trial(frozen.params or values_of_recipe(self.space))

    def next_trial(self) -> Trial | None:
        """Return a trial to train, with values that were not tried; None = nothing is left to try."""
        for _ in range(MAX_REPEATS):
            trials = self._study.get_trials(deepcopy=False)
            # seeded by the trial, so that a search can be repeated
            self._study.sampler = TPESampler(seed=len(trials), n_startup_trials=RANDOM_TRIALS, multivariate=True)
            trial = self._study.ask(dict(self.space.search))
            others = [other for other in trials if other.number != trial.number and LEFT_OUT not in other.user_attrs]
            if not any(other.params == trial.params for other in others):  # what has failed would fail again
                return trial
            self._leave_out(trial)
        return None

    def _leave_out(self, trial: Trial) -> None:
        """End a trial that does not count."""
        trial.set_user_attr(LEFT_OUT, True)
        self._study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)

    def end(self, trial: Trial, state: TrialState, kept: Mapping[str, Any], *, nats: float | None = None) -> None:
        """End a trial.

        Args:
            trial: One that `next_trial` returned.
            state: COMPLETE, PRUNED or FAIL.
            kept: What is kept of it: VALUES, the settings that were tried; SECONDS of training; ERROR.
            nats: The lowest loss of a complete trial, in nats per character.

        """
        for name, value in kept.items():
            trial.set_user_attr(name, value)
        self._study.tell(trial, nats, state=state, skip_if_finished=True)

    def folder(self, number: int) -> Path:
        """Return the folder of the run of a trial that is trained here."""
        return self.out / f"trial-{number:04}"

    def trials(self) -> list[FrozenTrial]:
        """Return all trials of the study that count."""
        return [trial for trial in self._study.get_trials() if LEFT_OUT not in trial.user_attrs]


class _NoLock:
    """The lock of the journal: `only_writer` holds the folder, and Optuna's own lock would outlive a killed process."""

    def acquire(self) -> bool:
        """Take it."""
        return True

    def release(self) -> None:
        """Give it back."""


def _open_journal(path: Path) -> JournalStorage:
    """Open the journal, without the last record if a full disk or a kill has cut it short."""
    _cut_last_record(path)
    try:
        return JournalStorage(JournalFileBackend(str(path), lock_obj=_NoLock()))  # type: ignore[arg-type]
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        raise CharlmError(f"{path}: damaged: {error}; {MEND}") from None


def _cut_last_record(path: Path) -> None:
    """Remove a last record that is not whole; refuse a journal that is damaged before it."""
    if not path.exists():
        return
    *lines, last = read_file(path, limit=MAX_JOURNAL_BYTES).split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not _is_record(line):
            raise CharlmError(f"{path}: damaged: line {number:,} is not a record; {MEND}")
    if last and not lines:
        raise CharlmError(f"{path}: damaged: there is no whole record in it; {MEND}")
    if last:
        write_file(path, b"".join(line + b"\n" for line in lines))


def _is_record(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
