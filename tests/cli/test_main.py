"""The command `charlm`: its commands, their help, exit codes and output."""

import errno
import json
import re
import shlex
import signal
import sys
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result
from commands import all_commands, charlm, run_line
from pages import parse_command
from run_folders import make_run

from charlm.cli import output
from charlm.cli.command import Command, Commands, json_option, quiet_option
from charlm.cli.main import main
from charlm.config.file import load_config, parse_yaml
from charlm.config.recipes import describe_recipe, find_recipe, recipe_names
from charlm.engines.kernel import choose_precision
from charlm.errors import CharlmError
from charlm.runs.session import Stopped
from charlm.version import __version__

# Help


def test_the_help_lists_every_command_in_its_section() -> None:
    command = charlm("--help")
    assert command.exit_code == 0
    sections = dict.fromkeys(["Train", "Use a model", "Look at runs", "Setup"], "")
    title = ""
    for line in command.stdout.splitlines():
        if re.fullmatch(r"[A-Z][a-z ]+:", line):
            title = line[:-1]
        elif title in sections and line.startswith("  ") and line[2] != " ":
            sections[title] += f"{line.split()[0]} "
    assert sections == {
        "Train": "train plan tokenize ",
        "Use a model": "sample evaluate serve export ",
        "Look at runs": "runs inspect tensorboard ",
        "Setup": "config info completion ",
    }


def test_the_version_is_printed() -> None:
    assert charlm("--version").stdout == f"charlm, version {__version__}\n"


@pytest.mark.parametrize("name", all_commands())
def test_the_help_of_a_command_fits_on_a_screen(name: str) -> None:
    command = charlm(*name.split(), "--help")
    assert (command.exit_code, command.stderr) == (0, "")
    assert command.stdout.startswith(f"Usage: main {name} ")
    assert command.stdout.count("\n") <= 50
    assert not re.search(r"\d{8}|RANGE|INTEGER|FLOAT", command.stdout)


@pytest.mark.parametrize("name", all_commands())
def test_every_argument_of_a_command_is_described(name: str) -> None:
    command = all_commands()[name]
    assert (command.help or "").partition("\n")[0].endswith(".")
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            assert parameter.help, parameter.name


@pytest.mark.parametrize("name", all_commands())
def test_the_examples_of_a_command_are_valid(name: str) -> None:
    command = all_commands()[name]
    assert isinstance(command, Command)
    assert any(example.startswith(f"  charlm {name}") for example in command.examples)
    shown = charlm(*name.split(), "--help").stdout
    for line in command.examples:
        assert f"\n{line}\n" in shown  # the help does not wrap it
    for example in command.examples[::2]:
        program, *arguments = shlex.split(example)
        assert program == "charlm"
        parse_command(arguments)


@pytest.mark.parametrize("line", ["", "config"])
def test_a_group_without_a_command_prints_its_help(line: str) -> None:
    command, help_command = run_line(line), run_line(f"{line} --help")
    assert (command.exit_code, command.stdout) == (2, "")
    assert command.stderr == help_command.stdout


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sample ri", {"", "rill"}),
        ("train --init ri", {"", "rill"}),
        ("train -r ri", {"", "rill"}),
        ("runs ri", {"", "rill"}),
        ("train -c ti", {"", "tiny"}),
        ("eval", {"evaluate"}),
    ],
)
def test_a_shell_completes_a_word(line: str, expected: set[str]) -> None:
    make_run(Path("runs/rill"))
    *words, last = line.split()
    completions = ShellComplete(main, {}, "charlm", "_CHARLM_COMPLETE").get_completions(words, last)
    assert {item.value for item in completions} == expected


@pytest.fixture(scope="module")
def info() -> dict[str, str]:
    """Return what `charlm info` shows."""
    return dict(re.split(r"  +", line, maxsplit=1) for line in charlm("info").stdout.splitlines())


@pytest.mark.parametrize("name", ["numpy", "tensorflow", "keras"])
def test_info_has_the_version_of_a_package(name: str, info: dict[str, str]) -> None:
    installed = {distribution.name: distribution.version for distribution in distributions()}
    assert info[name] == installed.get(name, "-")


def test_info_says_that_it_compiles_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charlm.engines.kernel.LOADED", [])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", "false")
    assert "kernel: compiling with false, once per processor" in charlm("info").stderr


def test_info_has_the_precision_with_its_reason(info: dict[str, str]) -> None:
    precision = choose_precision()
    assert precision.reason
    assert info["precision"] == f"{precision.name}: {precision.reason}"


def test_every_recipe_is_listed_with_its_purpose() -> None:
    shown = " ".join(charlm("config", "list").stdout.split())
    for name in recipe_names():
        assert f"{name} {describe_recipe(name)}" in shown
    assert shown.count(" For ") == len(recipe_names())


def test_a_recipe_is_shown_with_all_settings() -> None:
    config = load_config(find_recipe("tiny"), overrides=["model.units=3"])
    shown = charlm("config", "show", "tiny", "-s", "model.units=3").stdout
    assert parse_yaml(shown, origin="test") == config.model_dump(mode="json")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_completion_script_for_each_shell(shell: str) -> None:
    assert f"_CHARLM_COMPLETE={shell}_complete" in charlm("completion", shell).stdout


