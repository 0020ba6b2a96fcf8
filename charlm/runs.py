"""The run folder: what is where in it, how one begins, and which run is meant."""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from charlm.config import Config, dump_config, load_config
from charlm.corpus import Corpus, is_corpus, open_corpus, tokenize
from charlm.errors import CharlmError
from charlm.files import write_file

RUNS = Path("runs")
CONFIG, VOCABULARY, CORPUS = "config.yaml", "vocabulary.json", "corpus"
METRICS, TENSORBOARD, CHECKPOINTS = "metrics.jsonl", "tensorboard", "checkpoints"
Choice = Literal["best", "last"]


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

    Raises CharlmError where it is not a run or its corpus is gone.
    """
    if not is_run(folder):
        raise CharlmError(f"{folder}: not a run: there is no {CONFIG} and {METRICS} in it")
    return Run(folder, load_config(folder / CONFIG, overrides=overrides), open_corpus(folder / CORPUS))


def write_config(folder: Path, config: Config) -> None:
    """Write the config.yaml of a run: every value, defaults included."""
    write_file(folder / CONFIG, dump_config(config).encode())


def new_folder(config_name: str, *, under: Path = RUNS) -> Path:
    """Return a folder for a new run, named by the time and the recipe; it does not exist yet."""
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{config_name}"
    candidates = [under / stem, *(under / f"{stem}-{number}" for number in range(2, 1000))]
    return next(path for path in candidates if not path.exists())


def is_run(folder: Path) -> bool:
    """Return whether a run has begun in a folder."""
    return (folder / CONFIG).is_file() and (folder / METRICS).is_file()


def newest_run(under: Path = RUNS) -> Path:
    """Return the run under a folder that was written to last; raises CharlmError if there is none."""
    found = [path for path in under.iterdir() if is_run(path)] if under.is_dir() else []
    if not found:
        raise CharlmError(f"{under}/: no run here; name one, or train one with: charlm train")
    return max(found, key=lambda run: (run / METRICS).stat().st_mtime_ns)


def find_bundle(run: Path | None, *, checkpoint: Choice = "best") -> Path:
    """Return the bundle that is meant: a bundle folder itself, or the best or last one of a run.

    None means the newest run. Raises CharlmError if there is no bundle.
    """
    folder = newest_run() if run is None else run
    if (folder / "model.json").is_file():
        return folder
    if not folder.is_dir():
        raise CharlmError(f"{folder}: no such folder; should be a run or a bundle")
    bundle = folder / checkpoint
    if not bundle.is_dir():
        reason = f"no {checkpoint}/ in this run yet" if is_run(folder) else "neither a run nor a bundle"
        raise CharlmError(f"{folder}: {reason}")
    return bundle


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
