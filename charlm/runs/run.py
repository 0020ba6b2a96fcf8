"""A run: beginning one and opening one to continue it. `charlm.training` trains it."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from charlm.config.file import dump_config, load_config
from charlm.config.resume import check_resume
from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.hardware import core_count
from charlm.network.architecture import CONFIG_FILE, VOCABULARY_FILE
from charlm.network.bundle import Bundle
from charlm.runs.folder import (
    CHECKPOINTS,
    CORPUS,
    INIT,
    METRICS_FILE,
    SOFT_TARGETS,
    SOFT_TARGETS_FACTS,
    TEACHERS,
    TENSORBOARD,
    TENSORBOARD_FILES,
    check_is_run,
    check_no_links,
    is_run,
    results,
)
from charlm.runs.initial import Parent, settle_first_weights, settle_level, write_initial
from charlm.storage.atomic import write_file
from charlm.storage.files import file_sha256, open_for_writing, writing
from charlm.storage.locks import LOCK, only_writer
from charlm.text.corpus import Corpus, is_corpus, open_corpus, settle_corpus_settings
from charlm.text.tokenization import tokenize
from charlm.text.vocabulary import read_vocabulary

_WRITTEN_BEFORE_CONFIG = (CORPUS, f".{CORPUS}-*", VOCABULARY_FILE, METRICS_FILE, INIT, ".*.tmp")
"""Patterns of the names that a folder may have before it has a config.yaml, which makes it a run."""

MIN_ROWS = 8
"""The rows that a part of a batch has at least, unless the batch has fewer; see `default_parts`."""


@dataclass(frozen=True)
class Run:
    """A run that has begun: its folder, every setting, and its text."""

    folder: Path
    config: Config
    corpus: Corpus
    is_new_folder: bool = False
    """Whether `begin_run` has made the folder."""


def begin_run(
    folder: Path,
    config: Config,
    *sources: str | Path,
    parent: Parent | None = None,
    say: Callable[[str], None] = lambda _: None,
    progress: bool = False,
    hold_lock: Callable[[Path], contextlib.AbstractContextManager[None]] = only_writer,
) -> Run:
    """Write the folder of a new run: config.yaml, vocabulary.json, an empty metrics.jsonl, corpus/, perhaps init/.

    If a process was killed while it did this, the folder it left counts as empty. What decides whether the run may
    begin is checked while the lock is held.

    Args:
        folder: A folder that is missing or empty.
        config: Every setting; `settle_parts` completes it.
        sources: What `tokenize` takes, one or more, which is tokenized into corpus/; or one folder that it wrote, to
            which corpus/ becomes a link and which decides the settings of the section `corpus`.
        parent: The model whose weights the run begins with; None = they are drawn at random. A text that is tokenized
            here gets the vocabulary of the parent, and ids for what it lacks.
        say: Takes a line for the user.
        progress: Whether to show a progress bar on standard error while the text is tokenized.
        hold_lock: Holds the lock of the folder for the length of a block.

    Raises:
        CharlmError: the folder is not empty, or another process is writing to it. The text cannot be read, a setting of
            the section `corpus` is not that of the corpus, or the parent does not fit the text or
            `training.first_weights`: then the folder is removed again, or left empty if it existed.

    """
    with writing(folder):
        is_new = not os.path.lexists(folder)
        names = _check_is_free(folder, may_be_unfinished=True)  # first without the lock, which is a file as well
        folder.mkdir(parents=True, exist_ok=True)
    with hold_lock(folder):
        with writing(folder):
            _check_is_free(folder, may_be_unfinished=LOCK in names)
        with _undone_on_failure(folder, is_new=is_new), writing(folder):
            config, corpus = _write_beginning(
                folder, settle_parts(config), sources, parent=parent, say=say, progress=progress
            )
    return Run(folder, config, corpus, is_new_folder=is_new)


def move_run(run: Run, folder: Path) -> Run:
    """Give a run that has just begun another folder, which must not exist; raises CharlmError if it cannot be moved."""
    with writing(folder):
        run.folder.rename(folder)
    return replace(run, folder=folder, corpus=replace(run.corpus, folder=folder / CORPUS))


def discard_run(run: Run) -> None:
    """Remove a run that has nothing but its beginning, because it was refused; any other run is left as it is.

    The files that a beginning has are removed, and the folder if `begin_run` made it and nothing else is in it.
    """
    with contextlib.suppress(CharlmError, OSError), only_writer(run.folder):
        check_no_links(run.folder)
        with contextlib.suppress(OSError):
            (run.folder / TEACHERS).rmdir()
        if not results(run.folder) and not os.path.lexists(run.folder / TEACHERS):
            _remove_beginning(run.folder, is_new=run.is_new_folder)


def _write_beginning(
    folder: Path,
    config: Config,
    sources: Sequence[str | Path],
    *,
    parent: Parent | None,
    say: Callable[[str], None],
    progress: bool,
) -> tuple[Config, Corpus]:
    """Write what makes a folder a run, config.yaml last; return the config with the settings of the corpus."""
    _remove_unfinished(folder)
    config = settle_first_weights(config, parent)
    if len(sources) == 1 and is_corpus(Path(sources[0])):
        corpus = _open_verified(Path(sources[0]))
        config = config.model_copy(update={"corpus": settle_corpus_settings(corpus, config.corpus)})
        (folder / CORPUS).symlink_to(corpus.folder.resolve(), target_is_directory=True)
    else:
        config = config if parent is None else settle_level(config, parent)
        known = None if parent is None else parent.bundle.vocabulary
        names = [str(source) for source in sources]
        corpus = tokenize(names, folder / CORPUS, config.corpus, known=known, progress=progress)
    if parent is not None:
        write_initial(folder, config, corpus, parent, say=say)
    write_file(folder / VOCABULARY_FILE, corpus.vocabulary.to_json().encode())
    os.close(open_for_writing(folder / METRICS_FILE, os.O_WRONLY | os.O_CREAT))
    write_config(folder, config)
    return config, corpus


def open_run(folder: Path, *, overrides: Iterable[str] | Mapping[str, Any] = ()) -> Run:
    """Open a run that has begun, to continue it.

    Args:
        folder: The folder of the run.
        overrides: Settings that replace those of the run: KEY=VALUE strings with dotted keys, or a mapping.

    Raises:
        CharlmError: the folder is not a run, a file of it is a link, an override is not valid or may not change in a
            run, or the corpus is missing, damaged or has another vocabulary than the run.

    """
    check_is_run(folder)
    check_no_links(folder)
    before, config = (
        settle_parts(load_config(folder / CONFIG_FILE, overrides=values, follow_links=False))
        for values in ((), overrides)
    )
    check_resume(before, config)
    corpus = _open_verified(folder / CORPUS)
    if corpus.vocabulary != read_vocabulary(folder / VOCABULARY_FILE):
        raise CharlmError(f"{folder / CORPUS}: not the corpus that the run began with; start a new run")
    return Run(folder, config, corpus)


def settle_parts(config: Config) -> Config:
    """Return a config whose `training.parts` is a number: that of `default_parts` on this machine, if it was None.

    The number of parts of a batch decides the order of the sums and thereby their last bits. It is kept in the run, so
    that the run can continue on another machine with the same results.
    """
    if config.training.parts is not None:
        return config
    return with_parts(config, default_parts(config.training.batch_size, cores=core_count()))


def default_parts(rows: int, *, cores: int) -> int:
    """Return the number of parts into which a machine cuts its rows: one for each core, of MIN_ROWS rows or more.

    A product with few rows leaves most of a core idle. Beside parts of 32 rows, a core is 94% as fast with 16 rows, 73%
    with 8 and 51% with 4 (measured with 512 units). The cores that get no part are free for other work.

    Args:
        rows: The rows of a batch that the machine computes, 1 or more.
        cores: The cores of the machine, 1 or more.

    """
    return max(1, min(cores, rows // MIN_ROWS))


def with_parts(config: Config, parts: int) -> Config:
    """Return a config with another number of parts, 1 or more."""
    return config.model_copy(update={"training": config.training.model_copy(update={"parts": parts})})


def write_config(folder: Path, config: Config) -> None:
    """Write the config.yaml of a run: every value, defaults included."""
    write_file(folder / CONFIG_FILE, dump_config(config).encode())


def run_corpus(folder: Path, bundle: Bundle) -> Corpus | None:
    """Return the text that a model was trained on, or None if its bundle is not in a run.

    Args:
        folder: The folder of the bundle.
        bundle: Its contents.

    Raises:
        CharlmError: the corpus of the run is damaged, or is not the one that the model was trained on.

    """
    path = folder.parent / CORPUS
    if not is_run(folder.parent) or not is_corpus(path):
        return None
    corpus = _open_verified(path)
    trained_on = bundle.facts.get(CORPUS, corpus_identity(corpus))  # earlier versions of charlm did not record it
    if corpus.vocabulary != bundle.vocabulary or trained_on != corpus_identity(corpus):
        raise CharlmError(f"{path}: not the corpus that the run was trained on: put it back, or name a text to score")
    return corpus


def corpus_identity(corpus: Corpus) -> dict[str, Any]:
    """Return what makes a text the same for a run, for JSON: the SHA-256 of its ids, and where it is split."""
    return {
        "ids_sha256": corpus.manifest.ids_sha256,
        "splits": {name: list(borders) for name, borders in corpus.splits.items()},
    }


def _open_verified(folder: Path) -> Corpus:
    """Open a corpus; raise CharlmError if ids.bin is not the file that its manifest describes.

    The file is read, not mapped, so that a large one does not count as memory of this process.
    """
    corpus = open_corpus(folder)
    if file_sha256(folder / "ids.bin") != corpus.manifest.ids_sha256:
        raise CharlmError(
            f"{folder / 'ids.bin'}: damaged: its SHA-256 is not the one in manifest.json: tokenize the text again"
        )
    return corpus


def _check_is_free(folder: Path, *, may_be_unfinished: bool) -> set[str]:
    """Return the names in a folder, missing or empty; raise CharlmError if a run must not begin in it.

    Args:
        folder: The folder.
        may_be_unfinished: Whether what a killed `begin_run` leaves behind, a lock included, counts as empty.

    """
    if not os.path.lexists(folder):
        return set()
    if is_run(folder):
        raise CharlmError(f"{folder}: holds a run; continue it with --resume, or name another folder")
    if not folder.is_dir():
        raise CharlmError(f"{folder}: is not a folder; name another")
    names = {path.name for path in folder.iterdir()}
    known = all(any(fnmatch(name, pattern) for pattern in _WRITTEN_BEFORE_CONFIG) for name in names - {LOCK})
    if names - {LOCK} and not (may_be_unfinished and known and LOCK in names):
        raise CharlmError(f"{folder}: is not empty; name another")
    return names


def _remove_unfinished(folder: Path) -> None:
    for path in [path for pattern in _WRITTEN_BEFORE_CONFIG for path in folder.glob(pattern)]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextlib.contextmanager
def _undone_on_failure(folder: Path, *, is_new: bool) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            _remove_beginning(folder, is_new=is_new)
        raise


def _remove_beginning(folder: Path, *, is_new: bool) -> None:
    """Remove the files of a run that was not trained, and its folder if it is new and empty then.

    The caller holds the lock, which is removed last.
    """
    (folder / CONFIG_FILE).unlink(missing_ok=True)  # first, because it makes the folder a run
    _remove_unfinished(folder)
    for name in (SOFT_TARGETS, SOFT_TARGETS_FACTS):
        (folder / name).unlink(missing_ok=True)
    for path in [path for pattern in TENSORBOARD_FILES for path in (folder / TENSORBOARD).glob(pattern)]:
        path.unlink()
    for name in (TENSORBOARD, CHECKPOINTS):
        with contextlib.suppress(OSError):
            (folder / name).rmdir()
    (folder / LOCK).unlink(missing_ok=True)
    if is_new:
        with contextlib.suppress(OSError):
            folder.rmdir()
