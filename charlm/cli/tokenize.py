"""`charlm tokenize`: from text files to a corpus on disk."""

import sys
from pathlib import Path

import click

from charlm.cli.command import Command
from charlm.cli.options import FOLDER, refuse_empty, set_option
from charlm.cli.output import print_result

MAX_WORKERS = 256


@click.command(cls=Command)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--out", required=True, type=FOLDER, help="Folder to write; it must be missing or empty.")
@click.option(
    "-c",
    "--config",
    "recipe",
    callback=refuse_empty,
    default="default",
    show_default=True,
    help="Recipe or YAML file whose corpus section is used.",
)
@set_option
@click.option(
    "--workers",
    type=click.IntRange(min=1, max=MAX_WORKERS),
    help="Processes that read the files; the corpus does not depend on it.  [default: the cores there are]",
)
def tokenize(paths: tuple[str, ...], out: Path, recipe: str, overrides: tuple[str, ...], workers: int | None) -> None:
    """Turn text into a corpus on disk.

    Each PATH is a file, a folder, a glob pattern, a .gz or .zst file, or - for standard input. The settings are those
    of the corpus section of a config, for instance: -s corpus.encoding=latin-1 -s corpus.level=byte
    """
    from charlm.api.training import tokenize
    from charlm.hardware import core_count

    corpus = tokenize(
        paths,
        out,
        recipe=recipe,
        overrides=overrides,
        workers=workers or min(core_count(), MAX_WORKERS),
        show_progress=sys.stderr.isatty(),
    )
    print_result(f"{out}: {corpus.summary}")
