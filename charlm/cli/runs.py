"""The command `runs`: runs as a table."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    pass

MAX_WIDTH = 40
"""Columns of a name, a setting or its value."""
SAMPLE_CHARACTERS = 300


@click.command(cls=Command)
@click.argument(
    "runs", nargs=-1, type=PATH, shell_complete=suggest_runs, help="Runs, or parts of their names.  [default: all]"
)
@click.option("--group", "is_grouped", is_flag=True, help="A line for all runs that differ in their seeds alone.")
@click.option("--samples", "has_samples", is_flag=True, help="Let each run write a text, at its own temperature.")
@json_option
@click.pass_context
def runs(context: click.Context, *, runs: tuple[Path, ...], is_grouped: bool, has_samples: bool, as_json: bool) -> None:
    """List runs: state, step, score, text, speed, weights, age, recipe, and the settings in which they differ.

    A run is training, done, or stopped; one that was stopped goes on with charlm train --resume -r RUN. The score is
    that of its best model in nats per character; the column 5-gram says how much better or worse that is than a 5-gram
    model, or unclear if the difference is within three standard errors. Runs on one text stand together; how far a run
    is above the best of them comes with the standard error of that difference. The age is the time since the last line
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
            nats = "no score" if row["nats_per_char"] is None else f"{row['nats_per_char']:.4f} nats per character"
            print_result(f"--- {row['name']}: {nats} ---", *(row["sample"] or "no model yet").split("\n"))
    elif rows:
        width = terminal_width()
        changed = () if is_grouped else _changed_texts(rows, width=width)
        print_result(*_table(rows, columns, width=width), *changed)
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


def _table(found: Sequence[Mapping[str, Any]], columns: Mapping[str, "Column"], *, width: int) -> list[str]:
    """Return a line for each row, as many columns as fit, and the differing settings below it."""
    shown = {head: column for head, column in columns.items() if any(row[column[0]] is not None for row in found)}
    cells = [["-" if row[key] is None else show(row[key]) for key, show in shown.values()] for row in found]
    text_columns = {index for index, (_, show) in enumerate(shown.values()) if show is _cut}
    for count in range(len(shown), 0, -1):
        lines = align([row[:count] for row in ([*shown], *cells)], text_columns=text_columns)
        if max(map(text_width, lines)) <= width:
            break
    table = lines[:1]
    for row, line in zip(found, lines[1:], strict=True):
        values = {key: json.dumps(value, ensure_ascii=False) for key, value in row["settings"].items()}
        settings = [f"{_cut(key)} {_cut(value)}" for key, value in values.items()]
        table += [line, *fill(settings, width=width, indent=2)]
    return table


def _cut(text: str) -> str:
    return cut(escape_controls(text), MAX_WIDTH)


def _margin(found: Mapping[str, Any]) -> str:
    from charlm.evaluation.baselines import Comparison

    match Comparison(**found).verdict:
        case "not compared":
            return "-"
        case "no clear difference":
            return "unclear"
        case verdict:
            return f"{abs(found['margin_nats']):.4f} {verdict}"


def _above(found: Mapping[str, float | None]) -> str:
    error = found["standard_error"]
    return f"+{found['nats_per_char']:.4f}" + ("" if error is None else f" ± {error:.4f}")


Column = tuple[str, Callable[[Any], str]]
COLUMNS: Mapping[str, Column] = {
    "run": ("name", _cut),
    "state": ("state", _cut),
    "step": ("step", "{:,.0f}".format),
    "nats": ("nats_per_char", "{:.4f}".format),
    "above best": ("above_best", _above),
    "5-gram": ("comparison", _margin),
    "text": ("text", _cut),
    "chars/s": ("characters_per_second", "{:,.0f}".format),
    "weights": ("weights", "{:,}".format),
    "age": ("age_seconds", duration),
    "recipe": ("recipe", _cut),
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
