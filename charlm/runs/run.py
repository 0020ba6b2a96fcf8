"""A run: beginning one and opening one to continue it. `charlm.training` trains it."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from charlm.config.file import check_resume, dump_config, load_config
from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.network.architecture import CONFIG_FILE, VOCABULARY_FILE
from charlm.network.bundle import Bundle, write_bundle
from charlm.runs.folder import (
    CORPUS,
    INIT,
    METRICS_FILE,
    TEACHERS,
    check_is_run,
    check_no_links,
    is_run,
    results,
)
from charlm.storage.atomic import remove_folder, scratch_folder, sync_folder, write_file
from charlm.storage.files import writing
from charlm.storage.locks import LOCK, only_writer
from charlm.text.corpus import Corpus, is_corpus, open_corpus
from charlm.text.vocabulary import read_vocabulary


@dataclass(frozen=True)
class Run:
    """A run that has begun: its folder, every setting, and its text."""

    folder: Path
    config: Config
    corpus: Corpus


@contextlib.contextmanager
def folder_aside(folder: Path) -> Iterator[Path]:
    """Make an empty folder in which a run is prepared, beside the folder that `begin_run` gives it; then remove it.

    Missing folders above it are made, and removed again if nothing came of it.

    Raises:
        CharlmError: the folder of the run is not free, see `check_is_free`, or nothing can be written beside it.

    """
    check_is_free(folder)
    target = Path(os.path.realpath(folder))
    missing = [path for path in target.parents if not path.exists()]  # the nearest first
    try:
        with contextlib.ExitStack() as stack:
            with writing(folder):
                target.parent.mkdir(parents=True, exist_ok=True)
                aside = stack.enter_context(scratch_folder(target)) / "run"
                aside.mkdir()
            yield aside
    finally:
        for path in missing:
            with contextlib.suppress(OSError):  # not empty
                path.rmdir()


def begin_run(folder: Path, config: Config, corpus: Corpus, *, aside: Path, first: Bundle | None = None) -> Run:
    """Write the folder of a new run: config.yaml, vocabulary.json, an empty metrics.jsonl, corpus/, perhaps init/.

    All of it is written aside and then renamed: a run is there as a whole or not at all.

    Args:
        folder: A folder that is missing or empty.
        config: Every setting, with nothing left open.
        corpus: The text; if it is not in `aside`, corpus/ becomes a link to it.
        aside: What `folder_aside` made for this folder.
        first: The weights that training begins with; None = they are drawn at random.

    Raises:
        CharlmError: the folder is not free any more, or cannot be written.

    """
    with writing(folder):
        if corpus.folder.parent != aside:
            (aside / CORPUS).symlink_to(_link_target(corpus.folder, folder), target_is_directory=True)
        write_file(aside / VOCABULARY_FILE, corpus.vocabulary.to_json().encode())
        (aside / METRICS_FILE).touch()
        if first is not None:
            write_bundle(aside / INIT, first)
        write_config(aside, config)
        _put_in_place(aside, folder)
    return Run(folder, config, replace(corpus, folder=folder / CORPUS))


def _link_target(corpus: Path, folder: Path) -> Path:
    """Return where corpus/ of a run leads: for a teacher to the corpus of its run, wherever both are moved together."""
    if folder.parent.name == TEACHERS and corpus == folder.parent.parent / CORPUS:
        return Path("..", "..", CORPUS)
    return corpus.resolve()


def _put_in_place(aside: Path, folder: Path) -> None:
    """Rename a run to its folder; if there is an empty folder, its contents, the config last."""
    if not folder.exists():
        try:
            aside.rename(os.path.realpath(folder))
        except OSError:
            check_is_free(folder)  # another process was faster
            raise
    else:
        with only_writer(folder):
            check_is_free(folder)
            for path in sorted(aside.iterdir(), key=lambda path: path.name == CONFIG_FILE):
                path.rename(folder / path.name)
            sync_folder(folder)
    sync_folder(folder.parent)


def check_is_free(folder: Path) -> None:
    """Raise CharlmError unless a run may begin in a folder: it is missing, or empty but for a lock."""
    if not os.path.lexists(folder):
        return
    if is_run(folder):
        raise CharlmError(f"{folder}: holds a run; continue it with --resume, or name another folder")
    if not folder.is_dir():
        raise CharlmError(f"{folder}: is not a folder; name another")
    with writing(folder):
        if any(path.name != LOCK for path in folder.iterdir()):
            raise CharlmError(f"{folder}: is not empty; name another")


@contextlib.contextmanager
def discarded_if_refused(run: Run) -> Iterator[None]:
    """If an error ends the block, remove the run if it has nothing but its beginning."""
    try:
        yield
    except Exception:
        discard_run(run)
        raise


def discard_run(run: Run) -> None:
    """Remove a run that has nothing but its beginning, because it was refused; any other run is left as it is."""
    with contextlib.suppress(CharlmError, OSError), only_writer(run.folder):
        check_no_links(run.folder)
        if not results(run.folder) and not os.path.lexists(run.folder / TEACHERS):
            remove_folder(run.folder)


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
        load_config(folder / CONFIG_FILE, overrides=values, follow_links=False) for values in ((), overrides)
    )
    check_resume(before, config)
    corpus = open_corpus(folder / CORPUS)
    if corpus.vocabulary != read_vocabulary(folder / VOCABULARY_FILE):
        raise CharlmError(f"{folder / CORPUS}: not the corpus that the run began with; start a new run")
    return Run(folder, config, corpus)


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
    corpus = open_corpus(path)
    trained_on = bundle.facts.get(CORPUS, corpus_identity(corpus))  # an imported model does not have it
    if corpus.vocabulary != bundle.vocabulary or trained_on != corpus_identity(corpus):
        raise CharlmError(f"{path}: not the corpus that the run was trained on: put it back, or name a text to score")
    return corpus


def corpus_identity(corpus: Corpus) -> dict[str, Any]:
    """Return what makes a text the same for a run, for JSON: the SHA-256 of its ids, and where it is split."""
    return {
        "ids_sha256": corpus.manifest.ids_sha256,
        "splits": {name: list(borders) for name, borders in corpus.splits.items()},
    }
