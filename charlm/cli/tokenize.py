"""`charlm tokenize`: from text files to a corpus on disk."""

from typing import Any

import click

from charlm.cli.command import Command
from charlm.cli.options import PATH, quiet_option, recipe_option, set_option
from charlm.cli.output import print_result, say, shows_progress


@click.command(cls=Command)
@click.argument(
    "sources",
    nargs=-1,
    required=True,
    type=PATH,
    metavar="PATH...",
    help="Text: a file, a folder, a .gz file, or - for standard input.",
)
@click.option("--out", required=True, type=PATH, help="Folder to write; it must be missing or empty.")
@recipe_option("default")
@set_option
@quiet_option
def tokenize(**options: Any) -> None:
    """Turn text into a corpus on disk.

    Each file is a document; the model learns where one ends. Of the recipe, only the section corpus is used: it says
    how the text is decoded, what gets an id, and which parts are for validation and test. Training on a text makes its
    corpus by itself; a corpus on disk pays if several runs share it.

    Examples:
      charlm tokenize book.txt --out corpus
        a corpus of one document
      charlm tokenize texts --out corpus -s corpus.encoding=cp1252
        the files of a folder, which are not UTF-8
      charlm train corpus
        train on it

    """
    from charlm.api.training import tokenize
    from charlm.text.findings import find_omissions

    corpus = tokenize(**options, show_progress=shows_progress())
    for finding in find_omissions(corpus):
        say(finding.line)
    print_result(f"{options['out']}: {corpus.summary}")
