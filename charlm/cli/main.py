"""The command `charlm`: the group of all commands, and those of the setup: recipes, versions, completion.

Only click is imported at the top of the command modules, so that the help and the first character come at once; each
command imports what it calls inside its body.
"""

import io
import json
import platform
import sys
from pathlib import Path

import click

from charlm import __version__
from charlm.cli import looking, models, runs, training
from charlm.cli.command import Command, Commands, set_option, suggest_recipes
from charlm.cli.output import align, print_result, terminal_width

SECTIONS = {
    "Train": ("train", "plan", "tokenize", "tune"),
    "Use a model": ("sample", "evaluate", "serve", "export"),
    "Look at runs": ("runs", "inspect", "tensorboard"),
    "Setup": ("config", "info", "completion"),
}
"""The commands by the title under which help lists them."""


@click.group(
    cls=Commands,
    sections=SECTIONS,
    context_settings={"show_default": True, "help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="charlm")
def main() -> None:
    """Train, watch and sample character-level SimpleRNN language models.

    Results go to standard output, everything else to standard error. The exit code is 0 if a command is done, 1 if it
    failed, and 2 for wrong usage.

    Examples:
      charlm train mytext.txt
        train a model on a text; it is a run under runs/
      charlm sample
        write text from the newest run
      charlm COMMAND --help
        what a command does, its options and examples

    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in {
        "strict",
        "surrogateescape",
    }:
        sys.stdout.reconfigure(errors="backslashreplace")  # not every encoding has every character


for command in (
    *(training.train, training.plan, training.tokenize, training.tune),
    *(models.sample, models.evaluate, models.serve, models.export),
    *(runs.runs, looking.inspect, looking.tensorboard),
):
    main.add_command(command)


@main.group(cls=Commands, sections={"Commands": ("list", "schema", "show")})
def config() -> None:
    """List and show recipes, which are YAML files of settings.

    Examples:
      charlm config list
        the recipes that charlm comes with
      charlm config show shakespeare > mine.yaml
        a recipe of your own, with every setting, to edit

    """


@config.command("list", cls=Command)
def list_() -> None:
    """List the recipes that charlm comes with: what each is for, and its time and score on a named machine.

    Examples:
      charlm config list
        names, and what each is for

    """
    from charlm.config.recipes import describe_recipe, recipe_names

    recipes = {name: describe_recipe(name) for name in recipe_names()}
    page = click.HelpFormatter(width=terminal_width())
    page.write_dl(list(recipes.items()))
    print_result(*page.getvalue().splitlines())


@config.command(cls=Command)
@click.argument(
    "name",
    metavar="NAME|FILE",
    shell_complete=suggest_recipes,
    help="Recipe: a name of those that charlm comes with, or a YAML file.",
)
@set_option
def show(*, name: str, overrides: tuple[str, ...]) -> None:
    """Show a recipe in full: every setting, defaults included.

    Examples:
      charlm config show tiny
        every value that the recipe tiny trains with
      charlm config show mine.yaml -s model.units=64
        a file with one value replaced

    """
    from charlm.config.file import dump_config, load_config
    from charlm.config.recipes import find_recipe

    print_result(*dump_config(load_config(find_recipe(name), overrides=overrides)).splitlines())


@config.command(cls=Command)
def schema() -> None:
    """Print the JSON Schema of a recipe: every setting with its meaning, values and default.

    An editor that knows YAML schemas completes and checks a recipe whose first line is
    "# yaml-language-server: $schema=schema.json".

    Examples:
      charlm config schema > schema.json
        a file that an editor can check recipes with

    """
    from charlm.config.schema import Config

    print_result(*json.dumps(Config.model_json_schema(), indent=2).splitlines())


@main.command(cls=Command)
@click.argument(
    "shell", type=click.Choice(["bash", "zsh", "fish"]), help="bash (4.4 or newer), zsh or fish."
)
def completion(*, shell: str) -> None:
    """Print the script with which a shell completes charlm.

    It completes commands, options, recipes and runs. A key takes a tenth of a second: nothing heavy is imported.

    Examples:
      charlm completion bash >> ~/.bashrc
        for every bash that starts from now on
      charlm completion zsh >> ~/.zshrc
        for zsh, after the line with compinit
      charlm completion fish > ~/.config/fish/completions/charlm.fish
        for fish

    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    print_result(*found(main, {}, "charlm", "_CHARLM_COMPLETE").source().splitlines())


@main.command(cls=Command)
def info() -> None:
    """Show versions, machine and paths, to paste into an issue.

    Nothing is sent anywhere, and TensorFlow is not imported. A package that is not installed is shown as a dash.

    Examples:
      charlm info
        what a report of a problem should have

    """
    from charlm.config.recipes import CONFIGS
    from charlm.engine.compiler import describe_kernel
    from charlm.hardware import describe_machine, fastest_precision, memory_bytes, versions
    from charlm.runs.folder import RUNS

    precision = fastest_precision()
    packages = (
        "click",
        "pydantic",
        "safetensors",
        "tensorboard",
        "matplotlib",
        "optuna",
        "onnx",
        "starlette",
    )
    facts = {
        **describe_machine(),
        **versions(*packages),
        "platform": platform.platform(),
        "memory_bytes": memory_bytes(),
        "precision": f"{precision.name}: {precision.reason}",
        "kernel": describe_kernel(),
        "package": str(Path(__file__).parents[1]),
        "recipes": str(CONFIGS),
        "runs": str(RUNS.resolve()),
    }
    rows = [
        (name.replace("_", " "), "-" if value is None else str(value))
        for name, value in facts.items()
    ]
    print_result(*align(rows, text_columns={0, 1}))
