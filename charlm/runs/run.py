"""A run: beginning one and opening one to continue it. `charlm.training` trains it."""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from charlm.config.file import dump_config, load_config
from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.hardware import core_count
from charlm.network.bundle import CONFIG_FILE, VOCABULARY_FILE, Bundle
from charlm.runs.folder import CORPUS, METRICS_FILE, check_is_run, is_run
from charlm.storage.atomic import write_file, writing
from charlm.storage.lock import LOCK, only_writer
from charlm.text.corpus import Corpus, is_corpus, open_corpus
from charlm.text.tokenization import tokenize
from charlm.text.vocabulary import read_vocabulary

_WRITTEN_BEFORE_CONFIG = (CORPUS, f".{CORPUS}-*", VOCABULARY_FILE, METRICS_FILE, ".*.tmp")
"""Patterns of the names that a folder may have before it has a config.yaml, which makes it a run."""


@dataclass(frozen=True)
class Run:
    """A run that has begun: its folder, every setting, and its text."""

    folder: Path
    config: Config
    corpus: Corpus


def begin_run(folder: Path, config: Config, source: Path, *, progress: bool = False) -> Run:
    """Write the folder of a new run: config.yaml, vocabulary.json, an empty metrics.jsonl, and corpus/.

    If a process was killed while it did this, the folder it left counts as empty.

    Args:
        folder: A folder that is missing or empty.
        config: Every setting; `settle_parts` completes it.
        source: A text file or a folder of text files, which is tokenized into corpus/, or a folder that `tokenize`
            wrote, to which corpus/ becomes a link.
        progress: Whether to show a progress bar on standard error while the text is tokenized.

    Raises:
        CharlmError: the folder is not empty, another process is writing to it, or the text cannot be read; in the last
            case the folder is removed again, or left empty if it existed.

    """
    existed = folder.exists()
    if existed and not (folder.is_dir() and _may_begin(folder)):
        advice = "continue it with --resume, or name another folder" if is_run(folder) else "name another"
        raise CharlmError(f"{folder}: {'holds a run' if is_run(folder) else 'is not empty'}; {advice}")
    config = settle_parts(config)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with only_writer(folder), _removed_on_failure(folder, existed=existed):
        _remove_unfinished(folder)
        if is_corpus(source):
            corpus = open_corpus(source)
            (folder / CORPUS).symlink_to(source.resolve(), target_is_directory=True)
        else:
            corpus = tokenize([str(source)], folder / CORPUS, config.corpus, progress=progress)
        write_file(folder / VOCABULARY_FILE, corpus.vocabulary.to_json().encode())
        (folder / METRICS_FILE).touch()
        write_config(folder, config)  # last, because it makes the folder a run
    return Run(folder, config, corpus)


def open_run(folder: Path, *, overrides: Iterable[str] | Mapping[str, Any] = ()) -> Run:
    """Open a run that has begun, to continue it.

    Args:
        folder: The folder of the run.
        overrides: Settings that replace those of the run: KEY=VALUE strings with dotted keys, or a mapping.

    Raises:
        CharlmError: the folder is not a run, an override is not valid, or the corpus is missing, damaged or has another
            vocabulary than the run.

    """
    check_is_run(folder)
    corpus = open_corpus(folder / CORPUS)
    if corpus.vocabulary != read_vocabulary(folder / VOCABULARY_FILE):
        raise CharlmError(f"{folder / CORPUS}: not the corpus that the run began with; start a new run")
    return Run(folder, settle_parts(load_config(folder / CONFIG_FILE, overrides=overrides)), corpus)


def settle_parts(config: Config) -> Config:
    """Return a config whose `training.parts` is a number: the cores of this machine, if it was None.

    The number of parts of a batch decides the order of the sums and thereby their last bits. It is kept in the run, so
    that the run can continue on another machine with the same results.
    """
    if config.training.parts is not None:
        return config
    training = config.training.model_copy(update={"parts": core_count()})
    return config.model_copy(update={"training": training})


def write_config(folder: Path, config: Config) -> None:
    """Write the config.yaml of a run: every value, defaults included."""
    write_file(folder / CONFIG_FILE, dump_config(config).encode())


def run_corpus(folder: Path, bundle: Bundle) -> Corpus | None:
    """Return the text that a model was trained on, or None if its bundle is not in a run.

    Args:
        folder: The folder of the bundle.
        bundle: Its contents.

    Raises:
        CharlmError: the corpus of the run is damaged, or has another vocabulary than the bundle.

    """
    path = folder.parent / CORPUS
    if not is_run(folder.parent) or not is_corpus(path):
        return None
    corpus = open_corpus(path)
    if corpus.vocabulary != bundle.vocabulary:
        raise CharlmError(f"{path}: not the corpus that the run was trained on: put it back, or name a text to score")
    return corpus


def _may_begin(folder: Path) -> bool:
    """Return whether a folder is empty, or holds only what a killed `begin_run` leaves behind."""
    names = {path.name for path in folder.iterdir()}
    known = all(any(fnmatch(name, pattern) for pattern in (LOCK, *_WRITTEN_BEFORE_CONFIG)) for name in names)
    return not names or (LOCK in names and known)


def _remove_unfinished(folder: Path) -> None:
    for path in [path for pattern in _WRITTEN_BEFORE_CONFIG for path in folder.glob(pattern)]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextmanager
def _removed_on_failure(folder: Path, *, existed: bool) -> Iterator[None]:
    try:
        with writing(folder):
            yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        if existed:
            folder.mkdir(exist_ok=True)
        raise
