"""The classes of `charlm` and of its commands: help with examples, and every error as one line and an exit code.

0        done, or the reader of standard output has gone
1        an error, told in a line on standard error
2        wrong usage
128 + n  ended by signal n
"""

import contextlib
import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import click
from click.types import FloatParamType, IntParamType

from charlm.cli.output import OutputClosedError, say_error, write_result, writing_output
from charlm.errors import CharlmError, escape_controls


class Command(click.Command):
    """A command of `charlm`, or their group, whose help ends with examples.

    Args:
        examples: What a command line does, by the command line.

    """

    def __init__(self, *arguments: Any, examples: Mapping[str, str] | None = None, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.examples = examples or {}
        for option in self.params:
            if isinstance(option.type, IntParamType):
                option.metavar = option.metavar or "N"
            elif isinstance(option.type, FloatParamType):
                option.metavar = option.metavar or "X"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments, or print the help or the version and exit."""
        with writing_output(), _harmless_usage_errors():
            return super().parse_args(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, each command line unbroken above what it does."""
        if self.examples:
            with formatter.section("Examples"):
                for command, meaning in self.examples.items():
                    formatter.write(f"{'':>{formatter.current_indent}}{command}\n")
                    with formatter.indentation():
                        formatter.write_text(meaning)


class Commands(Command, click.Group):
    """A group of commands; those that are not added to it are imported when they are asked for.

    Args:
        names: The names of the commands by the title under which help lists them. A command that is not added is that
            of its name in the module `charlm.cli.name`.

    """

    def __init__(self, *arguments: Any, names: Mapping[str, Sequence[str]] | None = None, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.names = names or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of help."""
        return list(chain.from_iterable(self.names.values())) or super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name, or None if there is none."""
        added = super().get_command(ctx, cmd_name)
        if added is not None or cmd_name not in chain.from_iterable(self.names.values()):
            return added
        command: click.Command = getattr(importlib.import_module(f"charlm.cli.{cmd_name}"), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is named and its arguments, or fail with a usage error that names similar ones."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(
                error.command_name, possibilities=self.list_commands(ctx), ctx=error.ctx
            ) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each command does, under the title that it belongs to."""
        width = max(map(len, self.list_commands(ctx)))
        for title, names in (self.names or {"Commands": self.list_commands(ctx)}).items():
            commands = {name: self.get_command(ctx, name) for name in names}
            rows = [(f"{name:{width}}", c.get_short_help_str(limit=200)) for name, c in commands.items() if c]
            with formatter.section(title):
                formatter.write_dl(rows)

    def main(self, *args: Any, **settings: Any) -> Any:
        """Run the command line, or answer a shell that asks for completions."""
        with _exit_codes():
            return super().main(*args, **settings)

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
        say_error(str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        place = f"{error.filename}: " if error.filename is not None else ""
        say_error(f"{place}{error.strerror or type(error).__name__}")
        sys.exit(1)
    except ModuleNotFoundError as error:
        package = (error.name or "charlm").partition(".")[0]
        if package == "charlm":
            raise
        say_error(f"{package}: this package is not installed; install it and the others with: pip install '.'")
        sys.exit(1)
    except KeyboardInterrupt as stopped:
        sys.exit(getattr(stopped, "exit_code", 130))


@contextlib.contextmanager
def _harmless_usage_errors() -> Iterator[None]:
    """Escape what would steer a terminal in the message of a usage error: it quotes arguments.

    The help that answers a command line without arguments is such an error for click, but quotes nothing.
    """
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.ClickException as error:
        error.message = escape_controls(error.message)  # type: ignore[misc]
        raise
