"""The folder of a run, which a process owns from the first file to the end of the command.

A run can be killed at any moment while it begins, because its files are written in this order: the
lock, the text, the soft targets (if there is a time limit), the initial weights, the runs of its
teachers, metrics.jsonl, and finally config.yaml. A folder without config.yaml is not a run: the
next command empties it and begins again.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from charlm.config.schema import Config, CorpusConfig
from charlm.errors import Advice, CharlmError
from charlm.events import LeftoverRemoved, OnEvent, ignore
from charlm.network.model_file import TrainedModel, write_model
from charlm.runs.folder import (
    CORPUS,
    INIT,
    METRICS_FILE,
    RUNS,
    SOFT_TARGETS,
    TEACHERS,
    is_run,
    make_folder,
    results,
)
from charlm.runs.run import Run, write_config
from charlm.storage import LOCK, only_writer, remove, sync_folder, write_file, writing
from charlm.text.corpus import Corpus, is_corpus, open_corpus
from charlm.text.tokenization import tokenize
from charlm.text.vocabulary import Vocabulary

FILES_BEFORE_CONFIG = {LOCK, CORPUS, SOFT_TARGETS, INIT, TEACHERS, METRICS_FILE}
"""Files and folders that are written before config.yaml."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run that only this process writes."""

    path: Path
    was_run: bool = False
    """Whether the run has begun earlier."""

    def add_text(
        self,
        sources: Sequence[str],
        settings: CorpusConfig,
        *,
        known: Vocabulary | None = None,
        on_event: OnEvent = ignore,
    ) -> Corpus:
        """Write the text of a new run as its corpus; see `write_text`."""
        return write_text(sources, self.path / CORPUS, settings, known=known, on_event=on_event)

    def begin(
        self,
        config: Config,
        corpus: Corpus,
        *,
        initial: TrainedModel | None = None,
        teachers: Mapping[int, Config] | None = None,
    ) -> Run:
        """Begin a run whose text was added: write its other files, and config.yaml last.

        Args:
            config: Every setting, resolved.
            corpus: The text.
            initial: The initial weights; None = random.
            teachers: The config of each teacher that the run trains first, by its seed.

        Raises:
            CharlmError: The folder cannot be written.

        """
        corpus = replace(corpus, folder=self.path / CORPUS)
        if initial is not None:
            write_model(self.path / INIT, initial)
        for seed, teacher_config in (teachers or {}).items():
            folder = RunFolder(self.path / TEACHERS / str(seed))
            with writing(folder.path):
                folder.path.mkdir(parents=True)
                _link(corpus, folder.path / CORPUS)
            folder.begin(teacher_config, corpus)
        write_file(self.path / METRICS_FILE, b"")
        write_config(self.path, config)
        with writing(self.path):
            sync_folder(self.path.parent)
        return Run(self.path, config, corpus)

    def has_results(self) -> bool:
        """Return whether the run or one of its teachers has saved a model."""
        teachers = self.path / TEACHERS
        runs = [self.path]
        if teachers.is_dir():
            runs += teachers.iterdir()
        return any(results(run) for run in runs)


