"""The commands `runs`, `inspect` and `tensorboard`."""

import json
import re
import signal
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from charlm.cli.command import (
    PATH,
    Command,
    host_option,
    json_option,
    models_argument,
    suggest_runs,
)
from charlm.cli.output import (
    ProgressDisplay,
    align,
    print_json,
    print_result,
    say,
    terminal_width,
    wrap,
)
from charlm.errors import CharlmError
from charlm.storage import METRICS_FILE

SAMPLE_CHARACTERS = 300
NO_VALUE = "-"
Row = Mapping[str, Any]


@click.command(cls=Command)
@click.argument(
    "runs",
    nargs=-1,
    type=PATH,
    shell_complete=suggest_runs,
    help="Runs, or parts of their names.  [default: all]",
)
@click.option(
    "--group",
    "is_grouped",
    is_flag=True,
    help="Show one line for all runs that differ only in their seeds.",
)
@click.option(
    "--samples",
    "has_samples",
    is_flag=True,
    help="Generate a text with each run.",
)
@json_option
@click.pass_context
def runs(
    context: click.Context,
    *,
    runs: tuple[Path, ...],
    is_grouped: bool,
    has_samples: bool,
    as_json: bool,
) -> None:
    """List runs, the newest first: state, step, loss, and the settings that differ.

    The state of a run is training, done or stopped; charlm train --resume -r RUN continues a
    stopped run. The loss is that of the best model on the validation text, in nats per character,
    with its standard error; "(train)" marks the loss of a run without validation text. "training
    loss" is measured in the same way on as much of the training text: if it is far lower, the
    network overfits. "above best" is the difference from the best of the runs on the same text,
    with its standard error over the seeds, if there are several runs of a setting.
    Unreadable runs are reported; the exit code is 1 if you named such a run, or if no run can be
    shown.

    Examples:
      charlm runs
        list all runs under runs/, the newest first
      charlm runs tiny default
        compare two runs, by parts of their names
      charlm runs --samples
        compare texts that the runs generate
      charlm runs --group
        show the mean over seeds of each setting, and whether settings differ
      charlm runs --json > runs.json
        print the numbers in full precision, for another program

    """
    from charlm.runs.summary import compare_groups, compare_runs, group_by_text, list_runs

    if is_grouped and has_samples:
        raise click.UsageError("--group and --samples cannot be used together")
    unreadable: list[Path] = []

    def report(folder: Path, error: CharlmError) -> None:
        say(str(error))
        unreadable.append(folder)

    summaries = list_runs(runs, report=report)
    compare = compare_groups if is_grouped else compare_runs
    rows = [row for group in group_by_text(summaries) for row in compare(group)]
    if has_samples:
        for row in rows:
            row["sample"] = _sample(row["run"])
    if as_json:
        print_json(rows)
    elif rows:
        if not is_grouped and len({row["name"] for row in rows}) < len(rows):
            for row in rows:
                row["name"] = row["run"]
        _print_table(rows, _seed_cells if is_grouped else _run_cells)
    if not summaries or (runs and unreadable):
        context.exit(1)


def _sample(run: str) -> str | None:
    """Return a text generated with the same seed for every run; None if a run has no model yet."""
    from charlm.api.model import load

    try:
        return str(load(run).generate(length=SAMPLE_CHARACTERS, seed=1))
    except CharlmError as error:
        say(str(error))
        return None


def _print_table(rows: Sequence[Row], cells: Callable[[Row], dict[str, str]]) -> None:
    """Print a line for each row, settings and text if they differ, a difference and a sample."""
    from charlm.measures.estimates import SeedsDifference

    table = [cells(row) for row in rows]
    texts = {row["text_sha256"] for row in rows}
    head, *lines = align([[*table[0]], *([*row.values()] for row in table)], text_columns={0, 1})
    print_result(head)
    for row, line in zip(rows, lines, strict=True):
        text = f"{row['text']} ({row['text_sha256']:.8})" if row["text"] else None
        values = {"text": text} if len(texts) > 1 else {}
        values |= row["settings"]
        settings = []
        for key, value in values.items():
            settings.append(f"{key} {json.dumps(value, ensure_ascii=False)}")
        print_result(line, *wrap(", ".join(settings), terminal_width(), indent=2))
        if row.get("above_previous"):
            difference = SeedsDifference(**row["above_previous"])
            print_result(*wrap(str(difference), terminal_width(), indent=2))
        if row.get("sample"):
            print_result(*row["sample"].split("\n"), "")
    distances = [row["above_best"] for row in rows if row.get("above_best")]
    if any(distance["standard_error"] is None for distance in distances):
        print_result("above best: one seed each: not known to be more than chance")


