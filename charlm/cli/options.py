"""The types, arguments and options that several commands share, and what a shell completes for them.

Completion reads recipes from the files that come with charlm: it must be fast.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from charlm.cli.output import be_quiet

Suggestions = list[CompletionItem[str]]


def _suggest(names: Mapping[str, str | None], incomplete: str) -> Suggestions:
    """Return files, and those of some names, by what they mean, that begin with what was typed."""
    found = [CompletionItem(name, help=meaning) for name, meaning in names.items() if name.startswith(incomplete)]
    return [CompletionItem("", type="file"), *found]


def suggest_recipes(_: click.Context, _param: click.Parameter, incomplete: str) -> Suggestions:
    """Return the recipes that come with charlm, and files."""
    from charlm.config.recipes import describe_recipe, recipe_names

    return _suggest({name: describe_recipe(name) for name in recipe_names()}, incomplete)


def suggest_spaces(_: click.Context, _param: click.Parameter, incomplete: str) -> Suggestions:
    """Return the search space that comes with charlm, and files."""
    from charlm.config.recipes import SPACE

    return _suggest({SPACE: None}, incomplete)


def suggest_runs(_: click.Context, _param: click.Parameter, incomplete: str) -> Suggestions:
    """Return the runs under runs/, and files."""
    from charlm.runs.folder import run_names

    return _suggest(dict.fromkeys(run_names()), incomplete)


def suggest_models(_: click.Context, _param: click.Parameter, incomplete: str) -> Suggestions:
    """Return the runs under runs/ and the models that come with charlm, and files."""
    from charlm.config.recipes import shipped_models
    from charlm.runs.folder import run_names

    return _suggest(dict.fromkeys([*run_names(), *shipped_models()]), incomplete)


class NonEmptyPath(click.Path):
    """A path that is not empty.

    An empty argument is usually a shell variable without a value. Python would take it for the current folder.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a Path, or fail with a usage error."""
        if value == "":
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


PATH = NonEmptyPath(path_type=Path)
COUNT, NATURAL = click.IntRange(min=1), click.IntRange(min=0)
POSITIVE = click.FloatRange(min=0, min_open=True)
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _check_host(_: click.Context, _param: click.Parameter, host: str) -> str:
    """Refuse what the look-up of names in Python cannot take."""
    try:
        host.encode("idna")
    except UnicodeError:
        raise click.BadParameter("must be an address, or a name with at most 63 characters between two dots") from None
    return host


host_option = click.option(
    "--host", callback=_check_host, default="127.0.0.1", help="Address to listen at; 0.0.0.0 = for other machines too."
)


def port_option(default: int) -> Decorator:
    """Return the option --port."""
    port = click.IntRange(0, 65535)
    return click.option("--port", type=port, metavar="N", default=default, help="Port to listen at; 0 = any free one.")


def recipe_option(default: str) -> Decorator:
    """Return the option --config; `default` says which recipe is used without it."""
    text = f"Recipe: a name of those that charlm comes with, or a YAML file.  [default: {default}]"
    recipe: dict[str, Any] = {"type": NonEmptyPath(), "shell_complete": suggest_recipes, "metavar": "NAME|FILE"}
    return click.option("-c", "--config", "recipe", help=text, **recipe)


set_option = click.option(
    *("-s", "--set", "overrides"),
    multiple=True,
    metavar="KEY=VALUE",
    help="Override one setting by its dotted key, for instance model.units=256; can be repeated.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON value and nothing else.")
quiet_option = click.option(
    "-q", "--quiet", is_flag=True, expose_value=False, callback=be_quiet, help="Print only the result and errors."
)

_NAME = "or a part of a name that only one run under runs/ has"
model_argument = click.argument(
    "model",
    required=False,
    type=PATH,
    shell_complete=suggest_models,
    help=f"A run or a model file, {_NAME}; or river-plays, the model that comes with charlm.  "
    "[default: the newest run]",
)
models_argument = click.argument(
    "runs",
    nargs=-1,
    type=PATH,
    shell_complete=suggest_models,
    help=f"Runs or model files, {_NAME}.  [default: the newest run]",
)
text_argument = click.argument(
    "text",
    nargs=-1,
    type=PATH,
    callback=lambda _context, _param, found: found or None,
    help="Text: files, folders, .gz files, - for standard input; or one folder that tokenize "
    "wrote.  [default: the plays that come with charlm]",
)
