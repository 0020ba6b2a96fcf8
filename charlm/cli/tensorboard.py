"""`charlm tensorboard`: hands over to TensorBoard."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from charlm.cli.command import Command
from charlm.cli.options import runs_argument
from charlm.errors import CharlmError


@click.command(cls=Command)
@runs_argument
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=6006,
    show_default=True,
    help="Port to listen at; 0 = any free one.",
)
def tensorboard(runs: tuple[Path, ...], host: str, port: int) -> None:
    """Open TensorBoard on runs: those named, or all under runs/."""
    become_tensorboard(runs, host=host, port=port)


def become_tensorboard(
    folders: Sequence[Path],
    *,
    host: str,
    port: int,
    execute: Callable[[str, list[str], dict[str, str]], object] = os.execve,
) -> None:
    """Replace this process by a TensorBoard; signals, messages and the exit code are then TensorBoard's own.

    Args:
        folders: The runs to show; none = all under runs/.
        host: The address to listen at.
        port: The port, 0 to 65535; 0 = any free one.
        execute: Replaces the process, given a program, its arguments and its environment.

    Raises:
        CharlmError: there is no run, or TensorBoard cannot show these runs together.

    """
    logs = log_arguments(folders)
    # -P: modules in the current folder are not imported, since it may hold files from anyone
    command = [sys.executable, "-P", "-m", "tensorboard.main", *logs, "--host", host, "--port", str(port)]
    execute(sys.executable, command, {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ})


def log_arguments(folders: Sequence[Path]) -> list[str]:
    """Return the arguments that make TensorBoard show some runs, each under its folder's name.

    Args:
        folders: The runs; none = all under runs/.

    Raises:
        CharlmError: there is no run, a folder is not a run, or one of several has a comma or a colon in its name.

    """
    from charlm.runs.folder import RUNS, TENSORBOARD, newest_run

    if not folders:
        newest_run()  # there is at least one
        return ["--logdir", str(RUNS)]
    for folder in folders:
        if not (folder / TENSORBOARD).is_dir():
            raise CharlmError(f"{folder}: not a run: there is no {TENSORBOARD}/ in it")
    if len(folders) == 1:
        return ["--logdir", str(folders[0])]
    names = [folder.resolve().name for folder in folders]
    pairs = [
        f"{name if names.count(name) == 1 else folder}:{folder}" for name, folder in zip(names, folders, strict=True)
    ]
    wrong = next(
        (folder for folder, pair in zip(folders, pairs, strict=True) if "," in pair or pair.count(":") > 1), None
    )
    if wrong is not None:
        raise CharlmError(
            f"{wrong}: TensorBoard takes several runs only if no name has a comma or a colon; show it alone"
        )
    return ["--logdir_spec", ",".join(pairs)]
