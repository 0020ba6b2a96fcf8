"""`charlm inspect`: what a network does, as one page that loads nothing, or as JSON."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from charlm.cli.command import Command
from charlm.cli.options import FOLDER, json_option, models_argument
from charlm.cli.output import print_result, say, shows_progress
from charlm.errors import escape_controls

if TYPE_CHECKING:
    from charlm.api.inspection import Progress

BAR = "{desc} {bar} {n_fmt} of {total_fmt} parts, {elapsed}"
EXAMPLES = {
    "charlm inspect --out report.html": "a page about the newest run",
    "charlm inspect small large --out report.html": "two runs side by side",
    "charlm inspect --text mytext.txt --json": "the numbers, for another text",
}


@click.command(cls=Command, examples=EXAMPLES)
@models_argument
@click.option(
    "--text",
    type=FOLDER,
    metavar="FILE",
    help="Text to read: a file, a folder of files, a corpus, or - for standard input.  "
    "[default: the validation text of each run]",
)
@click.option(
    "--out",
    type=FOLDER,
    metavar="FILE.html",
    help="Page to write.",
)
@json_option
def inspect(
    *,
    runs: tuple[Path, ...],
    text: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Show what a network does: how far it remembers, what its units follow, where it errs.

    The page holds the text coloured by surprise, gradients by lag, usable context, impulse response, Lyapunov
    exponents, units and more, for one run or for several side by side. It is one file that loads nothing from
    elsewhere.
    """
    if out is None and not as_json:
        raise click.UsageError("name a page with --out FILE.html, or print the numbers with --json")
    from charlm.api import inspection

    with _shown_progress() as progress:
        reports = inspection.inspect_runs(
            runs,
            out=out,
            text=text,
            say=say,
            progress=progress,
        )
    if as_json:
        print_result(json.dumps(inspection.to_json(reports), allow_nan=False))
    elif out is not None:
        print_result(str(out))


@contextlib.contextmanager
def _shown_progress() -> Iterator["Progress"]:
    """Yield a function that shows which part is being made, on standard error: a bar on a terminal, else lines."""
    from tqdm import tqdm

    with tqdm(bar_format=BAR, leave=False, delay=0.1, disable=not shows_progress()) as bar:

        def show(done: int, parts: int, name: str) -> None:
            """Move the bar, or print a line for every part but the first, whose error may be that of the command."""
            if bar.disable:
                if done:
                    say(f"part {done + 1} of {parts}: {name}")
                return
            bar.total, bar.n = parts, done
            bar.set_description_str(escape_controls(name))

        yield show
