"""The commands that look at runs: `runs` as a table, `inspect` and `tensorboard`."""

import json
import math
import signal
import statistics
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charlm.cli.command import PATH, Command, host_option, json_option, models_argument, port_option, suggest_runs
from charlm.cli.output import (
    align,
    cut,
    fill,
    print_json,
    print_result,
    say,
    shows_progress,
    terminal_width,
    text_width,
)
from charlm.errors import CharlmError, duration, escape_controls

if TYPE_CHECKING:
    from charlm.evaluation.baselines import Comparison
    from charlm.evaluation.scoring import Score
    from charlm.runs.summary import RunSummary

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
    from charlm.runs.summary import group_by_text, list_runs

    unreadable: list[Path] = []

    def report(folder: Path, error: CharlmError) -> None:
        """Tell the user why a run is left out."""
        say(str(error))
        unreadable.append(folder)

    if is_grouped and has_samples:
        raise click.UsageError("--samples shows each run, --group none; leave one of them out")
    found = list_runs(runs, report=report)
    make_rows, columns = (_seed_rows, SEED_COLUMNS) if is_grouped else (_rows, COLUMNS)
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


def _rows(group: Sequence["RunSummary"]) -> list[dict[str, Any]]:
    """Return runs on one text as plain data, with their distance from the best and the settings in which they differ.

    A run whose text or whose score on the validation text is not known is compared with none.
    """
    from charlm.runs.summary import differing_settings

    keys, rows = differing_settings(group), []
    scores = [_score(run) for run in group]
    compared = [run.text is not None and run.split == "validation" and run.nats_per_char is not None for run in group]
    best = min(compress(scores, compared), key=lambda score: score.nats_per_char, default=None)
    for run, score, is_compared in zip(group, scores, compared, strict=True):
        comparison = _compare(run, score)
        above = score.minus(best) if best is not None and is_compared and score is not best else None
        rows.append(
            {
                "name": run.folder.name,
                **{name: value for name, value in vars(run).items() if name not in _SHOWN_OTHERWISE},
                "standard_error": score.standard_error,
                "comparison": comparison and asdict(comparison),
                "total_bits": score.total_bits if score.characters else None,
                "above_best": above and {"nats_per_char": above.nats, "standard_error": above.standard_error},
                "text": run.text and run.text.name,
                "text_sha256": run.text and run.text.sha256,
                "settings": {key: run.settings.get(key) for key in keys},
                "run": str(run.folder),
            }
        )
    return rows


def _score(run: "RunSummary") -> "Score":
    """Return the score of the best model of a run; NaN on 0 characters if the run has no score yet."""
    from charlm.evaluation.scoring import Score

    if run.nats_per_char is None:
        return Score(math.nan, 0)
    return Score(run.nats_per_char, int(run.scored_characters or 0), run.block_means)


def _compare(run: "RunSummary", score: "Score") -> "Comparison | None":
    """Return how the best model of a run compares with the 5-gram model; None if that is not known."""
    from charlm.evaluation.baselines import Comparison

    if run.ngram_nats_per_char is None or not score.characters:
        return None
    margin = run.ngram_nats_per_char - score.nats_per_char
    return Comparison(run.ngram_nats_per_char, margin, run.ngram_standard_error, score.characters)


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


def _seed_rows(group: Sequence["RunSummary"]) -> list[dict[str, Any]]:
    """Return what runs on one text that differ in their seeds alone have together, as plain data."""
    from charlm.runs.summary import SEEDS, differing_settings, group_by_seed

    groups = group_by_seed(group)
    keys = [key for key in differing_settings([runs[0] for runs in groups]) if key not in SEEDS]
    rows = []
    for runs in groups:
        scores = [run.nats_per_char for run in runs if run.nats_per_char is not None]
        rows.append(
            {
                "scored": len(scores),
                "nats_per_char": statistics.mean(scores) if scores else None,
                "standard_deviation": statistics.stdev(scores) if len(scores) > 1 else None,
                "text": runs[0].text and runs[0].text.name,
                "text_sha256": runs[0].text and runs[0].text.sha256,
                "recipe": runs[0].recipe,
                "settings": {key: runs[0].settings.get(key) for key in keys},
                "runs": [str(run.folder) for run in runs],
            }
        )
    return rows


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
_SHOWN_OTHERWISE = {"folder", "text", "settings", "block_means", "ngram_nats_per_char", "ngram_standard_error"}
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


@click.command(cls=Command)
@models_argument
@click.option(
    "--text",
    type=PATH,
    metavar="FILE",
    help="File, folder of files, corpus, or - for standard input.  [default: the validation text of each run]",
)
@click.option("--out", type=PATH, metavar="FILE.html", help="Page to write.")
@json_option
def inspect(*, as_json: bool, **options: Any) -> None:
    """Show what a network does: how far it remembers, what its units follow, where it errs.

    The page holds the text coloured by surprise, gradients by lag, usable context, impulse response, Lyapunov
    exponents, units and more, for one run or for several in the same axes. It is one file that loads nothing from
    elsewhere.

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

    reports = inspect_runs(**options, say=say, show_progress=shows_progress())
    if as_json:
        print_json(to_json(reports))
    else:
        print_result(str(options["out"]))


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
    except (program.TensorBoardServerException, UnicodeError) as error:
        raise CharlmError(str(error)) from None
