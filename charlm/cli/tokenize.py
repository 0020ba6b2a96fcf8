"""`charlm tokenize`: from text files to a corpus on disk."""

from pathlib import Path

import click

from charlm.cli.command import Command
from charlm.cli.options import FOLDER, quiet_option, recipe_option, set_option
from charlm.cli.output import print_result, say, shows_progress

EXAMPLES = {
    "charlm tokenize book.txt --out corpus": "a corpus of one document",
    "charlm tokenize texts --out corpus -s corpus.encoding=cp1252": "the files of a folder, which are not UTF-8",
    "charlm train corpus": "train on it",
}


@click.command(cls=Command, examples=EXAMPLES)
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    metavar="PATH...",
    help="Text: a file, a folder, a .gz file, or - for standard input.",
)
@click.option("--out", required=True, type=FOLDER, help="Folder to write; it must be missing or empty.")
@recipe_option("default")
@set_option
@quiet_option
def tokenize(*, paths: tuple[str, ...], out: Path, recipe: str | None, overrides: tuple[str, ...]) -> None:
    """Turn text into a corpus on disk.

    Each file is a document; the model learns where one ends. Of the recipe, only the section corpus is used: it says
    how the text is decoded, what gets an id, and which parts are for validation and test. Training on a text makes its
    corpus by itself; a corpus on disk pays if several runs share it.
    """
    from charlm.api.training import tokenize
    from charlm.text.findings import find_omissions

    corpus = tokenize(
        paths,
        out,
        recipe=recipe or "default",
        overrides=overrides,
        show_progress=shows_progress(),
    )
    for finding in find_omissions(corpus):
        say(finding.line)
    print_result(f"{out}: {corpus.summary}")
