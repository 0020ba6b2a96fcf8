"""`charlm config`: lists and shows recipes."""

import json

import click

from charlm.cli.command import Command, Commands
from charlm.cli.options import set_option, suggest_recipes
from charlm.cli.output import print_result, terminal_width

EXAMPLES = {
    "charlm config list": "the recipes that charlm comes with",
    "charlm config show shakespeare > mine.yaml": "a recipe of your own, with every setting, to edit",
}


@click.group("config", cls=Commands, examples=EXAMPLES)
def config() -> None:
    """List and show recipes, which are YAML files of settings."""


@config.command("list", cls=Command, examples={"charlm config list": "names, and what each is for"})
def list_() -> None:
    """List the recipes that charlm comes with: what each is for, how long it takes, what it scores."""
    from charlm.config.recipes import describe_recipe, recipe_names

    recipes = {name: describe_recipe(name) for name in recipe_names()}
    page = click.HelpFormatter(width=terminal_width())
    page.write_dl(list(recipes.items()))
    print_result(*page.getvalue().splitlines())


@config.command(
    cls=Command,
    examples={
        "charlm config show tiny": "every value that the recipe tiny trains with",
        "charlm config show mine.yaml -s model.units=64": "a file with one value replaced",
    },
)
@click.argument(
    "name",
    metavar="NAME|FILE",
    shell_complete=suggest_recipes,
    help="Recipe: a name of those that charlm comes with, or a YAML file.",
)
@set_option
def show(*, name: str, overrides: tuple[str, ...]) -> None:
    """Show a recipe in full: every setting, defaults included."""
    from charlm.config.file import dump_config, load_config
    from charlm.config.recipes import find_recipe

    print_result(*dump_config(load_config(find_recipe(name), overrides=overrides)).splitlines())


@config.command(
    cls=Command, examples={"charlm config schema > schema.json": "a file that an editor can check recipes with"}
)
def schema() -> None:
    """Print the JSON Schema of a recipe: every setting with its meaning, values and default.

    An editor that knows YAML schemas completes and checks a recipe whose first line is
    "# yaml-language-server: $schema=schema.json".
    """
    from charlm.config.schema import json_schema

    print_result(*json.dumps(json_schema(), indent=2).splitlines())
