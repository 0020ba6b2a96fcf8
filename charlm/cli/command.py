"""The classes of `charlm` and of its commands: every error becomes one line and an exit code.

0        done, or the reader of standard output has gone
1        an error, told in a line on standard error
2        wrong usage
128 + n  ended by signal n
"""

import contextlib
import importlib
import keyword
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click

from charlm.cli.output import OutputClosedError, say, write_result, writing_output
from charlm.errors import CharlmError, harmless

HELP_OPTION_NAMES = ["-h", "--help"]


class Command(click.Command):
    """A command of `charlm`."""

    def get_help_option_names(self, ctx: click.Context) -> list[str]:
        """Return the names of the option for help, the same inside and outside the group."""
        return HELP_OPTION_NAMES

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments, or print the help and exit."""
        with writing_output(), _harmless_usage_errors():
            return super().parse_args(ctx, args)


class Commands(click.Group):
    """The group of all commands; each is imported when it is asked for."""

    def __init__(self, *arguments: Any, names: Sequence[str] = (), **settings: Any) -> None:
        """Name the commands that are not added.

        `name` is the command `name` of the module `charlm.cli.name`; for a keyword of Python, both end in `_`.
        """
        super().__init__(*arguments, **settings)
        self.names = names

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, sorted."""
        return sorted({*self.names, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name, or None if there is none."""
        if cmd_name not in self.names:
            return super().get_command(ctx, cmd_name)
        name = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name
        command: click.Command = getattr(importlib.import_module(f"charlm.cli.{name}"), name)
        return command

    def get_help_option_names(self, ctx: click.Context) -> list[str]:
        """Return the names of the option for help."""
        return HELP_OPTION_NAMES

    def main(self, *args: Any, **settings: Any) -> Any:
        """Run the command line."""
        with _exit_codes():
            return super().main(*args, **settings)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments before the name of the command, or print the help or the version and exit."""
        with writing_output(), _harmless_usage_errors():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named, and write what is left of its results."""
        with _exit_codes(), _harmless_usage_errors():
            result = super().invoke(ctx)
            write_result("")
            return result


@contextlib.contextmanager
def _exit_codes() -> Iterator[None]:
    """Turn the errors of a block into a line and an exit code; click does so with usage errors."""
    try:
        yield
    except OutputClosedError:
        sys.exit(0)
    except CharlmError as error:
        say(str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        place = f"{error.filename}: " if error.filename is not None else ""
        say(f"{place}{error.strerror or type(error).__name__}")
        sys.exit(1)
    except KeyboardInterrupt as stopped:
        sys.exit(getattr(stopped, "exit_code", 130))


@contextlib.contextmanager
def _harmless_usage_errors() -> Iterator[None]:
    """Escape what would steer a terminal in the message of a usage error: it quotes arguments."""
    try:
        yield
    except click.ClickException as error:
        error.message = harmless(error.message)  # type: ignore[misc]
        raise
