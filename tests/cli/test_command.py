"""Errors as exit codes."""

import errno
import signal
from collections.abc import Callable
from typing import NoReturn

import click
import pytest
from click.testing import CliRunner, Result

from charlm.cli.command import Command, Commands
from charlm.cli.output import OutputClosedError
from charlm.errors import CharlmError
from charlm.training.signals import Stopped


def run(callback: Callable[[], object]) -> Result:
    """Run a command that does nothing but call a function."""
    group = Commands("group", sections={"": ["call"]}, commands={"call": Command("call", callback=callback)})
    return CliRunner().invoke(group, ["call"], catch_exceptions=False)


def fail_with(error: BaseException) -> Result:
    def fail() -> NoReturn:
        raise error

    return run(fail)


def test_an_error_outside_the_program_is_a_line_and_exit_code_1() -> None:
    command = fail_with(CharlmError("text.txt: no such file"))
    assert (command.exit_code, command.stdout, command.stderr) == (1, "", "charlm: text.txt: no such file\n")


def test_an_error_of_the_system_names_its_file() -> None:
    command = fail_with(OSError(errno.EACCES, "Permission denied", "text.txt"))
    assert (command.exit_code, command.stderr) == (1, "charlm: text.txt: Permission denied\n")


def test_a_package_that_is_not_installed_is_named() -> None:
    command = fail_with(ModuleNotFoundError("No module named 'tensorboard.compat'", name="tensorboard.compat"))
    assert (command.exit_code, command.stdout) == (1, "")
    assert command.stderr == (
        "charlm: tensorboard: this package is not installed; install it and the others with: pip install '.'\n"
    )


def test_a_reader_of_standard_output_that_has_gone_is_not_an_error() -> None:
    command = fail_with(OutputClosedError())
    assert (command.exit_code, command.stderr) == (0, "")


def test_a_usage_error_has_exit_code_2_and_escaped_control_characters() -> None:
    command = fail_with(click.UsageError("found \x1b[31m"))
    assert command.exit_code == 2
    assert command.stderr.endswith("Error: found \\x1b[31m\n")


@pytest.mark.parametrize(
    ("stopped", "exit_code"),
    [(KeyboardInterrupt(), 130), (Stopped(signal.SIGTERM), 143), (Stopped(signal.SIGHUP), 129)],
)
def test_a_signal_has_the_exit_code_that_a_shell_expects(stopped: KeyboardInterrupt, exit_code: int) -> None:
    assert fail_with(stopped).exit_code == exit_code


@pytest.mark.parametrize("defect", [ZeroDivisionError(), ModuleNotFoundError(name="charlm.missing")])
def test_a_defect_of_the_program_is_not_hidden(defect: Exception) -> None:
    with pytest.raises(type(defect)):
        fail_with(defect)
