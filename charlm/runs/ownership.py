"""The folder of a run, owned by this process from its first file to the end of the command.

A run begins in an order that survives a kill at any moment: the lock, the text, with a time limit the soft targets, the
initial weights, the runs of its teachers, metrics.jsonl, and config.yaml last. A folder without config.yaml is no run:
the next command empties it and begins again.
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

OF_A_START = {LOCK, CORPUS, SOFT_TARGETS, INIT, TEACHERS, METRICS_FILE}
"""The files and folders that a start writes before config.yaml."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run that nobody else writes."""

    path: Path
    was_run: bool = False
    """Whether the run had begun before."""

    def add_text(
        self,
        sources: Sequence[str],
        settings: CorpusConfig,
        *,
        known: Vocabulary | None = None,
        on_event: OnEvent = ignore,
    ) -> Corpus:
        """Write the text of a new run as its corpus; the arguments and errors are those of `write_text`."""
        return write_text(sources, self.path / CORPUS, settings, known=known, on_event=on_event)

    def begin(
        self,
        config: Config,
        corpus: Corpus,
        *,
        initial: TrainedModel | None = None,
        teachers: Mapping[int, Config] | None = None,
    ) -> Run:
        """Begin a run whose text was added: write everything else that it needs, and config.yaml last.

        Args:
            config: Every setting, with nothing left open.
            corpus: The text.
            initial: The weights that training begins with; None = they are drawn at random.
            teachers: The config of each teacher that the run trains first, by its seed; None = there are none.

        Raises:
            CharlmError: the folder cannot be written.

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
        """Return whether the run or one of its teachers has been trained and saved."""
        teachers = self.path / TEACHERS
        runs = [self.path, *(teachers.iterdir() if teachers.is_dir() else ())]
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
    """Own the folder of a run for a block that begins the run or continues it.

    If an error ends the block before a new run has saved anything, the folder is removed again.

    Args:
        path: A folder that is missing, empty or left by a killed start, or, if `may_continue`, holds a run; None = a
            new one under runs/, named by the time and the text.
        text_name: Name of the text, see `charlm.text.documents.name_text`.
        may_continue: Whether the folder may hold a run.
        clock: Returns the time in seconds.
        on_event: Called with LeftoverRemoved.

    Raises:
        CharlmError: the folder holds something else, another process owns it, or it cannot be written.

    """
    named = path or RUNS
    with writing(named):
        made = [each for each in (named, *named.parents) if not each.exists()]
        if path is None:
            path = make_folder(text_name)
            made = [path, *made]
        _check_is_free(path, may_continue=may_continue)
        path.mkdir(parents=True, exist_ok=True)
    with only_writer(path, clock=clock):
        _check_is_free(
            path, may_continue=may_continue
        )  # again, since another process may have been faster
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
    """Raise CharlmError unless a run may begin in a folder, or continue there."""
    if is_run(path):
        if not may_continue:
            raise CharlmError(
                f"{path}: holds a run; name another folder", advice=Advice("resume", path)
            )
        return
    if not path.exists():
        return
    if not path.is_dir() or not (is_leftover(path) or not any(path.iterdir())):
        raise CharlmError(f"{path}: is not an empty folder; name another")


def is_leftover(folder: Path) -> bool:
    """Return whether a folder holds nothing but the files of a start that was killed before config.yaml."""
    names = {path.name for path in folder.iterdir() if not path.name.endswith(".tmp")}
    metrics = folder / METRICS_FILE
    has_metrics = metrics.is_file() and metrics.stat().st_size > 0
    return (
        LOCK in names
        and names <= OF_A_START
        and not has_metrics
        and not RunFolder(folder).has_results()
    )


def _remove_leftovers(folder: Path, on_event: OnEvent) -> None:
    """Empty a folder that a killed start has left."""
    left = [path for path in folder.iterdir() if path.name != LOCK]
    for path in left:
        remove(path)
    if left:
        on_event(LeftoverRemoved(folder))


def _abandon(folder: Path, made: Sequence[Path]) -> None:
    """Remove everything in the folder of a run, the lock last, and the folders that were made for it."""
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
    """Turn a text into a corpus in a folder, or make the folder a link to a corpus, and open it.

    Args:
        sources: Files, folders, .gz files, or - for standard input; or the folder of a corpus.
        folder: The folder, which does not exist.
        settings: The section `corpus` of the config.
        known: The vocabulary of the model whose weights training begins with: its characters keep their ids, and the
            text gets ids for the characters that it lacks.
        on_event: Called with TextProgress.

    Raises:
        CharlmError: the text cannot be read, or the folder cannot be written.

    """
    if not is_one_corpus(sources):
        return tokenize(sources, folder, settings, known=known, on_event=on_event)
    corpus = open_corpus(Path(sources[0]))
    with writing(folder):
        _link(corpus, folder)
    return corpus


def is_one_corpus(sources: Sequence[str]) -> bool:
    """Return whether a text is given as the folder of a corpus."""
    return len(sources) == 1 and is_corpus(Path(sources[0]))


def _link(corpus: Corpus, folder: Path) -> None:
    """Make a folder a link to a corpus.

    The link is relative within the folder of a run or a search, which can be moved as a whole.
    """
    outer = corpus.folder.parent
    is_within = (outer / LOCK).is_file() and folder.is_relative_to(outer)
    target = (
        Path(os.path.relpath(corpus.folder, folder.parent))
        if is_within
        else corpus.folder.resolve()
    )
    folder.symlink_to(target, target_is_directory=True)
