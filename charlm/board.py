"""TensorBoard on the runs of charlm."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from charlm import runs
from charlm.errors import CharlmError


def serve(folders: Sequence[Path], *, host: str, port: int) -> NoReturn:
    """Become a TensorBoard on some runs, or on all under runs/ if none is named, until it is interrupted.

    Raises CharlmError where there is no run.
    """
    logs = log_arguments(folders)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # -P: modules in the folder at hand are not imported, it may be a stranger's
    command = [sys.executable, "-P", "-m", "tensorboard.main", *logs, "--host", host, "--port", str(port)]
    os.execv(sys.executable, command)  # its signals, messages and exit code are TensorBoard's own


def log_arguments(folders: Sequence[Path]) -> list[str]:
    """Return the arguments that show TensorBoard some runs, each under its folder's name.

    Raises CharlmError where a folder holds no run.
    """
    if not folders:
        runs.newest_run()  # there is at least one
        return ["--logdir", str(runs.RUNS)]
    for folder in folders:
        if not (folder / runs.TENSORBOARD).is_dir():
            raise CharlmError(f"{folder}: not a run: there is no {runs.TENSORBOARD}/ in it")
    if len(folders) == 1:
        return ["--logdir", str(folders[0])]
    names = [folder.resolve().name for folder in folders]
    pairs = [
        f"{name if names.count(name) == 1 else folder}:{folder}"
        for name, folder in zip(names, folders, strict=True)
    ]
    if any("," in pair or pair.count(":") > 1 for pair in pairs):
        raise CharlmError("TensorBoard takes several runs only if no folder has a comma or a colon in its name")
    return ["--logdir_spec", ",".join(pairs)]
