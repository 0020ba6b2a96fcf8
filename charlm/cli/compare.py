"""`charlm compare`: tables of runs, one for each text, and the same as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from charlm.cli.command import Command
from charlm.cli.options import json_option, runs_argument
from charlm.cli.output import print_result, say
from charlm.cli.table import align, cut, fill, terminal_width, text_width
from charlm.errors import CharlmError, harmless

if TYPE_CHECKING:
    from charlm.runs.comparison import RunSummary, RunText

MAX_KEY_WIDTH, MAX_VALUE_WIDTH = 60, 24
HEADS = ("nats", "bits", "of", "step", "training", "chars/s", "weights", "size")
INDENT = 2


@click.command(cls=Command)
@runs_argument
@click.option(
    "--sort",
    type=click.Choice(["score", "name", "time"]),
    default="score",
    show_default=True,
    help="Order of the runs: lowest loss, first name or shortest training first.",
)
@json_option
@click.pass_context
def compare(
    context: click.Context, runs: tuple[Path, ...], sort: Literal["score", "name", "time"], as_json: bool
) -> None:
    """Compare runs: those named, or all under runs/.

    The table shows, for each run, the loss of its best model in nats and bits per character and the step of it, the
    time and the speed of training, the number of weights, the size of the bundle best/, and the settings in which the
    runs differ. Runs on different texts are in separate tables, because their losses do not compare.

    A run that cannot be read is left out, with a line on standard error. The exit code is then 1 if the run was named
    or no run is left.
    """
    from charlm.api import evaluation
    from charlm.runs.comparison import differing_settings

    unreadable: list[dict[str, str]] = []

    def report(folder: Path, error: CharlmError) -> None:
        """Tell the user why a run is left out."""
        say(str(error))
        unreadable.append({"run": str(folder), "error": str(error)})

    summaries = evaluation.compare(runs, sort=sort, report=report)
    keys = differing_settings(summaries)
    if summaries and as_json:
        found = {"runs": [_as_json(summary, keys) for summary in summaries], "unreadable": unreadable}
        print_result(json.dumps(found, allow_nan=False))
    elif summaries:
        print_result(*_tables(summaries, keys, width=terminal_width()))
    if unreadable and (runs or not summaries):
        context.exit(1)


def _as_json(summary: "RunSummary", keys: Sequence[str]) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "run": str(summary.folder),
        "text": None if summary.text is None else asdict(summary.text),
        "split": summary.split,
        "nats_per_char": summary.nats_per_char,
        "bits_per_char": _bits(summary),
        "step": summary.step,
        "seconds": summary.seconds,
        "characters_per_second": summary.characters_per_second,
        "weights": summary.weights,
        "bundle_bytes": summary.bundle_bytes,
        "settings": {key: summary.settings[key] for key in keys if key in summary.settings},
    }


@dataclass(frozen=True)
class _Row:
    """A run as cells of a table."""

    name: str
    figures: Sequence[str]
    settings: Sequence[str]


def _tables(summaries: Sequence["RunSummary"], keys: Sequence[str], *, width: int) -> list[str]:
    """Return the tables of all texts, in the first layout in which every line fits the width."""
    from charlm.runs.comparison import CORPUS_SHA256, group_by_text

    groups = group_by_text(summaries)
    headings = _headings([group[0].text for group in groups], width)
    keys = [key for key in keys if key != CORPUS_SHA256]  # the heading names the text
    head = _Row("run", HEADS, [cut(harmless(key), MAX_KEY_WIDTH) for key in keys])
    rows = [[_row(summary, keys) for summary in group] for group in groups]
    layouts = (_in_one_line, _settings_below, _name_above, _as_list)
    tables = next(
        tables for layout in layouts if None not in (tables := [layout(head, group, width) for group in rows])
    )
    lines = [
        line
        for heading, table in zip(headings, tables, strict=True)
        for line in ("", heading, *(table or ()))
    ]
    return lines[1:]


def _in_one_line(head: _Row, rows: Sequence[_Row], width: int) -> list[str] | None:
    cells = [(row.name, *row.figures, *row.settings) for row in (head, *rows)]
    lines = align(cells, text_columns={0, *range(1 + len(HEADS), len(cells[0]))})
    return lines if _fit(lines, width) else None


def _settings_below(head: _Row, rows: Sequence[_Row], width: int) -> list[str] | None:
    lines = align([(row.name, *row.figures) for row in (head, *rows)], text_columns={0})
    if not _fit(lines, width):
        return None
    below = [_items(head.settings, row.settings, width) for row in rows]
    return [lines[0], *(line for pair in zip(lines[1:], below, strict=True) for line in (pair[0], *pair[1]))]