@contextlib.contextmanager
def own_folder(
    path: Path | None,
    *,
    text_name: str = "",
    may_continue: bool = False,
    clock: Callable[[], float] = time.monotonic,
    on_event: OnEvent = ignore,
) -> Iterator[RunFolder]:
    """Own the folder of a run during a block that begins or continues the run.

    If an error ends the block before a new run has saved anything, the folder is removed.

    Args:
        path: A folder that is missing, empty, left over from a killed start, or, with
            `may_continue`, a run; None = a new folder under runs/, named after the time and the
            text.
        text_name: Name of the text; see `charlm.text.documents.name_text`.
        may_continue: Whether the folder may be a run.
        clock: Function that returns the time in seconds.
        on_event: Called with LeftoverRemoved.

    Raises:
        CharlmError: The folder contains something else, another process owns it, or it cannot be
            written.

    """
    named = path or RUNS
    with writing(named):
        made = [folder for folder in (named, *named.parents) if not folder.exists()]
        if path is None:
            path = make_folder(text_name)
            made = [path, *made]
        _check_is_free(path, may_continue=may_continue)
        path.mkdir(parents=True, exist_ok=True)
    with only_writer(path, clock=clock):
        # Another process may have begun a run before this one got the lock.
        _check_is_free(path, may_continue=may_continue)
        folder = RunFolder(path, was_run=is_run(path))
        if not folder.was_run:
            _remove_leftovers(path, on_event)
        try:
            yield folder
        except BaseException:
            with contextlib.suppress(OSError):
                if not folder.was_run and not folder.has_results():
                    _abandon(path, made)
            raise


def _check_is_free(path: Path, *, may_continue: bool) -> None:
    """Raise CharlmError unless a run may begin or continue in a folder."""
    if is_run(path):
        if not may_continue:
            problem = f"{path}: contains a run; choose another folder"
            raise CharlmError(problem, advice=Advice("resume", path))
        return
    if not path.exists():
        return
    is_free = path.is_dir() and (is_leftover(path) or not any(path.iterdir()))
    if not is_free:
        raise CharlmError(f"{path}: not an empty folder; choose another")


def is_leftover(folder: Path) -> bool:
    """Return whether a folder has only files of a start that was killed before its config.yaml."""
    names = {path.name for path in folder.iterdir() if not path.name.endswith(".tmp")}
    metrics = folder / METRICS_FILE
    has_metrics = metrics.is_file() and metrics.stat().st_size > 0
    return (
        LOCK in names
        and names <= FILES_BEFORE_CONFIG
        and not has_metrics
        and not RunFolder(folder).has_results()
    )


def _remove_leftovers(folder: Path, on_event: OnEvent) -> None:
    """Remove the files of a killed start from a folder."""
    leftovers = [path for path in folder.iterdir() if path.name != LOCK]
    for path in leftovers:
        remove(path)
    if leftovers:
        on_event(LeftoverRemoved(folder))


def _abandon(folder: Path, made: Sequence[Path]) -> None:
    """Empty the folder of a run, its lock last, and remove the folders that were made for it."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name == LOCK):
        remove(path)
    for path in made:
        path.rmdir()


def write_text(
    sources: Sequence[str],
    folder: Path,
    settings: CorpusConfig,
    *,
    known: Vocabulary | None = None,
    on_event: OnEvent = ignore,
) -> Corpus:
    """Write a text as a corpus, or link to an existing corpus, and open it.

    Args:
        sources: Files, folders, .gz files, or - for standard input; or the folder of a corpus.
        folder: The folder to make.
        settings: The section `corpus` of the config.
        known: The vocabulary of the initial weights: its characters keep their ids, and other
            characters of the text get new ids.
        on_event: Called with TextProgress.

    Raises:
        CharlmError: The text cannot be read, or the folder cannot be written.

    """
    if not is_one_corpus(sources):
        return tokenize(sources, folder, settings, known=known, on_event=on_event)
    corpus = open_corpus(Path(sources[0]))
    with writing(folder):
        _link(corpus, folder)
    return corpus


def is_one_corpus(sources: Sequence[str]) -> bool:
    """Return whether the text is the folder of a corpus."""
    return len(sources) == 1 and is_corpus(Path(sources[0]))


def _link(corpus: Corpus, folder: Path) -> None:
    """Make a link to a corpus.

    Within the folder of a run or a search, the link is relative, so that the folder can be moved.
    """
    outer = corpus.folder.parent
    target = corpus.folder.resolve()
    if (outer / LOCK).is_file() and folder.is_relative_to(outer):
        target = Path(os.path.relpath(corpus.folder, folder.parent))
    folder.symlink_to(target)
