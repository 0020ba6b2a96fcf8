"""The classes of `charlm` and of its commands: help with examples, and every error as one line and an exit code.

0        done, or the reader of standard output has gone
1        an error, told in a line on standard error
2        wrong usage
128 + n  ended by signal n
"""

import contextlib
import importlib
import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import click

from charlm.cli.output import OutputClosedError, say_error, write_result, writing_output
from charlm.errors import CharlmError, escape_controls


class Command(click.Command):
    """A command of `charlm`, or their group.

    What its docstring says after "Examples:", command lines and below each what it does, ends the help, unbroken.
    """

    def __init__(self, name: str | None = None, *, help: str | None = None, **settings: Any) -> None:
        about, _, examples = inspect.cleandoc(help or "").partition("Examples:\n")
        super().__init__(name, help=about.rstrip(), **settings)
        self.examples = [line for line in examples.splitlines() if line.strip()]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments, or print the help or the version and exit."""
        with _exit_codes(), writing_output():
            return super().parse_args(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        with formatter.section("Examples"):
            formatter.write("".join(f"{line}\n" for line in self.examples))


class Commands(Command, click.Group):
    """A group of commands; those that are not added to it are imported when they are asked for.

    Args:
        sections: The names of the commands by the title under which help lists them. A command that is not added is
            that of its name in the module `charlm.cli.name`.

    """

    def __init__(self, *arguments: Any, sections: Mapping[str, Sequence[str]], **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.sections = sections

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of help."""
        return [*chain.from_iterable(self.sections.values())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name, or None if there is none."""
        if cmd_name in self.list_commands(ctx) and cmd_name not in self.commands:
            self.add_command(getattr(importlib.import_module(f"charlm.cli.{cmd_name}"), cmd_name))
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is named and its arguments, or fail with a usage error that names similar ones."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(error.command_name, possibilities=self.list_commands(ctx), ctx=ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each command does, under the title that it belongs to."""
        width = max(map(len, self.list_commands(ctx)))
        for title, names in self.sections.items():
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
        with _exit_codes():
            result = super().invoke(ctx)
            write_result("")
            return result


@contextlib.contextmanager
def _exit_codes() -> Iterator[None]:
    """Turn the errors of a block into a line and an exit code.

    Click does so with usage errors, in which only that is escaped here which would steer a terminal: they quote
    arguments.
    """
    try:
        yield
    except click.ClickException as error:
        error.message = escape_controls(error.message, keep="\n")  # type: ignore[misc]
        raise
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
