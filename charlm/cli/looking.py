"""The commands that show what a network does and how it was trained: `inspect` and `tensorboard`."""

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
    port_option,
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
    help="File, folder of files, corpus, or - for standard input.  [default: the validation part of the text that the "
    "model was trained on]",
)
@click.option("--out", type=PATH, metavar="FILE.html", help="Page to write.")
@json_option
def inspect(*, as_json: bool, **options: Any) -> None:
    """Show what a network does: how far it remembers, what its units follow, where it errs.

    The page holds the text coloured by surprise, the usable context, gradients by lag, Lyapunov exponents, units and
    more, and ends with what to try next. It is one file that loads nothing from elsewhere. Several runs share their
    axes; runs that differ only in their seeds are averaged. Name the page with --out, or print the numbers with
    --json.

    Examples:
      charlm inspect --out report.html
        a page about the newest run
      charlm inspect small large --out report.html
        two runs in the same axes
      charlm inspect --text mytext.txt --json
        the numbers, for another text

    """
    if options["out"] is None and not as_json:
        raise click.UsageError("name a page with --out FILE.html, or print the numbers with --json")
    from charlm.inspection.inspecting import inspect_runs, to_json

    with ProgressDisplay() as display:
        reports = inspect_runs(**options, on_event=display)
    if as_json:
        print_json(to_json(reports))
    else:
        print_result(str(options["out"]))


KEPT = "text=100000"
"""TensorBoard keeps all texts of a tag, not only ten. 0, its word for all, shows none in version 2.21."""
CHARTS = "?smoothing=0#timeseries"
"""The tab TIME SERIES at the address of TensorBoard, without smoothing, which would draw a falling loss too high."""


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

    The first chart has the loss of each run on the training text, on the validation text, and of a 5-gram model. Runs
    that begin later appear. Ctrl-C ends it.

    Examples:
      charlm tensorboard
        all runs under runs/, at http://127.0.0.1:6006
      charlm tensorboard tiny --port 0
        one run, at any free port

    """
    from charlm.runs.folder import RUNS, find_run, is_run

    folder = RUNS if runs is None else find_run(runs)
    if not any(folder.rglob("*.tfevents.*")):
        raise CharlmError(f"{folder}: no run here has been trained; train one with: charlm train")
    address = _launch(
        "--logdir", str(folder), "--samples_per_plugin", KEPT, "--host", host, "--port", str(port)
    )
    say(f"TensorBoard (Ctrl-C ends it): {address}{CHARTS}")
    say("to enlarge a chart, press the frame at its top right")
    if not is_run(folder):
        say("to compare the runs by their validation loss, type validation into Filter runs")
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
    except (program.TensorBoardServerException, UnicodeError) as error:
        raise CharlmError(str(error)) from None
