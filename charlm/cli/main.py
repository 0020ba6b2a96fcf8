"""The command `charlm`: the group of all commands.

Only click is imported at the top of the command modules, and only the module of the command at hand is imported, so
that the help and the first character come at once; each command imports what it calls inside its body.
"""

import io
import sys

import click

from charlm import __version__
from charlm.cli.command import Commands

COMMANDS = {
    "Train": ("train", "plan", "tokenize", "tune"),
    "Use a model": ("sample", "evaluate", "serve", "export", "import"),
    "Look at runs": ("runs", "inspect", "tensorboard"),
    "Help yourself": ("config", "info", "completion"),
}
"""The commands by the title under which help lists them."""
EXAMPLES = {
    "charlm train mytext.txt": "train a model on a text; it is a run under runs/",
    "charlm sample": "write text from the newest run",
    "charlm COMMAND --help": "what a command does, its options and examples",
}


@click.group(cls=Commands, names=COMMANDS, examples=EXAMPLES, context_settings={"show_default": True})
@click.version_option(__version__, prog_name="charlm")
def main() -> None:
    """Train, watch and sample character-level SimpleRNN language models.

    Results go to standard output, everything else to standard error. The exit code is 0 if a command is done, 1 if it
    failed, and 2 for wrong usage.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in {"strict", "surrogateescape"}:
        sys.stdout.reconfigure(errors="backslashreplace")  # not every encoding has every character
