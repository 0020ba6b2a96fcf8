"""Run folders: the names of their files, the name of a new folder, and finding the run or bundle that the user means.

`charlm.runs.run` begins and opens runs. This module imports no NumPy: completion in a shell waits for it.
"""

import contextlib
import os
import re
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from charlm.config.recipes import shipped_models
from charlm.errors import CharlmError, nearest
from charlm.network.architecture import CONFIG_FILE, is_bundle
from charlm.runs.metrics import read_metrics
from charlm.storage.files import printable

RUNS = Path("runs")
METRICS_FILE = "metrics.jsonl"
ENDED_FILE = "ended.json"
"""Is there if the run has reached its end: no signal stopped it, and it does not go on."""
CORPUS, CHECKPOINTS = "corpus", "checkpoints"
INIT = "init"
"""The bundle of the weights that training begins with, if they are those of another model."""
SOFT_TARGETS, SOFT_TARGETS_FACTS = "soft_targets.bin", "soft_targets.json"
TEACHERS = "teachers"
"""The runs of the teachers that a run trains, by their seeds."""
BundleName = Literal["best", "last"]
BUNDLES: tuple[BundleName, ...] = get_args(BundleName)
MODELS = "steps"
"""The bundles of the checkpoints, if the run keeps them."""
STEPS = "step-*"
"""The names of the steps in CHECKPOINTS and MODELS, as a pattern."""
_TIME = re.compile(r"^\d{8}-\d{6}-")
"""How the name of a folder that `new_folder` named begins."""


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


def as_argument(path: Path) -> str:
    """Return a path as a shell takes it: quoted, and with ./ before a name that begins like an option."""
    name = str(path)
    return shlex.quote(f"./{name}" if name.startswith("-") else name)


def is_run(folder: Path) -> bool:
    """Return whether a run has begun in a folder; a path that cannot be looked up is not a run."""
    # Path.is_file raises OSError for some paths, and one of them would hide the runs beside it.
    return all(os.path.isfile(folder / name) for name in (CONFIG_FILE, METRICS_FILE))  # noqa: PTH113


def check_is_run(folder: Path) -> None:
    """Raise CharlmError unless a run has begun in a folder."""
    if not is_run(folder):
        raise CharlmError(f"{folder}: not a run: there is no {CONFIG_FILE} and {METRICS_FILE} in it")


def results(run: Path) -> list[str]:
    """Return the names of what training has written to a run; none = the run has nothing but its beginning.

    A log whose lines are all of step 0 belongs to the beginning: training was ended before its first checkpoint.

    Raises:
        CharlmError: a name cannot be looked up, so that it is not known what there is.

    """
    found = [f"{name}/" for name in BUNDLES if (run / name).exists()]
    try:
        with contextlib.suppress(FileNotFoundError):  # Path.glob would suppress other problems too
            if any(path.match(STEPS) for path in (run / CHECKPOINTS).iterdir()):
                found.append(f"{CHECKPOINTS}/")
        with contextlib.suppress(FileNotFoundError):
            if (run / METRICS_FILE).lstat().st_size and not _is_of_beginning(run / METRICS_FILE):
                found.append(METRICS_FILE)
    except OSError as error:
        raise CharlmError(f"{error.filename}: cannot be read: {error.strerror}") from None
    return found


def _is_of_beginning(metrics: Path) -> bool:
    try:
        return all(line.get("step") == 0 for line in read_metrics(metrics))
    except CharlmError:  # what cannot be read may be all that is left of a long training
        return False


def step_name(step: int) -> str:
    """Return the name of the folder of a step in CHECKPOINTS and MODELS."""
    return f"step-{step:09d}"


