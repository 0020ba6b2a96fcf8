"""Run folders: the names of their files, the name of a new folder, and finding the run or bundle that the user means.

`charlm.runs.run` begins and opens runs.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from charlm.errors import CharlmError
from charlm.network.bundle import CONFIG_FILE, is_bundle

RUNS = Path("runs")
METRICS_FILE = "metrics.jsonl"
CORPUS, TENSORBOARD, CHECKPOINTS = "corpus", "tensorboard", "checkpoints"
BundleName = Literal["best", "last"]


def new_folder(config_name: str, *, under: Path = RUNS, now: Callable[[], time.struct_time] = time.localtime) -> Path:
    """Return a path for the folder of a new run, named by the time and the config; it does not exist yet.

    Args:
        config_name: The name of the recipe or config file.
        under: The folder that holds the runs.
        now: Returns the local time.

    """
    stem = f"{time.strftime('%Y%m%d-%H%M%S', now())}-{config_name}"
    candidates = [under / stem, *(under / f"{stem}-{number}" for number in range(2, 1000))]
    return next(path for path in candidates if not path.exists())


def is_run(folder: Path) -> bool:
    """Return whether a run has begun in a folder; a path that cannot be looked up is not a run."""
    # Path.is_file raises OSError for some paths, and one of them would hide the runs beside it.
    return all(os.path.isfile(folder / name) for name in (CONFIG_FILE, METRICS_FILE))  # noqa: PTH113


def check_is_run(folder: Path) -> None:
    """Raise CharlmError unless a run has begun in a folder."""
    if not is_run(folder):
        raise CharlmError(f"{folder}: not a run: there is no {CONFIG_FILE} and {METRICS_FILE} in it")


def newest_run(under: Path = RUNS) -> Path:
    """Return the run under a folder to which metrics were written last; raises CharlmError if there is no run."""
    return max(find_runs(under), key=lambda run: (run / METRICS_FILE).stat().st_mtime_ns)


def find_runs(under: Path = RUNS) -> list[Path]:
    """Return all runs under a folder, in no order; raises CharlmError if there is no run."""
    found = [path for path in under.iterdir() if is_run(path)] if under.is_dir() else []
    if not found:
        raise CharlmError(f"{under}/: no run here; name one, or train one with: charlm train")
    return found


def find_bundle(run: Path | None, *, checkpoint: BundleName = "best") -> Path:
    """Return the folder of the bundle that the user means.

    Args:
        run: The folder of a run or of a bundle; None = the newest run.
        checkpoint: Which bundle of a run: the one with the best score (best) or the one of the last step (last).

    Raises:
        CharlmError: there is no such folder, or no bundle in it.

    """
    folder = newest_run() if run is None else run
    if is_bundle(folder):
        return folder
    if not folder.is_dir():
        raise CharlmError(f"{folder}: no such folder; must be a run or a bundle")
    bundle = folder / checkpoint
    if not bundle.is_dir():
        reason = f"no {checkpoint}/ in this run yet" if is_run(folder) else "neither a run nor a bundle"
        raise CharlmError(f"{folder}: {reason}")
    return bundle
