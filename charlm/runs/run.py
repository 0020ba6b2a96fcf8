"""A run: beginning one and opening one to continue it. `charlm.training` trains it."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from charlm.config.file import Overrides, check_resume, dump_config, load_config
from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.network.model_file import TrainedModel, write_model
from charlm.runs.folder import (
    CONFIG_FILE,
    CORPUS,
    INIT,
    METRICS_FILE,
    RUNS,
    SOFT_TARGETS_FACTS,
    TEACHERS,
    check_is_run,
    is_run,
    make_folder,
    results,
    run_of,
)
from charlm.storage.files import remove, sync_folder, write_file, writing
from charlm.text.corpus import Corpus, is_corpus, open_corpus


@dataclass(frozen=True)
class Run:
    """A run that has begun: its folder, every setting, and its text."""

    folder: Path
    config: Config
    corpus: Corpus


@contextlib.contextmanager
def run_folder(folder: Path | None, *, text_name: str = "") -> Iterator[Path]:
    """Make the folder of a new run for a block that begins the run and trains it.

    An error that ends the block before anything is trained removes what was made.

    Args:
        folder: A folder that is missing or empty; None = a new one under runs/, named by the time and the text.
        text_name: What `charlm.text.documents.name_text` returned.

    Yields:
        The folder; until `begin_run` has written config.yaml, it is no run.

    Raises:
        CharlmError: the folder is not free, or cannot be written.

    """
    named = folder or RUNS
    with writing(named):
        made = [path for path in (named, *named.parents) if not path.exists()]
        if folder is None:
            folder = make_folder(text_name)
            made = [folder, *made]
        elif is_run(folder):
            raise CharlmError(f"{folder}: holds a run; continue it with --resume, or name another folder")
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise CharlmError(f"{folder}: is not an empty folder; delete it, or name another")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / METRICS_FILE).touch(exist_ok=False)  # another process may have been faster
    try:
        yield folder
    except BaseException:
        with contextlib.suppress(OSError, CharlmError):
            if not results(folder) and not any((folder / name).exists() for name in (TEACHERS, SOFT_TARGETS_FACTS)):
                for path in [*folder.iterdir()]:
                    remove(path)
                for path in made:
                    path.rmdir()
        raise


def begin_run(folder: Path, config: Config, corpus: Corpus, *, first: TrainedModel | None = None) -> Run:
    """Begin a run in a folder that has its text: write init.safetensors if it is needed, and config.yaml last.

    Args:
        folder: What `run_folder` has made, with a corpus/.
        config: Every setting, with nothing left open.
        corpus: The text.
        first: The weights that training begins with; None = they are drawn at random.

    Raises:
        CharlmError: the folder cannot be written.

    """
    if first is not None:
        write_model(folder / INIT, first)
    write_config(folder, config)
    with writing(folder):
        sync_folder(folder.parent)
    return Run(folder, config, replace(corpus, folder=folder / CORPUS))


def open_run(folder: Path, *, overrides: Overrides = ()) -> Run:
    """Open a run that has begun, to continue it.

    Args:
        folder: The folder of the run.
        overrides: Settings that replace those of the run.

    Raises:
        CharlmError: the folder is not a run, a file of it is a link, an override is not valid or may not change in a
            run, or the corpus is missing or damaged.

    """
    check_is_run(folder)
    before, config = (load_config(folder / CONFIG_FILE, overrides=values) for values in ((), overrides))
    check_resume(before, config)
    return Run(folder, config, open_corpus(folder / CORPUS))


def write_config(folder: Path, config: Config) -> None:
    """Write the config.yaml of a run: every value, defaults included."""
    write_file(folder / CONFIG_FILE, dump_config(config).encode())


def run_corpus(path: Path, model: TrainedModel) -> Corpus | None:
    """Return the text that a model was trained on, or None if its file is not in a run that has it.

    Args:
        path: The model file.
        model: Its contents.

    Raises:
        CharlmError: the corpus of the run is damaged, or is not the one that the model was trained on.

    """
    run = run_of(path)
    if run is None or not is_corpus(run / CORPUS):
        return None
    corpus = open_corpus(run / CORPUS)
    trained_on = model.facts.get(CORPUS, corpus_identity(corpus))  # an imported model does not have it
    if corpus.vocabulary != model.vocabulary or trained_on != corpus_identity(corpus):
        raise CharlmError(f"{run / CORPUS}: not the corpus that the run was trained on: put it back, or name a text")
    return corpus


def corpus_identity(corpus: Corpus) -> dict[str, Any]:
    """Return what makes a text the same for a run, for JSON: the SHA-256 of its ids, and where it is split."""
    return {
        "ids_sha256": corpus.manifest.ids_sha256,
        "splits": {name: list(borders) for name, borders in corpus.splits.items()},
    }
