"""`charlm download`: fetches a public text, or lists those there are."""

import sys
from pathlib import Path

import click

from charlm.cli.command import Command
from charlm.cli.options import FOLDER
from charlm.cli.output import print_result, say
from charlm.cli.suggestions import suggest_texts

EXAMPLES = {
    "charlm download": "the texts there are, with their sizes",
    "charlm download tinyshakespeare": "one of them; the command to train on it is printed",
}


@click.command(cls=Command, examples=EXAMPLES)
@click.argument(
    "name", required=False, shell_complete=suggest_texts, help="Name of a text.  [default: list the texts there are]"
)
@click.option("--out", type=FOLDER, metavar="FILE", help="File to write.  [default: NAME.txt in the current folder]")
def download(*, name: str | None, out: Path | None) -> None:
    """Download a public text to train on.

    This is the only command that uses a network. What has arrived is kept as FILE.part; the same command continues it.
    """
    if name is None:
        if out is not None:
            raise click.UsageError("--out names the file for a text; name the text, too")
        print_result(*_list_texts())
        return
    from charlm.api.download import download
    from charlm.runs.folder import as_argument

    done = download(name, out, say=say, show_progress=sys.stderr.isatty())
    print_result(f"{done.path}: {done.bytes:,} bytes from {done.url}")
    print_result(f"  sha256 {done.sha256}, {'as expected' if done.is_checked else 'not checked'}")
    say(f"train on it with: charlm train {as_argument(done.path)}")


def _list_texts() -> list[str]:
    """Return a table of all texts: name, size, what it is, and its home."""
    from urllib.parse import urlsplit

    from charlm.cli.table import align
    from charlm.text.catalogue import PUBLIC_TEXTS

    rows = [["name", "bytes", "text", "home"]]
    for name, text in PUBLIC_TEXTS.items():
        rows.append([name, f"{text.bytes:,}", text.about, urlsplit(text.mirrors[0]).netloc])
    return align(rows, text_columns={0, 2, 3})
