"""Errors as exit codes."""

import errno
import signal
from typing import NoReturn

import click
import pytest
from click.testing import CliRunner, Result

from charlm.cli.command import Command, Commands
from charlm.cli.output import OutputClosedError
from charlm.errors import CharlmError
from charlm.training.signals import Stopped


def fail_with(error: BaseException) -> Result:
    """Run a command that does nothing but fail."""

    def fail() -> NoReturn:
        raise error

    group = Commands("group", sections={"": ["call"]}, commands={"call": Command("call", callback=fail)})
    return CliRunner().invoke(group, ["call"], catch_exceptions=False)


@pytest.mark.parametrize(
    ("error", "exit_code", "message"),
    [
        (CharlmError("text.txt: no such file"), 1, "charlm: text.txt: no such file\n"),
        (OSError(errno.EACCES, "Permission denied", "text.txt"), 1, "charlm: text.txt: Permission denied\n"),
        (
            ModuleNotFoundError("No module named 'tensorboard.compat'", name="tensorboard.compat"),
            1,
            "charlm: tensorboard: this package is not installed; install it and the others with: pip install '.'\n",
        ),
        (OutputClosedError(), 0, ""),  # a reader of standard output that has gone
        (KeyboardInterrupt(), 130, None),
        (Stopped(signal.SIGTERM), 143, None),
        (Stopped(signal.SIGHUP), 129, None),
    ],
    ids=repr,
)
def test_an_error_outside_the_program_is_a_line_and_an_exit_code(
    error: BaseException, exit_code: int, message: str | None
) -> None:
    command = fail_with(error)
    assert (command.exit_code, command.stdout) == (exit_code, "")
    assert message in (None, command.stderr)


def test_a_usage_error_has_exit_code_2_and_escaped_control_characters() -> None:
    command = fail_with(click.UsageError("found \x1b[31m"))
    assert command.exit_code == 2
    assert command.stderr.endswith("Error: found \\x1b[31m\n")


@pytest.mark.parametrize("defect", [ZeroDivisionError(), ModuleNotFoundError(name="charlm.missing")])
def test_a_defect_of_the_program_is_not_hidden(defect: Exception) -> None:
    with pytest.raises(type(defect)):
        fail_with(defect)
