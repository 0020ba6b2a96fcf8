"""The command `charlm`: the group of all commands.

Only click is imported at the top of the command modules, and only the module of the command at hand is imported, so
that the help and the first character come at once; each command imports what it calls inside its body.
"""

import io
import sys

import click

from charlm import __version__
from charlm.cli.command import Commands

COMMANDS = (
    "tokenize",
    "train",
    "plan",
    "sample",
    "evaluate",
    "compare",
    "inspect",
    "export",
    "import",
    "serve",
    "tune",
    "bench",
    "tensorboard",
)


@click.group(cls=Commands, names=COMMANDS)
@click.version_option(__version__, prog_name="charlm")
def main() -> None:
    """Train, watch and sample character-level SimpleRNN language models."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in {"strict", "surrogateescape"}:
        sys.stdout.reconfigure(errors="backslashreplace")  # not every encoding has every character
