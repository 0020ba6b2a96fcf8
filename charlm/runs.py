"""The run folder: what is where in it, how one is named, and which run or bundle is meant.

How a run begins is left to `charlm.preparation`; a sample needs only this.
"""

import time
from pathlib import Path
from typing import Literal

from charlm.bundle import is_bundle
from charlm.errors import CharlmError

RUNS = Path("runs")
CONFIG, VOCABULARY, CORPUS = "config.yaml", "vocabulary.json", "corpus"
METRICS, TENSORBOARD, CHECKPOINTS = "metrics.jsonl", "tensorboard", "checkpoints"
Choice = Literal["best", "last"]


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
    return max(find_runs(under), key=lambda run: (run / METRICS).stat().st_mtime_ns)


def find_runs(under: Path = RUNS) -> list[Path]:
    """Return all runs under a folder, in no order; raises CharlmError if there is none."""
    found = [path for path in under.iterdir() if is_run(path)] if under.is_dir() else []
    if not found:
        raise CharlmError(f"{under}/: no run here; name one, or train one with: charlm train")
    return found


def find_bundle(run: Path | None, *, checkpoint: Choice = "best") -> Path:
    """Return the bundle that is meant: a bundle folder itself, or the best or last one of a run.

    None means the newest run. Raises CharlmError if there is no bundle.
    """
    folder = newest_run() if run is None else run
    if is_bundle(folder):
        return folder
    if not folder.is_dir():
        raise CharlmError(f"{folder}: no such folder; should be a run or a bundle")
    bundle = folder / checkpoint
    if not bundle.is_dir():
        reason = f"no {checkpoint}/ in this run yet" if is_run(folder) else "neither a run nor a bundle"
        raise CharlmError(f"{folder}: {reason}")
    return bundle