def _run_cells(row: Row) -> dict[str, str]:
    """Return the cells of a run by the titles of their columns."""
    above = row["above_best"] or {"nats_per_char": None, "standard_error": None}
    loss = _with_error(row["nats_per_char"], row["standard_error"])
    return {
        "run": row["name"],
        "state": row["state"],
        "step": NO_VALUE if row["step"] is None else f"{row['step']:,.0f}",
        "loss": loss if row["split"] in {"validation", None} else f"{loss} (train)",
        "training loss": _with_error(row["train_nats_per_char"], None),
        "above best": _with_error(above["nats_per_char"], above["standard_error"]),
    }


def _seed_cells(row: Row) -> dict[str, str]:
    """Return the cells of runs that differ only in seeds by the titles of their columns."""
    return {
        "seeds": str(row["scored"]),
        "mean loss ± standard error over seeds": _with_error(
            row["nats_per_char"], row["standard_error"]
        ),
    }


def _with_error(nats: float | None, error: float | None) -> str:
    if nats is None:
        return NO_VALUE
    return f"{nats:.4f}" if error is None else f"{nats:.4f} ± {error:.4f}"


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
    what units detect, and the memory and its dynamics. It is one self-contained HTML file. Several
    runs are compared in a table and drawn on the same axes; runs that differ only in their seeds
    are a row with their mean.

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
    from charlm.inspection import inspecting

    with ProgressDisplay() as display:
        reports = inspecting.inspect_runs(**options, on_event=display)
    if as_json:
        print_json(inspecting.to_json(reports))
    else:
        print_result(str(options["out"]))


KEPT = "text=100000"
"""Option for the number of texts that TensorBoard keeps; 0, which means all, is broken in 2.21."""
CHARTS = "?smoothing=0{}#timeseries"
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
    an 8-gram model. New runs appear while it is open. Ctrl-C stops it.

    Examples:
      charlm tensorboard
        all runs under runs/, at http://127.0.0.1:6006
      charlm tensorboard tiny --port 0
        one run, on any free port

    """
    from charlm.runs.folder import RUNS, find_run

    folder = RUNS if runs is None else find_run(runs)
    if not any(folder.rglob("*.tfevents.*")):
        raise CharlmError(f"{folder}: no run here has been trained; train one with: charlm train")
    arguments = ["--logdir", str(folder), "--samples_per_plugin", KEPT, "--host", host]
    if port is not None:  # without this option, TensorBoard looks for a free port
        arguments += ["--port", str(port)]
    address = _launch(*arguments)
    say(f"TensorBoard (Ctrl-C stops it): {address}{CHARTS.format(_colour_by_group(folder))}")
    say("to enlarge a chart, click the frame at its top right")
    say("to compare validation losses only, type validation into Filter runs")
    signal.pause()


def _colour_by_group(folder: Path) -> str:
    """Return the part of an address that gives one colour to runs that differ only in seeds.

    TensorBoard gives one colour to names for which the same group of a pattern matches, here ().
    """
    from charlm.runs.summary import group_by_seed, list_runs

    folders = [path.parent for path in folder.rglob(METRICS_FILE)]
    runs = list_runs(folders, report=lambda *_: None) if folders else []
    groups = group_by_seed(runs)
    if len(groups) == len(runs):
        return ""
    alternatives = []
    for group in groups:
        names = [re.escape(str(run.folder.relative_to(folder))) for run in group.runs]
        alternatives.append(f"(?:{'|'.join(names)})()")
    pattern = quote(f"regex:^(?:{'|'.join(alternatives)})/")
    return f"&runFilter=validation&runColorGroup={pattern}"


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
