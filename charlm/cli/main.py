"""The command `charlm`, and the commands for recipes, versions and shell completion.

Command modules import only click at the top, so that help appears immediately. Each command
imports the code that it calls inside its body.
"""

import io
import json
import platform
import sys
from pathlib import Path

import click

from charlm.cli import models, runs, training
from charlm.cli.command import Commands, set_option, suggest_recipes
from charlm.cli.output import ProgressDisplay, align, print_result, terminal_width
from charlm.version import __version__

SECTIONS = {
    "Train": ("train", "plan", "tokenize"),
    "Use a model": ("sample", "evaluate", "serve", "export"),
    "Look at runs": ("runs", "inspect", "tensorboard"),
    "Setup": ("config", "info", "completion"),
}
"""Names of the commands by the title of their section in the help."""


@click.group(
    cls=Commands,
    sections=SECTIONS,
    commands=[
        training.train,
        training.plan,
        training.tokenize,
        models.sample,
        models.evaluate,
        models.serve,
        models.export,
        runs.runs,
        runs.inspect,
        runs.tensorboard,
    ],
    context_settings={"show_default": True, "help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="charlm")
def main() -> None:
    """Train, watch and sample character-level SimpleRNN language models.

    Results go to standard output, everything else to standard error. The exit code is 0 if the
    command succeeded, 1 if it failed, and 2 for wrong usage.

    Examples:
      charlm train mytext.txt
        train a model on a text; the run is saved under runs/
      charlm sample
        generate text with the newest run
      charlm COMMAND --help
        show the options and examples of a command

    """
    stdout = sys.stdout
    if isinstance(stdout, io.TextIOWrapper) and stdout.errors in {"strict", "surrogateescape"}:
        stdout.reconfigure(errors="backslashreplace")  # its encoding may lack some characters


@main.group(cls=Commands, sections={"Commands": ("list", "schema", "show")})
def config() -> None:
    """List and show recipes, which are YAML files of settings.

    Examples:
      charlm config list
        list the recipes that come with charlm
      charlm config show shakespeare > mine.yaml
        start a recipe of your own, with every setting

    """


@config.command("list")
def list_() -> None:
    """List the recipes that come with charlm: purpose and training time.

    Examples:
      charlm config list
        names and purposes

    """
    from charlm.config.recipes import describe_recipe, recipe_names

    page = click.HelpFormatter(width=terminal_width())
    page.write_dl([(name, describe_recipe(name)) for name in recipe_names()])
    print_result(*page.getvalue().splitlines())


@config.command()
@click.argument(
    "name",
    metavar="NAME|FILE",
    shell_complete=suggest_recipes,
    help="Recipe: the name of one that comes with charlm, or a YAML file.",
)
@set_option
def show(*, name: str, overrides: tuple[str, ...]) -> None:
    """Show a recipe in full: every setting, defaults included.

    Examples:
      charlm config show tiny
        show every value of the recipe tiny
      charlm config show mine.yaml -s model.units=64
        show a recipe file with one value changed

    """
    from charlm.config.file import dump_config, load_config
    from charlm.config.recipes import find_recipe

    print_result(*dump_config(load_config(find_recipe(name), overrides=overrides)).splitlines())


@config.command()
def schema() -> None:
    """Print the JSON Schema of a recipe: every setting with its meaning, values and default.

    An editor that supports YAML schemas completes and checks a recipe whose first line is
    "# yaml-language-server: $schema=schema.json".

    Examples:
      charlm config schema > schema.json
        write the schema for your editor

    """
    from charlm.config.schema import Config

    print_result(*json.dumps(Config.model_json_schema(), indent=2).splitlines())


@main.command()
@click.argument(
    "shell", type=click.Choice(["bash", "zsh", "fish"]), help="bash (4.4 or newer), zsh or fish."
)
def completion(*, shell: str) -> None:
    """Print a script that completes commands, options, recipes and runs in your shell.

    Examples:
      charlm completion bash >> ~/.bashrc
        for every bash started from now on
      charlm completion zsh >> ~/.zshrc
        for zsh; this line must come after compinit
      charlm completion fish > ~/.config/fish/completions/charlm.fish
        for fish

    """
    from click.shell_completion import get_completion_class

    completion_class = get_completion_class(shell)
    assert completion_class is not None
    script = completion_class(main, {}, "charlm", "_CHARLM_COMPLETE").source()
    print_result(*script.splitlines())


@main.command()
def info() -> None:
    """Show versions, machine and paths, to paste into a bug report.

    Nothing is sent anywhere. A dash means that a package is not installed.

    Examples:
      charlm info
        everything that a bug report should contain

    """
    from charlm.engines.compiler import describe_kernel
    from charlm.engines.kernel import choose_precision
    from charlm.hardware import core_count, memory_bytes, processor_name, versions
    from charlm.runs.folder import RUNS

    precision = choose_precision(ProgressDisplay())
    packages = (
        "numpy",
        "tensorflow",
        "keras",
        "pydantic",
        "safetensors",
        "tensorboard",
    )
    facts = {
        "cpu": processor_name(),
        "cores": core_count(),
        "python": platform.python_version(),
        "charlm": __version__,
        **versions(*packages),
        "platform": platform.platform(),
        "memory_bytes": memory_bytes(),
        "precision": f"{precision.name}: {precision.reason}",
        "kernel": describe_kernel(),
        "package": str(Path(__file__).parents[1]),
        "runs": str(RUNS.resolve()),
    }
    rows = []
    for name, value in facts.items():
        rows.append((name.replace("_", " "), "-" if value is None else str(value)))
    print_result(*align(rows, text_columns={0, 1}))
