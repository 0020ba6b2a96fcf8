"""The command line, run in this process."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from charlm.cli.main import main

LONG_NAME = 300 * "x"


def charlm(*arguments: str | Path | float, stdin: str | bytes = b"") -> Result:
    """Run a command; an exception that the command does not turn into a message is raised."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin, catch_exceptions=False)


def json_of(*arguments: str | Path | float) -> Any:
    """Return what a command prints with --json, which must succeed."""
    command = charlm(*arguments, "--json")
    assert command.exit_code == 0, command.stderr
    return json.loads(command.stdout)


def run_line(line: str) -> Result:
    """Run a command line as a shell would split it; LONG stands for a file name that is too long."""
    return charlm(*shlex.split(line.replace("LONG", LONG_NAME)))


def table(text: str) -> pytest.MarkDecorator:
    """Return the parameters `line` and `expected`, from lines of the form `command line | part of the message`."""
    rows = [row.partition("|") for row in text.strip().split("\n")]
    return pytest.mark.parametrize(
        ("line", "expected"), [(line.strip(), expected.strip()) for line, _, expected in rows]
    )


def check_failure(line: str, expected: str) -> None:
    """Check that a command fails with exit code 1 and one harmless line that contains the expected text."""
    command = run_line(line)
    assert (command.exit_code, command.stdout) == (1, "")
    (message,) = messages(command)
    assert message.startswith("charlm: ")
    assert expected in message, message
    assert message.isprintable()


def check_usage_error(line: str, expected: str) -> None:
    """Check that a command is refused with exit code 2 and a last line that contains the expected text."""
    command = run_line(line)
    assert (command.exit_code, command.stdout) == (2, "")
    message = command.stderr.splitlines()[-1]
    assert expected in message, message
    assert message.isprintable()


def messages(command: Result) -> list[str]:
    """Return the lines of standard error without the progress bars."""
    return [line for line in command.stderr.splitlines() if line and not line.startswith(("counting:", "encoding:"))]


def all_commands() -> dict[str, click.Command]:
    """Return every command of `charlm` by its name; those of a group have its name before their own."""
    return dict(_commands_of(main))


def _commands_of(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands_of(command, f"{before}{name} ")
        elif command is not None:
            yield f"{before}{name}", command
