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

OPTIONS = {
    "tokenize": "--out -c --config -s --set -q --quiet",
    "train": "-c --config -s --set -r --run --init --minutes --resume -q --quiet",
    "plan": "-c --config -s --set --json",
    "sample": "-p --prompt -n --length -t --temperature --top-k --top-p --min-p --seed --samples --stop --json",
    "evaluate": "--split --protocol --window --baselines --copies --json",
    "inspect": "--text --out --json",
    "export": "--format --out --check --json",
    "tune": "--minutes --trials --trial-minutes --out -q --quiet",
    "serve": "--host --port",
    "tensorboard": "--host --port",
    "runs": "--group --samples --json",
    "info": "",
    "completion": "",
    "config list": "",
    "config show": "-s --set",
    "config schema": "",
}


# The contract


def test_the_commands_are_those_of_the_contract() -> None:
    assert set(all_commands()) == set(OPTIONS)


@pytest.mark.parametrize(("name", "expected"), OPTIONS.items())
def test_a_command_has_the_options_of_the_contract_by_their_long_and_short_names(name: str, expected: str) -> None:
    options = (parameter for parameter in all_commands()[name].params if isinstance(parameter, click.Option))
    names = [option for parameter in options for option in parameter.opts]
    assert sorted(names) == sorted(expected.split())


# Help


def test_the_help_names_every_command() -> None:
    command = charlm("--help")
    assert command.exit_code == 0
    listed = command.stdout.partition("Train:\n")[2].partition("Examples:\n")[0]
    assert set(re.findall(r"^  (\w+) ", listed, re.MULTILINE)) == {name.split()[0] for name in OPTIONS}


def test_the_help_has_the_defaults() -> None:
    assert "[default: 8000;" in re.sub(r"\s+", " ", charlm("serve", "--help").stdout)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_command_has_help_of_sentences_without_ranges_that_nobody_can_read(name: str) -> None:
    found, command = all_commands()[name], charlm(*name.split(), "--help")
    assert isinstance(found, Command)
    assert (command.exit_code, command.stderr) == (0, "")
    assert command.stdout.startswith(f"Usage: main {name} ")
    assert not re.search(r"\d{8}|RANGE|INTEGER|FLOAT", command.stdout)
    assert (found.help or "").partition("\n")[0].endswith(".")
    assert all(f"\n{line}\n" in command.stdout for line in found.examples)  # however long
    assert command.stdout.count("\n") <= 50  # a screen


@pytest.mark.parametrize("name", OPTIONS)
def test_the_arguments_of_a_command_are_explained_and_its_examples_can_be_parsed(name: str) -> None:
    command = all_commands()[name]
    assert isinstance(command, Command)
    assert all(argument.help for argument in command.params if isinstance(argument, click.Argument))
    examples, meanings = command.examples[::2], command.examples[1::2]
    assert [line[:4].count(" ") for line in (examples[0], meanings[0])] == [2, 4]
    for example in examples:
        program, *arguments = shlex.split(example)
        assert program == "charlm"
        parse_command(arguments)
    assert any(example.startswith(f"  charlm {name}") for example in examples)


def test_the_version_is_told() -> None:
    assert charlm("--version").stdout == f"charlm, version {__version__}\n"


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
    assert facts["charlm"] == __version__
    assert facts["python"] == platform.python_version()
    installed = {distribution.name: distribution.version for distribution in distributions()}
    assert {name: facts[name] for name in ("click", "numpy", "tensorflow", "keras")} == {
        name: installed.get(name, "-") for name in ("click", "numpy", "tensorflow", "keras")
    }
    assert facts["memory bytes"] == str(memory_bytes())
    assert facts["bfloat16"] in {"True", "False"}
    assert (Path(facts["package"]) / "cli/main.py").is_file()
    assert (Path(facts["recipes"]) / "default.yaml").is_file()
    assert facts["runs"] == str(Path.cwd() / "runs")


# charlm config


def test_every_recipe_is_listed_with_what_it_is_for() -> None:
    shown = " ".join(charlm("config", "list").stdout.split())
    assert all(f"{name} {describe_recipe(name)}" in shown for name in recipe_names())
    assert shown.count(" For ") == len(recipe_names())


def test_a_recipe_is_shown_with_every_value() -> None:
    config = load_config(find_recipe("tiny"), overrides=["model.units=3"]).model_dump(mode="json")
    assert parse_yaml(charlm("config", "show", "tiny", "-s", "model.units=3").stdout, origin="test") == config