# Errors and output


def run_command(call: Callable[[], object], *options: str, option: Any = quiet_option) -> Result:
    """Run a function as a command with an option."""
    command = option(Command("call", callback=call))
    group = Commands("group", sections={"": ["call"]}, commands={"call": command})
    return CliRunner().invoke(group, ["call", *options], catch_exceptions=False)


@pytest.mark.parametrize(
    ("error", "exit_code", "message"),
    [
        (CharlmError("text.txt: no such file"), 1, "charlm: text.txt: no such file\n"),
        (
            OSError(errno.EACCES, "Permission denied", "text.txt"),
            1,
            "charlm: text.txt: Permission denied\n",
        ),
        (OSError(errno.EIO, "Input/output error"), 1, "charlm: Input/output error\n"),
        (
            ModuleNotFoundError(name="matplotlib.figure"),
            1,
            "charlm: matplotlib: this package is not installed: pip install matplotlib\n",
        ),
        (output.OutputClosedError(), 0, ""),  # nobody reads standard output any more
        (KeyboardInterrupt(), 130, ""),
        (Stopped(signal.SIGTERM), 143, ""),
        (click.UsageError("found \x1b[31m"), 2, "found \\x1b[31m\n"),
        (click.UsageError("x" * 50_000), 2, f"{'x' * 750} ... {'x' * 750}\n"),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_an_error_is_one_line_with_an_exit_code(
    error: BaseException, exit_code: int, message: str
) -> None:
    command = run_command(Mock(side_effect=error))
    assert (command.exit_code, command.stdout) == (exit_code, "")
    assert command.stderr.rpartition("Error: ")[2] == message


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ModuleNotFoundError(name="absl.logging"),
            "absl: this package is not installed: pip install tensorboard",
        ),
        (
            ModuleNotFoundError(name="tensorboard"),
            "tensorboard: this package is not installed: pip install tensorflow tensorboard",
        ),
        (OSError(errno.EACCES, "Permission denied", "text.txt"), "text.txt: Permission denied"),
    ],
    ids=["absl", "tensorboard", "file"],
)
def test_with_json_the_message_of_an_error_is_json(error: Exception, message: str) -> None:
    command = run_command(Mock(side_effect=error), "--json", option=json_option)
    assert (command.exit_code, json.loads(command.stdout)) == (1, {"error": message})


@pytest.mark.parametrize(
    "defect",
    [ZeroDivisionError(), ModuleNotFoundError(name="charlm.missing")],
    ids=["division", "import"],
)
def test_a_defect_of_charlm_has_a_traceback(defect: Exception) -> None:
    with pytest.raises(type(defect)):
        run_command(Mock(side_effect=defect))


def print_and_fail() -> None:
    """Print a message and two lines of results with control characters, and raise an error."""
    output.say("a\x1b[31m")
    output.print_result("runs/\x1b[31mred: 1.5", "\u202eb")
    raise CharlmError("why it failed")


@pytest.mark.parametrize("options", [[], ["-q"]], ids=["", "quiet"])
def test_only_what_is_redirected_has_control_characters(options: list[str]) -> None:
    command = run_command(print_and_fail, *options)
    assert (command.exit_code, command.stdout) == (1, "runs/\x1b[31mred: 1.5\n\u202eb\n")
    said = "" if options else "charlm: a\\x1b[31m\n"
    assert command.stderr == f"{said}charlm: why it failed\n"


@pytest.mark.parametrize(
    ("options", "terminal", "expected"),
    [
        pytest.param([], "xterm", True, id="terminal"),
        pytest.param([], "dumb", False, id="terminal without a cursor"),
        pytest.param(["-q"], "xterm", False, id="quiet"),
    ],
)
def test_progress_bars_are_shown_on_a_terminal(
    options: list[str], terminal: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def print_whether_shown() -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        output.print_result(str(output.shows_progress()))

    monkeypatch.setenv("TERM", terminal)
    assert run_command(print_whether_shown, *options).stdout == f"{expected}\n"


# Suggestions


OF_SETTINGS = "Settings are changed with -s KEY=VALUE, see: charlm config show default"


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("trian", "No such command 'trian'. Did you mean 'train'?"),
        ("train --xyzzy", f"No such option '--xyzzy'. {OF_SETTINGS}"),
        ("plan --epoch 3", f"No such option '--epoch'. Did you mean '--epochs'? {OF_SETTINGS}"),
    ],
)
def test_an_unknown_name_is_answered(line: str, answer: str) -> None:
    command = run_line(line)
    assert command.exit_code == 2
    assert command.stderr.endswith(f"Error: {answer}\n")


def test_each_error_in_a_file_has_a_line() -> None:
    Path("wrong.yaml").write_text('sed: 1\nmodel: {units: many}\n"\\e[31m": 2', encoding="utf-8")
    command = charlm("config", "show", "wrong.yaml")
    assert (command.exit_code, command.stdout) == (1, "")
    assert command.stderr.splitlines() == [
        "charlm: wrong.yaml: 3 errors",
        "  model.units: found 'many'; must be a valid integer",
        "  sed: found 1; there is no such key in version 0.2.0; did you mean seed?",
        "  \\x1b[31m: found 2; there is no such key in version 0.2.0",
    ]
