"""The command line, run in this process."""

from pathlib import Path

from click.testing import CliRunner, Result

from charlm.cli import main


def charlm(*arguments: str | Path | float, stdin: str | bytes = b"") -> Result:
    """Run a command; an exception that it does not turn into a message goes through."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin, catch_exceptions=False)
