"""`charlm runs`: the runs under runs/, as a table and as JSON."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charlm.cli.command import Command
from charlm.cli.layout import Record, lay_out
from charlm.cli.options import json_option
from charlm.cli.output import print_result, say
from charlm.cli.table import cut, describe_size, terminal_width
from charlm.errors import CharlmError, harmless

if TYPE_CHECKING:
    from charlm.runs.status import RunStatus

HEADS = Record("run", ("state", "step", "nats", "size", "age"), ("recipe", "text"))
MAX_TEXT_WIDTH = 40
EXAMPLES = {
    "charlm runs": "all runs under runs/, the newest first",
    "charlm runs --json": "the same for a script, with sizes in bytes and ages in seconds",
}


@click.command(cls=Command, examples=EXAMPLES)
@json_option
@click.pass_context
def runs(context: click.Context, *, as_json: bool) -> None:
    """List the runs under runs/: state, step, score, size, age, recipe, text.

    A run is training, done, or stopped; one that was stopped goes on with charlm train --resume --run RUN. The score is
    that of its best model in nats per character, the age the time since the last line of its log. The recipe is the one
    of those that charlm comes with whose settings differ least, and how many do. A run that cannot be read is left out,
    with a line on standard error.
    """
    from charlm.api.listing import list_runs

    def report(_: Path, error: CharlmError) -> None:
        """Tell the user why a run is left out."""
        say(str(error))

    found = list_runs(report=report)
    if not found:
        context.exit(1)
    print_result(*([json.dumps([_as_json(run) for run in found])] if as_json else _table(found)))


def _as_json(run: "RunStatus") -> dict[str, Any]:
    return {
        "name": run.summary.folder.name,
        "state": run.state,
        "step": run.step,
        "nats_per_char": run.summary.nats_per_char,
        "best_step": run.summary.step,
        "recipe": run.recipe,
        "changed_settings": run.changed_settings,
        "text": None if run.summary.text is None else run.summary.text.name,
        "disk_bytes": run.disk_bytes,
        "age_seconds": run.age_seconds,
        "run": str(run.summary.folder),
    }


def _table(found: Sequence["RunStatus"]) -> Iterable[str]:
    (table,) = lay_out(HEADS, [[_record(run) for run in found]], width=terminal_width())
    return table


def _record(run: "RunStatus") -> Record:
    from charlm.training.display import duration

    summary = run.summary
    figures = [
        run.state,
        None if run.step is None else f"{run.step:,.0f}",
        None if summary.nats_per_char is None else f"{summary.nats_per_char:.4f}",
        describe_size(run.disk_bytes),
        duration(run.age_seconds),
    ]
    changed = f", {run.changed_settings} changed" if run.changed_settings else ""
    text = None if summary.text is None else cut(harmless(summary.text.name), MAX_TEXT_WIDTH)
    return Record(harmless(summary.folder.name), figures, [f"{run.recipe}{changed}", text])
