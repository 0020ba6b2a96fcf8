"""`charlm inspect`: what a network does, as one page that loads nothing, or as JSON."""

from typing import Any

import click

from charlm.cli.command import Command
from charlm.cli.options import PATH, json_option, models_argument
from charlm.cli.output import print_json, print_result, say, shows_progress
from charlm.errors import escape_controls

BAR = "{desc} {bar} {n_fmt} of {total_fmt} parts, {elapsed}"


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
    exponents, units and more, for one run or for several side by side. It is one file that loads nothing from
    elsewhere.

    Examples:
      charlm inspect --out report.html
        a page about the newest run
      charlm inspect small large --out report.html
        two runs side by side
      charlm inspect --text mytext.txt --json
        the numbers, for another text

    """
    if options["out"] is None and not as_json:
        raise click.UsageError("name a page with --out FILE.html, or print the numbers with --json")
    from tqdm import tqdm

    from charlm.api.inspection import inspect_runs, to_json

    with tqdm(bar_format=BAR, leave=False, delay=0.1, disable=not shows_progress()) as bar:

        def show(done: int, parts: int, name: str) -> None:
            """Move the bar, or print a line for every part but the first, whose error may be that of the command."""
            if not bar.disable:
                bar.total, bar.n = parts, done
                bar.set_description_str(escape_controls(name))
            elif done:
                say(f"part {done + 1} of {parts}: {name}")

        reports = inspect_runs(**options, say=say, progress=show)
    if as_json:
        print_json(to_json(reports))
    else:
        print_result(str(options["out"]))
