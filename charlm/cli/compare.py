"""`charlm compare`: tables of runs, one for each text, and the same as JSON."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from charlm.cli.command import Command
from charlm.cli.layout import Record, lay_out
from charlm.cli.options import json_option, runs_argument
from charlm.cli.output import print_result, say
from charlm.cli.table import cut, describe_size, fill, terminal_width
from charlm.errors import CharlmError, harmless

if TYPE_CHECKING:
    from charlm.runs.comparison import RunSummary, RunText

MAX_KEY_WIDTH, MAX_VALUE_WIDTH = 60, 24
FIGURES = ("nats", "bits", "of", "step", "training", "chars/s", "weights", "size")


EXAMPLES = {
    "charlm compare": "all runs under runs/, best score first",
    "charlm compare tiny default --sort time": "two runs, by parts of their names",
    "charlm compare --seeds": "the mean and the deviation of runs that differ in their seed alone",
    "charlm compare --csv > runs.csv": "a table for another program",
}


@click.command(cls=Command, examples=EXAMPLES)
@runs_argument
@click.option(
    "--sort",
    type=click.Choice(["score", "name", "time"]),
    default="score",
    show_default=True,
    help="Order of the runs: lowest loss, first name or shortest training first.",
)
@click.option(
    "--seeds",
    is_flag=True,
    help="Gather runs that differ in their seed alone: mean and standard deviation of the scores, mean times.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print a table of comma-separated values with every digit.")
@json_option
@click.pass_context
def compare(
    context: click.Context,
    *,
    runs: tuple[Path, ...],
    sort: Literal["score", "name", "time"],
    seeds: bool,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Compare runs: those named, or all under runs/.

    The table shows, for each run, the loss of its best model in nats and bits per character and the step of it, the
    time and the speed of training, the number of weights, the size of the bundle best/, and the settings in which the
    runs differ. Runs on different texts are in separate tables, since their losses do not compare.

    A run that cannot be read is left out, with a line on standard error. The exit code is 1 if such a run was named, or
    if no other run is left.
    """
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other; give one of them")
    from charlm.api import evaluation
    from charlm.runs.comparison import differing_settings

    unreadable: list[dict[str, str]] = []

    def report(folder: Path, error: CharlmError) -> None:
        """Tell the user why a run is left out."""
        say(str(error))
        unreadable.append({"run": str(folder), "error": str(error)})

    summaries = evaluation.compare(runs, sort=sort, seeds=seeds, report=report)
    keys = differing_settings(summaries)
    if summaries and as_json:
        found = {"runs": [_as_json(summary, keys) for summary in summaries], "unreadable": unreadable}
        print_result(json.dumps(found, allow_nan=False))
    elif summaries and as_csv:
        print_result(*_csv_lines(summaries, keys))
    elif summaries:
        print_result(*_tables(summaries, keys, width=terminal_width()))
    if unreadable and (runs or not summaries):
        context.exit(1)


def _csv_lines(summaries: Sequence["RunSummary"], keys: Sequence[str]) -> list[str]:
    """Return a row for each run, with a column for each figure and each setting in which the runs differ."""
    rows = [_as_json(summary, keys) for summary in summaries]
    for row, summary in zip(rows, summaries, strict=True):
        settings = row.pop("settings")
        row["text"] = None if summary.text is None else summary.text.name
        row["seeds"] = " ".join(map(str, summary.seeds))
        row |= {key: json.dumps(settings[key]) if key in settings else None for key in keys}
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[-1]), lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().splitlines()


def _as_json(summary: "RunSummary", keys: Sequence[str]) -> dict[str, Any]:
    gathered = {"seeds": list(summary.seeds), "nats_deviation": summary.nats_deviation} if summary.seeds else {}
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
        **gathered,
        "settings": {key: summary.settings[key] for key in keys if key in summary.settings},
    }


def _tables(summaries: Sequence["RunSummary"], keys: Sequence[str], *, width: int) -> list[str]:
    """Return a heading and a table for each text, with a blank line between two texts."""
    from charlm.runs.comparison import CORPUS_SHA256, group_by_text

    keys = [key for key in keys if key != CORPUS_SHA256]  # the headings tell the texts apart
    groups = group_by_text(summaries)
    heads = Record("run", FIGURES, [cut(harmless(key), MAX_KEY_WIDTH) for key in keys])
    tables = lay_out(heads, [[_record(summary, keys) for summary in group] for group in groups], width=width)
    texts = [group[0].text for group in groups]
    lines: list[str] = []
    for text, table in zip(texts, tables, strict=True):
        lines += ["", *fill(_heading(text, texts), width=width), *table]
    return lines[1:]


def _heading(text: "RunText | None", texts: Sequence["RunText | None"]) -> list[str]:
    """Return the name of a text, and what distinguishes it from others of the same name."""
    if text is None:
        return ["text: not known"]
    parts = [f"text: {text.name}"]
    others = [other for other in texts if other is not None and other is not text and other.name == text.name]
    if any(other.sha256 != text.sha256 for other in others):
        parts.append(f"sha256 {text.sha256[:8]}")
    if any(other.sha256 == text.sha256 for other in others):
        parts.append(f"validation from {text.validation[0]:,} to {text.validation[1]:,}")
    return [cut(harmless(part), MAX_KEY_WIDTH) for part in parts]


def _record(summary: "RunSummary", keys: Sequence[str]) -> Record:
    deviation = _format(summary.nats_deviation, ".4f")
    nats = _format(summary.nats_per_char, ".4f")
    figures = [
        nats if deviation is None else f"{nats} ± {deviation}",
        _format(_bits(summary), ".4f"),
        summary.split,
        _format(summary.step, ","),
        _duration(summary.seconds),
        _format(summary.characters_per_second, ",.0f"),
        _format(summary.weights, ","),
        None if summary.bundle_bytes is None else describe_size(summary.bundle_bytes),
    ]
    settings = [_setting(summary.settings[key]) if key in summary.settings else None for key in keys]
    more = f" and {len(summary.seeds) - 1} more" if len(summary.seeds) > 1 else ""
    return Record(harmless(str(summary.folder)) + more, figures, settings)


def _bits(summary: "RunSummary") -> float | None:
    from charlm.network.rnn import bits

    return None if summary.nats_per_char is None else bits(summary.nats_per_char)


def _setting(value: Any) -> str:
    return cut(harmless(json.dumps(value, ensure_ascii=False).strip('"')), MAX_VALUE_WIDTH)


def _format(value: float | None, pattern: str) -> str | None:
    return None if value is None else format(value, pattern)


def _duration(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    if seconds < 59.95:  # else it would be shown as 60.0 s
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
