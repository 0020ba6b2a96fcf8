"""The command `runs`: runs as a table."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from charlm.cli.command import PATH, Command, json_option, suggest_runs
from charlm.cli.output import (
    align,
    cut,
    fill,
    print_json,
    print_result,
    say,
    terminal_width,
    text_width,
)
from charlm.errors import CharlmError
from charlm.wording import duration, escape_controls

MAX_WIDTH = 40
"""Largest width of a name, a setting or its value, in terminal columns."""
SAMPLE_CHARACTERS = 300
NO_VALUE = "-"
Row = Mapping[str, Any]


@click.command(cls=Command)
@click.argument(
    "runs",
    nargs=-1,
    type=PATH,
    shell_complete=suggest_runs,
    help="Runs, or unique parts of their names.  [default: all]",
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
    """List runs: state, step, score, text, recipe, speed, weights, age and differing settings.

    The state of a run is training, done or stopped; charlm train --resume -r RUN continues a
    stopped run. The score is the loss of the best model in nats per character. The column "5-gram"
    shows how much better or worse the score is than that of a 5-gram model, or "unclear" if the
    difference is within three standard errors. Runs on the same text are listed together; "above
    best" is the difference from the best of them, and ± its standard error. The age is the time
    since the last entry in the log. Columns that do not fit the terminal are left out. The settings
    below a run differ between runs of the same recipe. Unreadable runs are reported; the exit code
    is 1 if you named such a run, or if no run can be shown.

    Examples:
      charlm runs
        list all runs under runs/, the newest first
      charlm runs tiny default
        compare two runs, by parts of their names
      charlm runs --samples
        compare texts that the runs generate
      charlm runs --group
        show mean and standard deviation over seeds
      charlm runs --json > runs.json
        print the numbers in full precision, for another program

    """
    from charlm.api.comparing import compare_runs, compare_seeds
    from charlm.runs.summary import group_by_text, list_runs

    if is_grouped and has_samples:
        raise click.UsageError("--group and --samples cannot be used together")
    unreadable: list[Path] = []

    def report(folder: Path, error: CharlmError) -> None:
        say(str(error))
        unreadable.append(folder)

    summaries = list_runs(runs, report=report)
    compare = compare_seeds if is_grouped else compare_runs
    rows = [row for group in group_by_text(summaries) for row in compare(group)]
    if has_samples:
        for row in rows:
            row["sample"] = _sample(row["run"])
    if rows and as_json:
        print_json(rows)
    elif has_samples:
        _print_samples(rows)
    elif rows:
        _print_table(rows, SEED_COLUMNS if is_grouped else COLUMNS)
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


def _print_samples(rows: Sequence[Row]) -> None:
    for row in rows:
        nats = row["nats_per_char"]
        score = "no score" if nats is None else f"{nats:.4f} nats per character"
        sample = row["sample"] or "no model yet"
        print_result(f"--- {row['name']}: {score} ---", *sample.split("\n"))


def _print_table(rows: Sequence[Row], columns: Mapping[str, "Column"]) -> None:
    """Print a line for each row, as many columns as fit, and the differing settings."""
    width = terminal_width()
    head, *lines = _fitting_columns(rows, columns, width=width)
    print_result(head)
    for row, line in zip(rows, lines, strict=True):
        settings = []
        for key, value in row["settings"].items():
            settings.append(f"{_cut_key(key)} {_cut(_as_json(value))}")
        print_result(line, *fill(settings, width=width, indent=2))


def _as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _fitting_columns(
    rows: Sequence[Row], columns: Mapping[str, "Column"], *, width: int
) -> list[str]:
    """Return a table with the first columns that fit, without columns that have no value."""
    table: list[list[str]] = []
    text_columns: set[int] = set()
    for head, (key, show) in columns.items():
        cells = [_cell(row[key], show) for row in rows]
        if {*cells} == {NO_VALUE}:
            continue
        if show is _cut:
            text_columns.add(len(table))
        table.append([head, *cells])
    lines: list[str] = []
    while table:
        lines = align([*zip(*table, strict=True)], text_columns=text_columns)
        if max(map(text_width, lines)) <= width:
            break
        table.pop()
    return lines


def _cell(value: Any, show: Callable[[Any], str]) -> str:
    return NO_VALUE if value is None else show(value)


def _cut(text: str) -> str:
    return cut(escape_controls(text), MAX_WIDTH)


def _cut_key(key: str) -> str:
    """Return the end of a long key, which says most."""
    return key if len(key) <= MAX_WIDTH else f"…{key[1 - MAX_WIDTH :]}"


def _margin(comparison: Row) -> str:
    from charlm.evaluation.baselines import Comparison

    match Comparison(**comparison).verdict:
        case "not compared":
            return NO_VALUE
        case "no clear difference":
            return "unclear"
        case verdict:
            return f"{abs(comparison['margin_nats']):.4f} {verdict}"


def _unusual_split(split: str) -> str:
    """Return the text of a score if it is not the validation text."""
    return NO_VALUE if split == "validation" else "training text"


def _above(difference: Row) -> str:
    return f"+{difference['nats_per_char']:.4f}"


def _error_above(difference: Row) -> str:
    return _cell(difference["standard_error"], "{:.4f}".format)


Column = tuple[str, Callable[[Any], str]]
COLUMNS: Mapping[str, Column] = {
    "run": ("name", _cut),
    "nats": ("nats_per_char", "{:.4f}".format),
    "scored on": ("split", _unusual_split),
    "state": ("state", _cut),
    "step": ("step", "{:,.0f}".format),
    "above best": ("above_best", _above),
    "±": ("above_best", _error_above),
    "5-gram": ("comparison", _margin),
    "text": ("text", _cut),
    "recipe": ("recipe", _cut),
    "chars/s": ("characters_per_second", "{:,.0f}".format),
    "weights": ("parameters", "{:,}".format),
    "age": ("age_seconds", duration),
}
"""Columns of the table by title: the key of the row, and a function that formats its value."""
SEED_COLUMNS: Mapping[str, Column] = {
    "runs": ("scored", str),
    "mean nats": ("nats_per_char", "{:.4f}".format),
    "deviation": ("standard_deviation", "{:.4f}".format),
    "text": ("text", _cut),
    "recipe": ("recipe", _cut),
}
"""Columns of the table with --group."""
