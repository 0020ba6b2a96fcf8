"""The command line, run in this process."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner, Result

from charlm.cli.main import main


def charlm(*arguments: str | Path | float, stdin: str | bytes = b"") -> Result:
    """Run a command; an exception that the command does not turn into a message is raised."""
    return CliRunner().invoke(
        main, [str(argument) for argument in arguments], input=stdin, catch_exceptions=False
    )


def json_of(*arguments: str | Path | float) -> Any:
    """Return what a command prints with --json, which must succeed."""
    command = charlm(*arguments, "--json")
    assert command.exit_code == 0, command.stderr
    return json.loads(command.stdout)


def run_line(line: str) -> Result:
    """Run a command line, split like in a shell; LONG is a file name that is too long."""
    return charlm(*shlex.split(line.replace("LONG", 300 * "x")))


def check_failure(
    line: str,
    expected: str,
    *,
    code: int = 1,
) -> str:
    """Check the exit code of a command line that fails, and its message, which is returned.

    With --json, the message is also printed as JSON, but not for wrong usage.
    """
    command = run_line(line)
    assert command.exit_code == code
    *others, message = messages(command)
    assert expected in message, message
    if "--json" in line and code == 1:
        assert expected in json.loads(command.stdout)["error"]
    else:
        assert command.stdout == ""
    assert message.isprintable()
    assert code == 2 or (others == [] and message.startswith("charlm: "))
    return message.removeprefix("charlm: ")


def suggestions(text: str) -> list[list[str]]:
    """Return the arguments of each command of charlm that a text suggests."""
    lines = re.findall(r"charlm [a-z][^;,\n]*", text)
    return [shlex.split(line)[1:] for line in lines]


def messages(command: Result) -> list[str]:
    """Return the lines of standard error that are not empty."""
    return [line for line in command.stderr.splitlines() if line]


def all_commands() -> dict[str, click.Command]:
    """Return every command of charlm by name, with the name of its group in front."""
    return dict(_commands_of(main))


def _commands_of(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands_of(command, f"{before}{name} ")
        elif command is not None:
            yield f"{before}{name}", command
