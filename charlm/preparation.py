"""How a run begins, and how it is opened to go on: its folder, its settings, the text it learns from."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from charlm.config import Config
from charlm.config_file import dump_config, load_config
from charlm.corpus import Corpus, is_corpus, open_corpus
from charlm.errors import CharlmError
from charlm.files import write_file, writing
from charlm.lock import LOCK, only_writer
from charlm.runs import CONFIG, CORPUS, METRICS, VOCABULARY, is_run
from charlm.tokenization import tokenize
from charlm.vocabulary import read_vocabulary

_BEGINNINGS = (CORPUS, f".{CORPUS}-*", VOCABULARY, METRICS, ".*.tmp")
"""What a run begins with, before its config makes it one."""


@dataclass(frozen=True)
class Run:
    """A run that has begun: its folder, every setting, and the text it learns from."""

    folder: Path
    config: Config
    corpus: Corpus


def begin_run(folder: Path, config: Config, source: Path, *, progress: bool = False) -> Run:
    """Make the folder of a new run: its config, its vocabulary, and the corpus under corpus/.

    `source` is a text file or a folder of them, which is tokenized into the run, or what `tokenize` wrote,
    which is linked to. Raises CharlmError where the folder is not empty or the text cannot be used; a folder
    made here is then gone again. What a process that was killed at this had made is made anew.
    """
    existed = folder.exists()
    if existed and not (folder.is_dir() and _may_begin(folder)):
        advice = "continue it with --resume, or name another folder" if is_run(folder) else "name another"
        raise CharlmError(f"{folder}: {'holds a run' if is_run(folder) else 'is not empty'}; {advice}")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with only_writer(folder), _removed_on_failure(folder, existed=existed):
        _remove_beginnings(folder)
        if is_corpus(source):
            corpus = open_corpus(source)
            (folder / CORPUS).symlink_to(source.resolve(), target_is_directory=True)
        else:
            corpus = tokenize([str(source)], folder / CORPUS, config.corpus, progress=progress)
        write_file(folder / VOCABULARY, corpus.vocabulary.to_json().encode())
        (folder / METRICS).touch()
        write_config(folder, config)  # last: with it, the folder is a run
    return Run(folder, config, corpus)


def open_run(folder: Path, *, overrides: Sequence[str] = ()) -> Run:
    """Open a run that has begun, to continue it; `KEY=VALUE` overrides go on top of its config.

    Raises CharlmError where it is not a run or its corpus is gone or another one.
    """
    if not is_run(folder):
        raise CharlmError(f"{folder}: not a run: there is no {CONFIG} and {METRICS} in it")
    corpus = open_corpus(folder / CORPUS)
    if corpus.vocabulary != read_vocabulary(folder / VOCABULARY):
        raise CharlmError(f"{folder / CORPUS}: not the corpus that the run began with; start a new run")
    return Run(folder, load_config(folder / CONFIG, overrides=overrides), corpus)


def write_config(folder: Path, config: Config) -> None:
    """Write the config.yaml of a run: every value, defaults included."""
    write_file(folder / CONFIG, dump_config(config).encode())


def _may_begin(folder: Path) -> bool:
    """Return whether a folder is empty, or holds only what a run leaves that was killed before it began."""
    names = {path.name for path in folder.iterdir()}
    known = all(any(fnmatch(name, pattern) for pattern in (LOCK, *_BEGINNINGS)) for name in names)
    return not names or (LOCK in names and known)


def _remove_beginnings(folder: Path) -> None:
    for path in [path for pattern in _BEGINNINGS for path in folder.glob(pattern)]:
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
