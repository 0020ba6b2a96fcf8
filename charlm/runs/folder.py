"""Run folders: the names of their files, a folder for a new one, and finding the run or model that the user means.

`charlm.runs.run` begins and opens runs. This module imports no NumPy: completion in a shell waits for it.
"""

import contextlib
import itertools
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from charlm.config.recipes import shipped_models
from charlm.errors import Advice, CharlmError
from charlm.events import LastModelTaken, NewestRunTaken, OnEvent, ignore
from charlm.storage import is_held, near_file_hint, printable
from charlm.wording import nearest

RUNS = Path("runs")
CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.jsonl"
ENDED_FILE = "ended.json"
"""Is there if the run has reached its end: no signal stopped it, and it does not go on."""
CORPUS, CHECKPOINTS = "corpus", "checkpoints"
SUFFIX = ".safetensors"
"""Of every model file."""
BEST, LAST, INIT = (f"{name}{SUFFIX}" for name in ("best", "last", "init"))
"""The models of a run: that of the lowest loss, that of the newest checkpoint, and the one whose weights training began
with, if they are those of another model."""
SOFT_TARGETS, TEACHERS = "soft_targets.bin", "teachers"
"""What a run learns from beside its text, and the runs of the teachers that it trains, by their seeds."""
_TIME = re.compile(r"^\d{8}-\d{6}-")
"""How the name of a folder that `make_folder` made begins."""


