"""`charlm tensorboard`: runs TensorBoard on a folder of runs, or on one run."""

import signal
import sys
import types
from pathlib import Path

import click

from charlm.cli.command import Command
from charlm.cli.options import PATH, host_option, port_option, suggest_runs
from charlm.cli.output import say
from charlm.errors import CharlmError

KEPT = "text=100000"
"""TensorBoard keeps all texts of a tag, not only ten. 0, its word for all, shows none in version 2.21."""
CHARTS = "#custom_scalars&_smoothingWeight=0"
"""The place of the charts at the address of TensorBoard; smoothed, a loss that falls would be shown above itself."""


@click.command(cls=Command)
@click.argument(
    "runs",
    required=False,
    type=PATH,
    shell_complete=suggest_runs,
    help="Folder of runs, or a run, or a part of a name that only one run under runs/ has.  [default: runs/]",
)
@host_option
@port_option(6006)
def tensorboard(*, runs: Path | None, host: str, port: int) -> None:
    """Open TensorBoard on runs.

    Runs that begin later appear. Ctrl-C ends it.

    Examples:
      charlm tensorboard
        all runs under runs/, at http://127.0.0.1:6006
      charlm tensorboard tiny --port 0
        one run, at any free port

    """
    from charlm.runs.folder import RUNS, find_run

    folder = RUNS if runs is None else find_run(runs)
    if not any(folder.rglob("*.tfevents.*")):
        raise CharlmError(f"{folder}: no run here has been trained; train one with: charlm train")
    address = _launch("--logdir", str(folder), "--samples_per_plugin", KEPT, "--host", host, "--port", str(port))
    say(f"all charts (CUSTOM SCALARS; Ctrl-C ends it): {address}{CHARTS}")
    signal.pause()


def _launch(*arguments: str) -> str:
    """Start TensorBoard in a thread, and return its address once it listens.

    It does without TensorFlow, by its own hook: importing that takes seconds and writes messages.

    Raises:
        CharlmError: it cannot listen there.

    """
    sys.modules["tensorboard.compat.notf"] = types.ModuleType("notf")
    from absl import logging
    from tensorboard import default, program

    logging.set_verbosity(logging.WARNING)
    board = program.TensorBoard(plugins=default.get_plugins())
    board.configure(argv=["tensorboard", *arguments])
    try:
        return str(board.launch())
    except program.TensorBoardServerException as error:
        raise CharlmError(error.msg) from None
