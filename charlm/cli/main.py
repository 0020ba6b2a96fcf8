"""The command `charlm`: the group of all commands.

Only click is imported at the top of the command modules, so that the help and the first character come at once; each
command imports what it calls inside its body.
"""

import io
import sys

import click

from charlm import __version__
from charlm.cli import bench, compare, evaluate, sample, tensorboard, tokenize, train
from charlm.cli.command import Commands


@click.group(cls=Commands)
@click.version_option(__version__, prog_name="charlm")
def main() -> None:
    """Train, watch and sample character-level SimpleRNN language models."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # not every encoding has every character


for _command in (
    *(tokenize.tokenize, train.train, sample.sample, evaluate.evaluate),
    *(compare.compare, bench.bench, tensorboard.tensorboard),
):
    main.add_command(_command)
