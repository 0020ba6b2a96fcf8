"""How a run begins, and how it is opened to go on: its folder, its settings, the text it learns from."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from charlm.config import Config, dump_config, load_config
from charlm.corpus import Corpus, is_corpus, open_corpus
from charlm.errors import CharlmError
from charlm.files import write_file
from charlm.runs import CONFIG, CORPUS, METRICS, VOCABULARY, is_run
from charlm.tokenization import tokenize
from charlm.vocabulary import read_vocabulary


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
    made here is then gone again.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        advice = "continue it with --resume, or name another folder" if is_run(folder) else "name another"
        raise CharlmError(f"{folder}: {'holds a run' if is_run(folder) else 'is not empty'}; {advice}")
    with _removed_on_failure(folder):
        if is_corpus(source):
            corpus = open_corpus(source)
            (folder / CORPUS).symlink_to(source.resolve(), target_is_directory=True)
        else:
            corpus = tokenize([str(source)], folder / CORPUS, config.corpus, progress=progress)
        write_file(folder / VOCABULARY, corpus.vocabulary.to_json().encode())
        (folder / METRICS).touch()
        write_config(folder, config)
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


@contextmanager
def _removed_on_failure(folder: Path) -> Iterator[None]:
    existed = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise CharlmError(f"{folder}: cannot be written: {error.strerror}") from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        if existed:
            folder.mkdir()
        raise