def saved_steps(folder: Path) -> list[int]:
    """Return the steps of all checkpoints in a folder, damaged ones included, the newest first; none if it is missing.

    Raises:
        CharlmError: the folder cannot be read.

    """
    try:
        names = [path.name.removeprefix("step-") for path in folder.iterdir() if path.match(STEPS)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CharlmError(f"{folder}: cannot be read: {error.strerror}") from None
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def model_name(bundle: Path) -> str:
    """Return the name of a model, given the folder of its bundle: that of its run, or else of the folder.

    Bytes of a name that are not UTF-8 are escaped.
    """
    folder = bundle.resolve()
    name = folder.parent.name if folder.name in BUNDLES and is_run(folder.parent) else folder.name
    return printable(Path(name))


def newest_run(under: Path = RUNS) -> Path:
    """Return the run under a folder to which metrics were written last; raises CharlmError if there is no run."""
    return max(find_runs(under), key=lambda run: (run / METRICS_FILE).stat().st_mtime_ns)


def newest_unfinished_run(under: Path = RUNS) -> Path:
    """Return the newest run under a folder that has not reached its end, or the newest if all have.

    Raises:
        CharlmError: there is no run.

    """
    runs = find_runs(under)
    return max(runs, key=lambda run: (not (run / ENDED_FILE).is_file(), (run / METRICS_FILE).stat().st_mtime_ns))


def find_runs(under: Path = RUNS) -> list[Path]:
    """Return all runs under a folder, sorted by name; raises CharlmError if there is no run."""
    names = run_names(under)
    if not names:
        raise CharlmError(f"{under}/: no run here; name one, or train one with: charlm train")
    return [under / name for name in names]


def find_run(run: Path | None, *, under: Path = RUNS) -> Path:
    """Return the folder of the run that the user means, which need not be a run.

    Args:
        run: A path; or the name, or a part of the name, of a run; None = the newest run.
        under: The folder that holds the runs.

    Returns:
        `run` itself if it exists, or if there are no runs that it could name.

    Raises:
        CharlmError: `run` is None and there is no run; or it does not exist, and is a part of the names of several
            runs, or of none.

    """
    if run is None:
        return newest_run(under)
    names = [] if run.exists() else run_names(under)
    part = str(run)
    found = [part] if part in names else [name for name in names if part in name]
    if len(found) > 1:
        raise CharlmError(f"{run}: a part of the names of several runs: {', '.join(found)}; must be that of one")
    if names and not found:
        words = {word: name for name in names for word in (name, _TIME.sub("", name))}
        near = nearest(part, words)
        hint = f"; did you mean {words[near]}?" if near else f"; charlm runs lists those under {under}/"
        raise CharlmError(f"{run}: no such folder, and no run has this in its name{hint}")
    return under / found[0] if found else run


def run_names(under: Path = RUNS) -> list[str]:
    """Return the names of all runs under a folder, sorted; none if there is no such folder."""
    return sorted(path.name for path in under.iterdir() if is_run(path)) if under.is_dir() else []


def find_bundle(run: Path | None, *, say: Callable[[str], object] | None = None) -> Path:
    """Return the folder of the bundle that the user means.

    Args:
        run: The folder of a run, whose best model is taken, or of a bundle; or a part of the name of one run under
            runs/; or the name of a model that comes with charlm, if no run has it; None = the newest run.
        say: Takes a line for the user that names the newest run if it is meant, and one if a run has no best/ yet and
            last/ is taken; None = no line.

    Raises:
        CharlmError: there is no such folder or several that are meant, or no bundle in it.

    """
    is_path = run is None or run.exists() or str(run) in run_names()
    folder = (None if is_path else shipped_models().get(str(run))) or find_run(run)
    if run is None and say is not None:
        say(f"{folder}: the newest run, as none is named")
    if is_bundle(folder):
        return folder
    if folder.is_file():
        text = as_argument(folder)
        raise CharlmError(
            f"{folder}: a file, not a run; to train on it: charlm train {text}; to score it: charlm evaluate RUN {text}"
        )
    if not folder.is_dir():
        raise CharlmError(f"{folder}: no such folder; must be a run or a bundle")
    found = next((folder / name for name in BUNDLES if is_bundle(folder / name)), None)
    if found is None:
        command = f"charlm train --resume --run {as_argument(folder)}"
        advice = f"no model in this run yet: wait for its first evaluation, or continue it with: {command}"
        raise CharlmError(f"{folder}: {advice if is_run(folder) else 'neither a run nor a bundle'}")
    if say is not None and found.name != "best":
        say(f"{folder}: no best/ in this run yet; this is last/, the model of its last step")
    return found
