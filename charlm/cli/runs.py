"""The command `runs`: runs as a table."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from charlm.wording import counted, duration, escape_controls

MAX_WIDTH = 40
"""Columns of a name, a setting or its value."""
SAMPLE_CHARACTERS = 300
NO_VALUE = "-"
SHOWN_SETTINGS = 5
"""The number of differing settings below a run, unless all are shown."""


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
    help="A line for all runs that differ in their seeds alone.",
)
@click.option(
    "--samples",
    "has_samples",
    is_flag=True,
    help="Let each run write a text, at its own temperature.",
)
@click.option(
    "--all",
    "shows_all",
    is_flag=True,
    help="Show all settings in which runs differ, not only five.",
)
@json_option
@click.pass_context
def runs(
    context: click.Context,
    *,
    runs: tuple[Path, ...],
    is_grouped: bool,
    has_samples: bool,
    shows_all: bool,
    as_json: bool,
) -> None:
    """List runs: state, step, score, text, recipe, speed, weights, age, and the settings in which they differ.

    A run is training, done, or stopped; one that was stopped goes on with charlm train --resume -r RUN. The score is
    that of its best model in nats per character; the column 5-gram says how much better or worse that is than a 5-gram
    model, or unclear if the difference is within three standard errors. Runs on one text stand together; how far a run
    is above the best of them is followed by the standard error of that difference. Of the settings in which they
    differ, the five that matter most are shown. The age is the time since the last line
    of its log. Columns that do not fit the terminal are left out. A run that cannot be read is left out, with a line on
    standard error; the exit code is 1 if such a run was named, or if none is left.

    Examples:
      charlm runs
        all runs under runs/, the newest first
      charlm runs tiny default
        two runs, by parts of their names
      charlm runs --samples
        what each run writes, one below the other
      charlm runs --group
        mean and deviation of the scores of runs that differ in their seeds alone
      charlm runs --json > runs.json
        for another program, with every digit

    """
    from charlm.api.comparing import compare_runs, compare_seeds
    from charlm.runs.summary import group_by_text, list_runs

    unreadable: list[Path] = []

    def report(folder: Path, error: CharlmError) -> None:
        """Tell the user why a run is left out."""
        say(str(error))
        unreadable.append(folder)

    if is_grouped and has_samples:
        raise click.UsageError("--samples shows each run, --group none; leave one of them out")
    found = list_runs(runs, report=report)
    make_rows, columns = (compare_seeds, SEED_COLUMNS) if is_grouped else (compare_runs, COLUMNS)
    rows = [row for group in group_by_text(found) for row in make_rows(group)]
    for row in rows if has_samples else ():
        row["sample"] = _sample(row["run"])
    if rows and as_json:
        print_json(rows)
    elif has_samples:
        for row in rows:
            nats = (
                "no score"
                if row["nats_per_char"] is None
                else f"{row['nats_per_char']:.4f} nats per character"
            )
            print_result(
                f"--- {row['name']}: {nats} ---", *(row["sample"] or "no model yet").split("\n")
            )
    elif rows:
        width = terminal_width()
        changed = () if is_grouped else _changed_texts(rows, width=width)
        count = None if shows_all else SHOWN_SETTINGS
        print_result(*_table(rows, columns, width=width, count=count), *changed)
        shown = {key for row in rows for key in [*row["settings"]][:count]}
        hidden = {key for row in rows for key in row["settings"]} - shown
        if hidden:
            say(f"{counted(len(hidden), 'more differing setting')} not shown; --all shows them")
    if not found or (runs and unreadable):
        context.exit(1)


def _sample(run: str) -> str | None:
    """Return a text that a run writes, with the same random numbers as the others; None if it has no model yet."""
    from charlm.api.model import load

    try:
        return str(load(run).generate(length=SAMPLE_CHARACTERS, seed=1))
    except CharlmError as error:
        say(str(error))
        return None


def _changed_texts(rows: Sequence[Mapping[str, Any]], *, width: int) -> Iterator[str]:
    """Yield lines for each text that has changed between runs: those runs have its name, but not the same contents."""
    scored = [row for row in rows if row["total_bits"] is not None]
    for name in dict.fromkeys(row["text"] for row in scored):
        same_name = [row for row in scored if row["text"] == name]
        if len({row["text_sha256"] for row in same_name}) < 2:
            continue
        totals = [
            f"{_cut(row['name'])} {row['total_bits']:,.0f} bits over {row['scored_characters']:,} validation characters"
            for row in same_name
        ]
        yield f"{_cut(name)} has changed: nats per character of different texts do not compare; total bits:"
        yield from fill(totals, width=width, indent=2)


def _table(
    found: Sequence[Mapping[str, Any]],
    columns: Mapping[str, "Column"],
    *,
    width: int,
    count: int | None,
) -> list[str]:
    """Return a line for each row, as many columns as fit, and below it the first `count` differing settings or all."""
    cells = {
        head: [_cell(row[key], show) for row in found] for head, (key, show) in columns.items()
    }
    shown = {head: column for head, column in cells.items() if {*column} != {NO_VALUE}}
    text_columns = {index for index, head in enumerate(shown) if columns[head][1] is _cut}
    for fitting in range(len(shown), 0, -1):
        rows = [
            *zip(*([head, *column] for head, column in [*shown.items()][:fitting]), strict=True)
        ]
        lines = align(rows, text_columns=text_columns)
        if max(map(text_width, lines)) <= width:
            break
    table = lines[:1]
    for row, line in zip(found, lines[1:], strict=True):
        values = {
            key: json.dumps(value, ensure_ascii=False) for key, value in row["settings"].items()
        }
        settings = [f"{_cut(key)} {_cut(value)}" for key, value in [*values.items()][:count]]
        table += [line, *fill(settings, width=width, indent=2)]
    return table


def _cell(value: Any, show: Callable[[Any], str]) -> str:
    return NO_VALUE if value is None else show(value)


def _cut(text: str) -> str:
    return cut(escape_controls(text), MAX_WIDTH)


def _margin(found: Mapping[str, Any]) -> str:
    from charlm.evaluation.baselines import Comparison

    match Comparison(**found).verdict:
        case "not compared":
            return NO_VALUE
        case "no clear difference":
            return "unclear"
        case verdict:
            return f"{abs(found['margin_nats']):.4f} {verdict}"


def _above(found: Mapping[str, float | None]) -> str:
    return f"+{found['nats_per_char']:.4f}"


def _error_above(found: Mapping[str, float | None]) -> str:
    return _cell(found["standard_error"], "{:.4f}".format)


Column = tuple[str, Callable[[Any], str]]
COLUMNS: Mapping[str, Column] = {
    "run": ("name", _cut),
    "state": ("state", _cut),
    "step": ("step", "{:,.0f}".format),
    "nats": ("nats_per_char", "{:.4f}".format),
    "above best": ("above_best", _above),
    "±": ("above_best", _error_above),
    "5-gram": ("comparison", _margin),
    "text": ("text", _cut),
    "recipe": ("recipe", _cut),
    "chars/s": ("characters_per_second", "{:,.0f}".format),
    "weights": ("weights", "{:,}".format),
    "age": ("age_seconds", duration),
}
"""The key of a row in each column by its head, and what shows a value that is not None; text is on the left."""
SEED_COLUMNS: Mapping[str, Column] = {
    "runs": ("scored", str),
    "mean nats": ("nats_per_char", "{:.4f}".format),
    "deviation": ("standard_deviation", "{:.4f}".format),
    "text": ("text", _cut),
    "recipe": ("recipe", _cut),
}
"""The same with --group: the runs with a score, and the mean and standard deviation of these."""