def make_folder(
    text_name: str, *, under: Path = RUNS, now: Callable[[], time.struct_time] = time.localtime
) -> Path:
    """Make a folder for a new run, named by the time and the text, and return it.

    Args:
        text_name: The name of the text.
        under: The folder that holds the runs.
        now: Returns the local time.

    Raises:
        OSError: it cannot be made.

    """
    under.mkdir(parents=True, exist_ok=True)
    stem = f"{time.strftime('%Y%m%d-%H%M%S', now())}-{text_name}"
    for number in itertools.count(1):
        folder = under / (stem if number == 1 else f"{stem}-{number}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            break
    return folder


def is_run(folder: Path) -> bool:
    """Return whether a run has begun in a folder; a path that cannot be looked up is not a run."""
    # Path.is_file raises OSError for some paths, and one of them would hide the runs beside it.
    return all(os.path.isfile(folder / name) for name in (CONFIG_FILE, METRICS_FILE))  # noqa: PTH113


def check_is_run(folder: Path) -> None:
    """Raise CharlmError unless a run has begun in a folder."""
    if not is_run(folder):
        raise CharlmError(
            f"{folder}: not a run: there is no {CONFIG_FILE} or no {METRICS_FILE} in it"
        )


def results(run: Path) -> list[str]:
    """Return the names of what training has written to a run; none = the run has nothing but its beginning.

    Raises OSError if a name cannot be looked up, so that it is not known what there is.
    """
    checkpoints = [
        f"{CHECKPOINTS}/{checkpoint_name(step)}" for step in saved_steps(run / CHECKPOINTS)
    ]
    return [name for name in (BEST, LAST) if (run / name).exists()] + checkpoints


def checkpoint_name(step: int) -> str:
    """Return the name of the checkpoint of a step."""
    return f"step-{step}{SUFFIX}"


def saved_steps(folder: Path) -> list[int]:
    """Return the steps of all checkpoints in a folder, damaged ones included, the newest first; none if it is missing.

    Raises OSError if the folder cannot be read.
    """
    paths = folder.iterdir() if folder.exists() else ()
    names = [path.name.removeprefix("step-").removesuffix(SUFFIX) for path in paths]
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def run_of(model: Path) -> Path | None:
    """Return the run in which a model file or a checkpoint lies, or None."""
    named = (
        model.parent,
        model.parent.parent,
    )  # the absolute ones are needed for a name in the folder of the run
    return next(
        (folder for folder in (*named, *model.absolute().parents[:2]) if is_run(folder)), None
    )


def model_name(model: Path) -> str:
    """Return the name of a model, given its file: that of its run, or else of the file.

    Bytes of a name that are not UTF-8 are escaped.
    """
    model = model.resolve()
    return printable(Path((run_of(model) or model.with_suffix("")).name))


def newest_unfinished_run(under: Path = RUNS) -> Path:
    """Return the newest run under a folder that has not reached its end, or the newest if all have.

    A run that another process is training is left out.

    Raises:
        CharlmError: there is no run, or all are in use.

    """
    runs = [run for run in find_runs(under) if not is_held(run)]
    if not runs:
        raise CharlmError(f"{under}/: every run here is in use by another process")
    return max(
        runs,
        key=lambda run: (not (run / ENDED_FILE).is_file(), (run / METRICS_FILE).stat().st_mtime_ns),
    )


def find_runs(under: Path = RUNS) -> list[Path]:
    """Return all runs under a folder, sorted by name; raises CharlmError if there is no run."""
    names = run_names(under)
    if not names:
        raise CharlmError(f"{under}/: no run here", advice=Advice("train"))
    return [under / name for name in names]


def find_run(
    run: Path | None, *, under: Path = RUNS, suits: Callable[[Path], bool] = Path.is_dir
) -> Path:
    """Return the folder of the run that the user means, which need not be a run.

    Args:
        run: A path; or the name, or a part of the name, of a run; None = the newest run.
        under: The folder that holds the runs.
        suits: Returns whether an error may propose a file or folder in place of a missing one.

    Returns:
        `run` itself if it exists, or if there are no runs that it could name.

    Raises:
        CharlmError: `run` is None and there is no run; or it does not exist, and is a part of the names of several
            runs, or of none.

    """
    if run is None:
        return max(find_runs(under), key=lambda run: (run / METRICS_FILE).stat().st_mtime_ns)
    names = [] if run.exists() else run_names(under)
    part = str(run)
    found = [part] if part in names else [name for name in names if part in name]
    if len(found) > 1:
        raise CharlmError(
            f"{run}: a part of the names of several runs: {', '.join(found)}; must be that of one"
        )
    if names and not found:
        words = {word: name for name in names for word in (name, _TIME.sub("", name))}
        near = nearest(part, words)
        hint = f"; did you mean {words[near]}?" if near else near_file_hint(run, suits=suits)
        advice = None if hint else Advice("list runs", under)
        raise CharlmError(
            f"{run}: no such folder, and no run has this in its name{hint}", advice=advice
        )
    return under / found[0] if found else run


def run_names(under: Path = RUNS) -> list[str]:
    """Return the names of all runs under a folder, sorted; none if there is no such folder."""
    return sorted(path.name for path in under.iterdir() if is_run(path)) if under.is_dir() else []


def find_model(model: Path | None, *, on_event: OnEvent = ignore) -> Path:
    """Return the model file that the user means.

    Args:
        model: A model file; or a run, whose best model is taken; or a part of the name of one run under runs/; or the
            name of a model that comes with charlm, if no run has it; None = the newest run.
        on_event: Called with NewestRunTaken and LastModelTaken.

    Raises:
        CharlmError: there is no such file or run or several that are meant, or no model in the run.

    """
    is_path = model is None or model.exists() or str(model) in run_names()
    found = (None if is_path else shipped_models().get(str(model))) or find_run(
        model, suits=_may_be_model
    )
    if model is None:
        on_event(NewestRunTaken(found))
    if found.is_file() and found.suffix != SUFFIX:
        raise CharlmError(
            f"{found}: not a model file (*{SUFFIX})", advice=Advice("use as text", found)
        )
    if found.is_file():
        return found
    if not found.is_dir():
        hint = near_file_hint(found, suits=_may_be_model)
        raise CharlmError(f"{found}: no such file or folder; must be a run or a model file{hint}")
    file = next((found / name for name in (BEST, LAST) if (found / name).is_file()), None)
    if file is None:
        if not is_run(found):
            raise CharlmError(f"{found}: neither a run nor a model file")
        problem = f"{found}: no model in this run yet: wait for its first evaluation"
        raise CharlmError(problem, advice=Advice("resume", found))
    if file.name != BEST:
        on_event(LastModelTaken(found))
    return file


def _may_be_model(path: Path) -> bool:
    """Return whether a path looks like a model: a folder, or a file with the suffix of model files."""
    return path.is_dir() or path.suffix == SUFFIX
