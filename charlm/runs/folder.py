"""Run folders: the names of their files, new folders, and the run or model that a user means.

`charlm.runs.run` opens runs. This module does not import NumPy, because shell completion must not
wait for it.
"""

import contextlib
import itertools
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from charlm.config.recipes import shipped_folder
from charlm.core import BEST, LAST, SUFFIX
from charlm.errors import CharlmError
from charlm.events import Note, OnEvent, ignore
from charlm.storage import CONFIG_FILE, METRICS_FILE, is_held, is_run, printable
from charlm.wording import as_argument, nearest

RUNS = Path("runs")
DATA = shipped_folder("data")
"""Folder of the text and the models that come with charlm."""
DEFAULT_CORPUS = DATA / "river_plays.txt"
RIVER_PLAYS = DATA / f"river-plays{SUFFIX}"
"""A model of this text."""
BASE = DATA / f"english{SUFFIX}"
"""A model of many English texts, with which the training of a small text begins."""
ENDED_FILE = "ended.json"
"""File that exists if the run has reached its end, and was not stopped by a signal."""
CORPUS = "corpus"
INIT = f"init{SUFFIX}"
"""The initial weights, if they were taken from another model."""
SOFT_TARGETS = "soft_targets.bin"
_TIME = re.compile(r"^\d{8}-\d{6}-")
"""Start of the names of folders that `make_folder` makes."""


def make_folder(text_name: str) -> Path:
    """Make a folder for a new run, named after the time and the text, and return it.

    Raises OSError if the folder cannot be made.
    """
    RUNS.mkdir(exist_ok=True)
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{text_name}"
    for number in itertools.count(1):
        folder = RUNS / (stem if number == 1 else f"{stem}-{number}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            break
    return folder


def check_is_run(folder: Path) -> None:
    """Raise CharlmError unless a folder is a run."""
    if not is_run(folder):
        raise CharlmError(f"{folder}: not a run: it has no {CONFIG_FILE} or no {METRICS_FILE}")


def named(path: Path) -> Path:
    """Return a path that ends with a name, as `.` and `..` do not."""
    return Path(os.path.abspath(path)) if path.name in {"", ".."} else path  # noqa: PTH100


def run_of(model: Path) -> Path | None:
    """Return the run that contains a model file or a checkpoint, or None."""
    folders = map(named, (model.parent, named(model.parent).parent))
    return next(filter(is_run, folders), None)


def model_name(model: Path) -> str:
    """Return the name of a model file: the name of its run, or else the name of the file.

    A link gives its own name, not the name of its target. Bytes that are not UTF-8 are escaped.
    """
    model = Path(os.path.abspath(model))  # noqa: PTH100 - Path.resolve follows links
    return printable(Path((run_of(model) or model.with_suffix("")).name))


def newest_unfinished_run() -> Path:
    """Return the newest run that has not reached its end, or the newest run if all runs have.

    Runs that another process is training are ignored.

    Raises:
        CharlmError: There is no run, or another process is training every unfinished run.

    """
    runs = find_runs()
    unfinished = [run for run in runs if not (run / ENDED_FILE).is_file()]
    stopped = [run for run in unfinished if not is_held(run)]
    if unfinished and not stopped:
        raise CharlmError(
            f"{unfinished[-1]}: another process is training this run, and no other "
            "run is unfinished"
        )
    return max(stopped or runs, key=_time_of_log)


def _time_of_log(run: Path) -> int:
    return (run / METRICS_FILE).stat().st_mtime_ns


def find_runs() -> list[Path]:
    """Return all runs under runs/, sorted by name; raise CharlmError if there is none."""
    names = run_names()
    if not names:
        raise CharlmError(f"{RUNS}/: no run here; train one with: charlm train")
    return [RUNS / name for name in names]


def find_run(run: Path | None, *, is_meant: Callable[[Path], bool] = Path.exists) -> Path:
    """Return the folder of the run that the user means; the caller checks whether it is a run.

    Args:
        run: A path, or a part of the name of a run, for the newest such run; None = the newest run.
        is_meant: Function that returns whether a path is meant even if names of runs contain it.

    Returns:
        The folder: `run` itself if it is meant, if there are no runs, or if it exists and no name
        of a run contains it.

    Raises:
        CharlmError: `run` is None and there is no run; or it does not exist, and no name of a run
            contains it.

    """
    if run is None:
        return max(find_runs(), key=_time_of_log)
    names = [] if is_meant(run) else run_names()
    if not names:
        return run
    part = str(run)
    matches = [part] if part in names else [name for name in names if part in name]
    if not matches and run.exists():
        return run
    if not matches:
        near = nearest(part, [_TIME.sub("", name) for name in names])
        hint = f"did you mean {near}?" if near else f"charlm runs lists the runs under {RUNS}/"
        raise CharlmError(f"{run}: no such folder, and no run has this in its name; {hint}")
    return max((RUNS / name for name in matches), key=_time_of_log)


def run_names(under: Path = RUNS) -> list[str]:
    """Return the sorted names of all runs under a folder, which may be missing."""
    if not os.path.isdir(under):  # noqa: PTH112 - Path.is_dir can raise
        return []
    return sorted(path.name for path in under.iterdir() if is_run(path))


def shipped_models() -> dict[str, Path]:
    """Return the model files that come with charlm by name."""
    return {path.stem: path for path in sorted(DATA.glob(f"*{SUFFIX}"))}


def find_model(model: Path | None, *, on_event: OnEvent = ignore) -> Path:
    """Return the model file that the user means.

    Args:
        model: A model file; a run, for its best model; a part of a run's name under runs/, for the
            newest such run; or the name of a model that comes with charlm. None = the newest run.
        on_event: Called with notes.

    Raises:
        CharlmError: There is no such file or run, or the run has no model.

    """
    if model is not None and not model.exists() and str(model) not in run_names():
        shipped = shipped_models().get(str(model))
        if shipped is not None:
            return shipped
    path = find_run(model, is_meant=_has_model)
    if model is None:
        on_event(Note(f"using the newest run, {path}"))
    if path.is_file():
        if path.suffix != SUFFIX:
            text = as_argument(path)
            raise CharlmError(
                f"{path}: not a model file (*{SUFFIX}); to train on this text: charlm train "
                f"{text}; to score it: charlm evaluate RUN {text}"
            )
        return path
    if not path.is_dir():
        raise CharlmError(f"{path}: no such file or folder; must be a run or a model file")
    if (path / BEST).is_file():
        return path / BEST
    if (path / LAST).is_file():
        on_event(Note(f"{path}: no best model yet; using the model of the last step"))
        return path / LAST
    if not is_run(path):
        raise CharlmError(f"{path}: neither a run nor a model file")
    raise CharlmError(
        f"{path}: no model in this run yet: wait for its first evaluation, or continue it with: "
        f"charlm train --resume -r {as_argument(path)}"
    )


def _has_model(path: Path) -> bool:
    """Return whether a path is a file, a run, or a folder with a model."""
    return path.is_file() or is_run(path) or (path / BEST).is_file() or (path / LAST).is_file()
