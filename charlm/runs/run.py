"""A run: beginning one and opening one to continue it. `charlm.training` trains it."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from charlm.config.file import Overrides, check_resume, dump_config, load_config
from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.network.architecture import CONFIG_FILE, VOCABULARY_FILE
from charlm.network.bundle import Bundle, write_bundle
from charlm.runs.folder import (
    CORPUS,
    INIT,
    METRICS_FILE,
    RUNS,
    TEACHERS,
    check_is_run,
    is_run,
    new_folder,
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
def scratch_run(folder: Path | None) -> Iterator[Path]:
    """Make an empty folder in which a run is prepared, beside the one that `begin_run` gives it; then remove it.

    Missing folders above it are made, and removed again if nothing came of it.

    Args:
        folder: That of the run; None = a new one under runs/.

    Raises:
        CharlmError: the folder of the run is not free, see `check_is_free`, or nothing can be written beside it.

    """
    if folder is not None:
        check_is_free(folder)
    target = Path(os.path.realpath(RUNS / "new" if folder is None else folder))
    missing = [path for path in target.parents if not path.exists()]  # the nearest first
    try:
        with contextlib.ExitStack() as stack:
            with writing(folder or RUNS):
                target.parent.mkdir(parents=True, exist_ok=True)
                scratch = stack.enter_context(scratch_folder(target)) / "run"
                scratch.mkdir()
            yield scratch
    finally:
        for path in missing:
            with contextlib.suppress(OSError):  # not empty
                path.rmdir()


def begin_run(
    folder: Path | None, config: Config, corpus: Corpus, *, scratch: Path, first: Bundle | None = None
) -> Run:
    """Write the folder of a new run: config.yaml, vocabulary.json, an empty metrics.jsonl, corpus/, perhaps init/.

    All of it is written to `scratch` and then renamed: a run is there as a whole or not at all.

    Args:
        folder: A folder that is missing or empty; None = a new one under runs/, named by the time and the recipe.
        config: Every setting, with nothing left open.
        corpus: The text; if it is not in `scratch`, corpus/ becomes a link to it.
        scratch: What `scratch_run` made for this folder.
        first: The weights that training begins with; None = they are drawn at random.

    Raises:
        CharlmError: the folder is not free any more, or cannot be written.

    """
    with writing(folder or RUNS):
        if corpus.folder.parent != scratch:
            (scratch / CORPUS).symlink_to(_link_target(corpus.folder, folder), target_is_directory=True)
        write_file(scratch / VOCABULARY_FILE, corpus.vocabulary.to_json().encode())
        (scratch / METRICS_FILE).touch()
        if first is not None:
            write_bundle(scratch / INIT, first)
        write_config(scratch, config)
        if folder is None:
            folder = _put_in_new_place(scratch, str(config.recipe))
        else:
            _put_in_place(scratch, folder)
    return Run(folder, config, replace(corpus, folder=folder / CORPUS))


def _put_in_new_place(scratch: Path, recipe: str) -> Path:
    """Rename a run to a new folder under runs/, which no other process may have taken in the meantime; return it."""
    while True:
        folder = new_folder(recipe)
        try:
            _put_in_place(scratch, folder)
        except CharlmError:
            if not folder.exists():
                raise
        else:
            return folder


def _link_target(corpus: Path, folder: Path | None) -> Path:
    """Return where corpus/ of a run leads: for a teacher to the corpus of its run, wherever both are moved together."""
    if folder is not None and folder.parent.name == TEACHERS and corpus == folder.parent.parent / CORPUS:
        return Path("..", "..", CORPUS)
    return corpus.resolve()


def _put_in_place(scratch: Path, folder: Path) -> None:
    """Rename a run to its folder; if there is an empty folder, its contents, the config last."""
    if not folder.exists():
        try:
            scratch.rename(os.path.realpath(folder))
        except OSError:
            check_is_free(folder)  # another process was faster
            raise
    else:
        with only_writer(folder):
            check_is_free(folder)
            for path in sorted(scratch.iterdir(), key=lambda path: path.name == CONFIG_FILE):
                path.rename(folder / path.name)
            sync_folder(folder)
    sync_folder(folder.parent)


def check_is_free(folder: Path) -> None:
    """Raise CharlmError unless a run may begin in a folder: it is missing, or empty but for a lock."""
    if not folder.exists():
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


def discard_run(run: Run, *, clock: Callable[[], float] = time.monotonic) -> None:
    """Remove a run that has nothing but its beginning, because it was refused; any other run is left as it is.

    Args:
        run: The run.
        clock: Returns the time in seconds.

    """
    with contextlib.suppress(CharlmError, OSError), only_writer(run.folder, clock=clock):
        if not results(run.folder) and not (run.folder / TEACHERS).exists():
            remove_folder(run.folder)


def open_run(folder: Path, *, overrides: Overrides = ()) -> Run:
    """Open a run that has begun, to continue it.

    Args:
        folder: The folder of the run.
        overrides: Settings that replace those of the run.

    Raises:
        CharlmError: the folder is not a run, a file of it is a link, an override is not valid or may not change in a
            run, or the corpus is missing, damaged or has another vocabulary than the run.

    """
    check_is_run(folder)
    before, config = (load_config(folder / CONFIG_FILE, overrides=values) for values in ((), overrides))
    check_resume(before, config)
    corpus = open_corpus(folder / CORPUS)
    if corpus.vocabulary != read_vocabulary(folder / VOCABULARY_FILE):
        raise CharlmError(f"{folder / CORPUS}: not the corpus that the run began with; start a new run")
    return Run(folder, config, corpus)


def files_to_resume(folder: Path) -> list[str]:
    """Return the files of a run that a resume reads, but for the text, by path inside the run; none if it is no run.

    Its logs of TensorBoard and last/ are only written; links are left out.
    """
    left_out = {CORPUS, "last", LOCK}
    paths = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    return [str(path) for path in paths if not left_out & {*path.parts} and not path.name.startswith((".", "events."))]


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
