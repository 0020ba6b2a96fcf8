"""The commands `inspect` and `tensorboard`."""

import signal
import sys
import types
from pathlib import Path
from typing import Any

import click

from charlm.cli.command import (
    PATH,
    Command,
    host_option,
    json_option,
    models_argument,
    suggest_runs,
)
from charlm.cli.output import print_json, print_result, say
from charlm.cli.progress import ProgressDisplay
from charlm.errors import CharlmError


@click.command(cls=Command)
@models_argument
@click.option(
    "--text",
    type=PATH,
    metavar="FILE",
    help="File, folder of files, corpus, or - for standard input.  "
    "[default: the validation part of the model's own text]",
)
@click.option("--out", type=PATH, metavar="FILE.html", help="File for the report.")
@click.option(
    "--only",
    multiple=True,
    metavar="SECTION",
    help="Measure only this section, for instance usable_context or memory.  (repeatable)",
)
@json_option
def inspect(*, as_json: bool, **options: Any) -> None:
    """Show how a network works: how far it remembers, what its units detect, where it errs.

    The report shows the text coloured by surprise, the loss by kind of character, the context used,
    what units detect, the memory and its dynamics, and ends with experiments. It is one
    self-contained HTML file. Several runs are compared in a table and drawn on the same axes; runs
    that differ only in their seeds are a row with their mean.

    Examples:
      charlm inspect --out report.html
        a report on the newest run
      charlm inspect small large --out report.html
        two runs on the same axes
      charlm inspect --text mytext.txt --json
        the numbers, measured on another text

    """
    if options["out"] is None and not as_json:
        raise click.UsageError("add --out FILE.html for a report, or --json for the numbers")
    from charlm.inspection.inspecting import inspect_runs, to_json

    with ProgressDisplay() as display:
        reports = inspect_runs(**options, on_event=display)
    if as_json:
        print_json(to_json(reports))
    else:
        print_result(str(options["out"]))


KEPT = "text=100000"
"""Option for the number of texts that TensorBoard keeps; 0, which means all, is broken in 2.21."""
CHARTS = "?smoothing=0#timeseries"
"""Address of the TIME SERIES tab; smoothing is off because it draws a falling loss too high."""


@click.command(cls=Command)
@click.argument(
    "runs",
    required=False,
    type=PATH,
    shell_complete=suggest_runs,
    help="Folder of runs, a run, or a part of a run's name under runs/.  [default: runs/]",
)
@host_option
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    help="Port to listen on; 0 = any free port.  [default: 6006, or the next free port]",
)
def tensorboard(*, runs: Path | None, host: str, port: int | None) -> None:
    """Start TensorBoard.

    The first chart shows the training and validation loss of each run, and the validation loss of
    a 5-gram model. New runs appear while it is open. Ctrl-C stops it.

    Examples:
      charlm tensorboard
        all runs under runs/, at http://127.0.0.1:6006
      charlm tensorboard tiny --port 0
        one run, on any free port

    """
    from charlm.runs.folder import RUNS, find_run
    from charlm.storage import is_run

    folder = RUNS if runs is None else find_run(runs)
    if not any(folder.rglob("*.tfevents.*")):
        raise CharlmError(f"{folder}: no run here has been trained; train one with: charlm train")
    arguments = ["--logdir", str(folder), "--samples_per_plugin", KEPT, "--host", host]
    if port is not None:  # without this option, TensorBoard looks for a free port
        arguments += ["--port", str(port)]
    address = _launch(*arguments)
    say(f"TensorBoard (Ctrl-C stops it): {address}{CHARTS}")
    say("to enlarge a chart, click the frame at its top right")
    if not is_run(folder):
        say("to compare validation losses only, type validation into Filter runs")
    signal.pause()


def _launch(*arguments: str) -> str:
    """Start TensorBoard in a thread, and return its address when it accepts connections.

    Importing TensorFlow would take seconds and print messages. The module `notf` tells TensorBoard
    to do without it.

    Raises:
        CharlmError: TensorBoard cannot listen on this address.

    """
    sys.modules["tensorboard.compat.notf"] = types.ModuleType("notf")
    from absl import logging
    from tensorboard import default, program

    logging.set_verbosity(logging.WARNING)
    board = program.TensorBoard(plugins=default.get_plugins())
    board.configure(argv=["tensorboard", *arguments])
    try:
        return str(board.launch())
    except (program.TensorBoardServerException, UnicodeError) as error:
        raise CharlmError(str(error)) from None
