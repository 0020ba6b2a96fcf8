"""The command `charlm`: its commands, their options and help, and the installation."""

import platform
import re
import shlex
from importlib.metadata import distributions
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from commands import all_commands, charlm, run_line
from pages import parse_command
from run_folders import make_run

from charlm import __version__
from charlm.cli.command import Command
from charlm.cli.main import main
from charlm.config.file import load_config, parse_yaml
from charlm.config.recipes import describe_recipe, find_recipe, recipe_names
from charlm.hardware import memory_bytes

# Help


def test_the_help_names_every_command_and_the_defaults() -> None:
    command = charlm("--help")
    assert command.exit_code == 0
    listed = command.stdout.partition("Train:\n")[2].partition("Examples:\n")[0]
    assert set(re.findall(r"^  (\w+) ", listed, re.MULTILINE)) == {name.split()[0] for name in all_commands()}
    assert "[default: 8000;" in re.sub(r"\s+", " ", charlm("serve", "--help").stdout)
    assert charlm("--version").stdout == f"charlm, version {__version__}\n"


@pytest.mark.parametrize("name", all_commands())
def test_every_command_has_help_on_a_screen_with_examples_that_can_be_parsed(name: str) -> None:
    found, command = all_commands()[name], charlm(*name.split(), "--help")
    assert isinstance(found, Command)
    assert (command.exit_code, command.stderr) == (0, "")
    assert command.stdout.startswith(f"Usage: main {name} ")
    assert not re.search(r"\d{8}|RANGE|INTEGER|FLOAT", command.stdout)  # which nobody can read
    assert command.stdout.count("\n") <= 50
    assert (found.help or "").partition("\n")[0].endswith(".")
    assert all(argument.help for argument in found.params if isinstance(argument, click.Argument))
    assert all(f"\n{line}\n" in command.stdout for line in found.examples)  # however long
    for example in found.examples[::2]:
        program, *arguments = shlex.split(example)
        assert program == "charlm"
        parse_command(arguments)
    assert any(example.startswith(f"  charlm {name}") for example in found.examples)


# The rest


@pytest.mark.parametrize("line", ["", "config"])
def test_a_group_without_a_command_prints_its_help(line: str) -> None:
    command, asked = run_line(line), run_line(f"{line} --help")
    assert (command.exit_code, command.stdout, command.stderr) == (2, "", asked.stdout)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sample ri", {"rill", "river-plays"}),
        ("train --init ri", {"rill", "river-plays"}),
        ("train -r ri", {"rill"}),
        ("runs ri", {"rill"}),
        ("train -c ti", {"tiny"}),
        ("eval", {"evaluate"}),
    ],
)
def test_a_shell_completes_commands_recipes_runs_and_models_where_each_is_meant(line: str, expected: set[str]) -> None:
    make_run(Path("runs/rill"))
    *words, last = line.split()
    found = ShellComplete(main, {}, "charlm", "_CHARLM_COMPLETE").get_completions(words, last)
    assert {item.value for item in found if item.type == "plain"} == expected


# charlm info


def test_info_has_versions_machine_and_paths() -> None:
    facts = dict(re.split(r"  +", line) for line in charlm("info").stdout.splitlines())
    assert (facts["charlm"], facts["python"]) == (__version__, platform.python_version())
    installed = {distribution.name: distribution.version for distribution in distributions()}
    for name in ("click", "numpy", "tensorflow", "keras"):
        assert facts[name] == installed.get(name, "-")
    assert facts["memory bytes"] == str(memory_bytes())
    assert facts["bfloat16"] in {"True", "False"}
    assert (Path(facts["package"]) / "cli/main.py").is_file()
    assert (Path(facts["recipes"]) / "default.yaml").is_file()
    assert facts["runs"] == str(Path.cwd() / "runs")


# charlm config


def test_every_recipe_is_listed_with_what_it_is_for_and_shown_with_every_value() -> None:
    shown = " ".join(charlm("config", "list").stdout.split())
    assert all(f"{name} {describe_recipe(name)}" in shown for name in recipe_names())
    assert shown.count(" For ") == len(recipe_names())
    config = load_config(find_recipe("tiny"), overrides=["model.units=3"]).model_dump(mode="json")
    assert parse_yaml(charlm("config", "show", "tiny", "-s", "model.units=3").stdout, origin="test") == config
